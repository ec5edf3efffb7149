// Checks that log indexes agree with real time: what was answered before another operation was sent has the lower index.

export interface IndexedOperation {
  readonly client: string;
  readonly number: number;
  /** In any measure that orders them all. */
  readonly invoked: number;
  readonly returned: number;
  /** The log index that its answer names. */
  readonly index: number;
}

/** What is wrong, or null. */
export function realTimeViolation(answered: readonly IndexedOperation[]): string | null {
  const byReturn = answered.toSorted((a, b) => a.returned - b.returned);
  let next = 0;
  let highest = 0;
  for (const { client, number, invoked, index } of answered.toSorted((a, b) => a.invoked - b.invoked)) {
    for (let earlier = byReturn[next]; earlier !== undefined && earlier.returned < invoked;) {
      highest = Math.max(highest, earlier.index);
      earlier = byReturn[++next];
    }
    if (index <= highest) return `${client} #${number} at index ${index} was sent after the answer of index ${highest}`;
  }
  return null;
}
