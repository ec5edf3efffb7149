// Splits the values of `enqueue(1, "a,b", {"c":[2,3]})`: JSON texts between the commas of the top level, each as it was typed.

export const INTEGER = /^-?(?:0|[1-9]\d*)$/;

/** Is `text` one JSON value, with nothing behind it? */
export function isJson(text: string): boolean {
  if (INTEGER.test(text)) return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * The pieces of `text` between commas that stand in no string and no bracket, without the space around them. All of them are JSON
 * if and only if `[text]` is: whatever else they are, `isJson` refuses some piece.
 */
export function splitAtCommas(text: string): readonly string[] {
  const pieces: string[] = [];
  let start = 0;
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === "\\") at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "[" || character === "{") depth++;
    else if (character === "]" || character === "}") depth--;
    else if (character === "," && depth === 0) {
      pieces.push(trimmed(text, start, at));
      start = at + 1;
    }
  }
  pieces.push(trimmed(text, start, text.length));
  return pieces;
}

/** What JSON calls space, and no other. */
const SPACE = " \t\n\r";

function trimmed(text: string, from: number, to: number): string {
  while (from < to && SPACE.includes(text[from] ?? "")) from++;
  while (from < to && SPACE.includes(text[to - 1] ?? "")) to--;
  return text.slice(from, to);
}
