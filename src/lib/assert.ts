// Assertions: they stop the process when something that must be true is not, in production too. A stopped node is safe.

export class BrokenInvariant extends Error {
  override name = "BrokenInvariant";
}

/** Throws BrokenInvariant unless `condition` holds. The node's edge turns it into a logged stop of the process. */
export function assert(condition: boolean, whatMustHold: string): asserts condition {
  if (!condition) throw new BrokenInvariant(`this must hold and does not: ${whatMustHold}`);
}

/** The value of an array cell, map entry or optional that the surrounding code has proven to be there. */
export function must<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new BrokenInvariant(`this must be there and is not: ${what}`);
  return value;
}

/** For the end of an exhaustive switch over a closed union. */
export function unreachable(value: never): never {
  throw new BrokenInvariant(`this case cannot occur: ${JSON.stringify(value)}`);
}
