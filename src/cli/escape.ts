// Makes text from elsewhere safe for a terminal: nothing in it can move the cursor, change the title, reach the clipboard, fake a line
// or reverse the reading order. There is no other way to a terminal.

// C0, DEL and C1.
// oxlint-disable-next-line no-control-regex -- these are what must not pass
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/u;
/** Invisible, changing the direction, separating lines or paragraphs; halves of surrogate pairs; tags. */
const MARKS =
  /[\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Surrogate}|[\u{e0000}-\u{e007f}]/u;
const UNSAFE = new RegExp(`${CONTROLS.source}|${MARKS.source}`, "gu");

/** Writes what is unsafe as `\u001b`: in JSON text that is the same value, because such characters only stand inside strings. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (found) => {
    const units: string[] = [];
    for (let at = 0; at < found.length; at++) units.push(`\\u${found.charCodeAt(at).toString(16).padStart(4, "0")}`);
    return units.join("");
  });
}

/** Only so that one answer stays one line: JSON text may hold line ends between its values. */
export function onOneLine(json: string): string {
  return json.replaceAll(/[\r\n]+/g, " ");
}

/** One word as a person must type it in a shell. */
export const shellWord = (word: string): string =>
  /^[\w.,:/@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
