// Finds the known word that was probably meant: the nearest one by edit distance, if it is near enough to be worth naming.
import { distance } from "fastest-levenshtein";

/** The known word nearest to `word`, or undefined when none is near: at most one slip in three letters, or a shared beginning. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const typed = word.toLowerCase();
  const most = Math.max(1, Math.floor(word.length / 3));
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of known) {
    const begun = candidate.startsWith(typed) && typed.length > 1;
    const slips = begun ? 0.5 : slipsBetween(typed, candidate.toLowerCase(), most);
    if (slips < bestDistance) [best, bestDistance] = [candidate, slips];
  }
  return bestDistance <= most ? best : undefined;
}

/** Infinity where the lengths alone show that it is more than `most`: a word may be as long as a line. */
function slipsBetween(typed: string, meant: string, most: number): number {
  if (Math.abs(typed.length - meant.length) > most) return Infinity;
  // Two neighbours in the wrong order are one slip of the fingers, two to the library.
  const swapped = Array.from(
    { length: Math.max(0, typed.length - 1) },
    (_, at) => 1 + distance(typed.slice(0, at) + typed.charAt(at + 1) + typed.charAt(at) + typed.slice(at + 2), meant),
  );
  return Math.min(distance(typed, meant), ...swapped);
}
