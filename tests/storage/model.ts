// What may a storage give back after a crash? Everything acknowledged, and of the step under way nothing, a part, or all.
import type { Entry } from "../../src/raft/entry.ts";
import type { HardState } from "../../src/raft/types.ts";
import type { Persist } from "../../src/raft/effects.ts";
import type { Recovered } from "../../src/storage/types.ts";
import { hardState, shown } from "../kit/test-storage.ts";

export interface Expected {
  readonly hardState: HardState;
  /** The whole log behind the snapshot; entries that compaction may have deleted are not in it. */
  readonly log: readonly Entry[];
  /** 0: none. */
  readonly snapshotIndex: number;
}

export const NOTHING: Expected = { hardState: hardState(0), log: [], snapshotIndex: 0 };

/** The state once `batch` is durable. */
export function after(state: Expected, batch: Persist): Expected {
  const snapshot = batch.snapshot;
  let log = snapshot?.reset === true ? [] : state.log;
  const first = batch.entries[0]?.index;
  if (first !== undefined) log = [...log.filter(({ index }) => index < first), ...batch.entries];
  const snapshotIndex = snapshot?.meta.index ?? state.snapshotIndex;
  return {
    hardState: batch.hardState ?? state.hardState,
    log: log.filter(({ index }) => index > snapshotIndex),
    snapshotIndex,
  };
}

/** Every state that a crash in the middle of `batch` may leave, in the order of writing. */
export function during(state: Expected, batch: Persist): readonly Expected[] {
  const states = [state];
  const add = (step: Partial<Persist>): void => {
    const last = states.at(-1) ?? state;
    states.push(after(last, { ...batch, hardState: null, entries: [], snapshot: null, ...step }));
  };
  add({ hardState: batch.hardState });
  if (batch.snapshot?.reset === true) add({ snapshot: batch.snapshot });
  const written = states.at(-1) ?? state;
  batch.entries.forEach((_, at) => {
    states.push(after(written, { ...batch, hardState: null, snapshot: null, entries: batch.entries.slice(0, at + 1) }));
  });
  if (batch.snapshot?.reset === false) add({ snapshot: batch.snapshot });
  return states;
}

export function stateOf(recovered: Recovered): Expected {
  const snapshotIndex = recovered.snapshot?.index ?? 0;
  return {
    hardState: recovered.hardState,
    log: recovered.entries.filter(({ index }) => index > snapshotIndex),
    snapshotIndex,
  };
}

/** Null, or how what was recovered differs from all that is allowed. */
export function difference(recovered: Recovered, allowed: readonly Expected[]): string | null {
  const gap = recovered.entries.find((entry, at) => entry.index !== (recovered.entries[0]?.index ?? 0) + at);
  if (gap !== undefined) return `the recovered log has a gap before ${gap.index}`;
  const found = describe(stateOf(recovered));
  if (allowed.some((state) => describe(state) === found)) return null;
  return `recovered:\n${found}\nbut only these are allowed:\n${allowed.map(describe).join("\n")}`;
}

function describe({ hardState: { currentTerm, votedFor }, log, snapshotIndex }: Expected): string {
  return `term ${currentTerm}, vote ${votedFor}, snapshot ${snapshotIndex}, log ${shown(log).join(" ")}`;
}
