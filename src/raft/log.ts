// The entries that this node holds in memory, and how far they are durable: the paper's log[], with a compacted front.
import { assert, must } from "../lib/assert.ts";
import type { Entry } from "./entry.ts";
import type { LogIndex, Term } from "./types.ts";

export interface Log {
  /** entries[0] has index `firstIndex`; empty when lastIndex = firstIndex - 1. */
  entries: Entry[];
  firstIndex: LogIndex;
  lastIndex: LogIndex;
  /** Term of the entry before `firstIndex`; null when it is not known (a kept tail read back from disk). */
  baseTerm: Term | null;
  /** The last entry given to storage; what follows is in memory only. */
  submittedIndex: LogIndex;
  /** Every entry up to here, as it stands now, is durable on this node. */
  durableIndex: LogIndex;
}

/** An empty log that continues behind (index, term): (0, 0) at the very beginning. */
export function emptyLog(index: LogIndex, term: Term): Log {
  return {
    entries: [],
    firstIndex: index + 1,
    lastIndex: index,
    baseTerm: term,
    submittedIndex: index,
    durableIndex: index,
  };
}

export function entryAt(log: Log, index: LogIndex): Entry | undefined {
  return log.entries[index - log.firstIndex];
}

/** 0 at index 0; undefined where the log has been compacted or has not come yet. */
export function termAt(log: Log, index: LogIndex): Term | undefined {
  if (index === log.firstIndex - 1) return log.baseTerm ?? undefined;
  return log.entries[index - log.firstIndex]?.term;
}

export function lastTerm(log: Log): Term {
  return must(termAt(log, log.lastIndex), "the term of the last entry");
}

export function append(log: Log, entry: Entry): void {
  assert(entry.index === log.lastIndex + 1, "entries follow each other without a gap");
  log.entries.push(entry);
  log.lastIndex = entry.index;
}

/** Drops `from` and everything behind it. Completions of writes that are under way must be clipped by the caller. */
export function truncateFrom(log: Log, from: LogIndex): void {
  assert(from >= log.firstIndex, `a truncation at ${from} stays within the log, which starts at ${log.firstIndex}`);
  log.entries.length = from - log.firstIndex;
  log.lastIndex = from - 1;
  log.submittedIndex = Math.min(log.submittedIndex, from - 1);
  log.durableIndex = Math.min(log.durableIndex, from - 1);
}

/** Forgets what lies before `keepFrom`: a durable snapshot stands for it. */
export function compact(log: Log, keepFrom: LogIndex): void {
  if (keepFrom <= log.firstIndex) return;
  assert(
    keepFrom <= log.lastIndex + 1,
    `compaction to ${keepFrom} stays within the log, which ends at ${log.lastIndex}`,
  );
  log.baseTerm = must(termAt(log, keepFrom - 1), "the term in front of the kept entries");
  log.entries = log.entries.slice(keepFrom - log.firstIndex);
  log.firstIndex = keepFrom;
}

/** The first of the entries up to `index` that together have at most `bytes`. */
export function tailStart(log: Log, index: LogIndex, bytes: number): LogIndex {
  let from = index + 1;
  let bytesLeft = bytes;
  for (;;) {
    const entry = entryAt(log, from - 1);
    if (entry === undefined || entry.record.length > bytesLeft) return from;
    bytesLeft -= entry.record.length;
    from--;
  }
}

export function slice(log: Log, from: LogIndex, to: LogIndex): readonly Entry[] {
  return log.entries.slice(from - log.firstIndex, to - log.firstIndex + 1);
}

/** The last index at or below `index` (and not below `floor`) whose term is at most `term`: terms never fall along a log. */
export function lastAtMostTerm(log: Log, index: LogIndex, term: Term, floor: LogIndex): LogIndex {
  let low = Math.max(floor, log.firstIndex - 1);
  let high = Math.min(index, log.lastIndex);
  if (high <= low) return low;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((termAt(log, middle) ?? 0) <= term) low = middle;
    else high = middle - 1;
  }
  return low;
}
