// What happened, in one number? Everything that happens in a run goes into its hash, so "the same seed, the same run" can be
// checked; with --verbose the same events are printed as a timeline.
import { crc32 } from "../../src/lib/crc32.ts";

export interface Trace {
  /** Something worth a line of the timeline: faults, role changes, answers. */
  event(who: string, what: string): void;
  /** Bytes that a node or client received: hashed, never printed. */
  bytes(data: Uint8Array): void;
  /** The newest lines, for the report of a failure. */
  tail(): readonly string[];
  hash(): string;
}

const TAIL_LINES = 40;
const utf8 = new TextEncoder();

export function createTrace(now: () => number, print: ((line: string) => void) | null): Trace {
  // Two checksums over the same bytes with different starts: 64 bits, so that equal hashes are no accident.
  let low = 0;
  let high = 0x5bd1e995;
  let lines: string[] = [];

  const mix = (data: Uint8Array): void => {
    low = crc32(data, low);
    high = crc32(data, (high ^ low) >>> 0);
  };

  return {
    event: (who, what) => {
      const line = `${now().toFixed(3).padStart(12)} ${who.padEnd(5)} ${what}`;
      mix(utf8.encode(line));
      lines.push(line);
      if (lines.length > 2 * TAIL_LINES) lines = lines.slice(-TAIL_LINES);
      print?.(line);
    },
    bytes: mix,
    tail: () => lines.slice(-TAIL_LINES),
    hash: () => `${hex(high)}${hex(low)}`,
  };
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, "0");
}
