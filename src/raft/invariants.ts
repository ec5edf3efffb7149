// The invariants that are checked: Figure 3 and the order of the pointers. The cheap check runs after every step, in production too;
// the deep ones read whole logs and are for tests and the simulator.
import { assert, BrokenInvariant } from "../lib/assert.ts";
import { decodeConfiguration, encodeConfiguration } from "./configuration.ts";
import { fieldsOf, timeOf } from "./entry.ts";
import { entryAt, termAt } from "./log.ts";
import type { RaftState } from "./state.ts";

/** Costs a few comparisons, and no text unless something is wrong. Throws BrokenInvariant. */
export function checkStep(state: RaftState): void {
  const { log, checked } = state;
  if (!pointersInOrder(state) || !monotonic(state) || !roleFits(state)) {
    const { currentTerm, votedFor, commitIndex, configurationIndex, role, leader, snapshot } = state;
    const { firstIndex, lastIndex, submittedIndex, durableIndex } = log;
    const pointers = {
      snapshot: snapshot?.index,
      firstIndex,
      commitIndex,
      durableIndex,
      submittedIndex,
      lastIndex,
      configurationIndex,
    };
    const now = JSON.stringify({ currentTerm, votedFor, role, leader, ...pointers });
    throw new BrokenInvariant(`${state.self} must not go from ${JSON.stringify(checked)} to ${now}`);
  }
  checked.currentTerm = state.currentTerm;
  checked.votedFor = state.votedFor;
  checked.commitIndex = state.commitIndex;
  checked.lastIndex = log.lastIndex;
  checked.leading = state.role === "leader";
}

/** durable <= handed to storage <= last; snapshot <= commit <= last; no gap between snapshot and log. */
function pointersInOrder({ log, commitIndex, configurationIndex, snapshot }: RaftState): boolean {
  if (log.durableIndex > log.submittedIndex || log.submittedIndex > log.lastIndex) return false;
  if (commitIndex > log.lastIndex || configurationIndex > log.lastIndex) return false;
  return snapshot === null || (snapshot.index <= commitIndex && log.firstIndex <= snapshot.index + 1);
}

/** Terms and the commit index never fall; a vote given in a term stays. */
function monotonic({ currentTerm, votedFor, commitIndex, checked }: RaftState): boolean {
  if (currentTerm < checked.currentTerm || commitIndex < checked.commitIndex) return false;
  return currentTerm > checked.currentTerm || checked.votedFor === null || checked.votedFor === votedFor;
}

/** Exactly a leader has a leadership, voted for itself, and never drops entries of its log (Leader Append-Only). */
function roleFits({ role, leadership, leader, self, votedFor, currentTerm, log, checked }: RaftState): boolean {
  if ((role === "leader") !== (leadership !== null)) return false;
  if (role !== "leader") return true;
  if (votedFor !== self || leader !== self) return false;
  return currentTerm !== checked.currentTerm || !checked.leading || log.lastIndex >= checked.lastIndex;
}

/** One node, all of its log: O(entries). */
export function checkDeep(state: RaftState): void {
  const { log } = state;
  assert(log.entries.length === log.lastIndex - log.firstIndex + 1, "the log has as many entries as its indexes span");
  let term = log.baseTerm ?? 0;
  let time = 0;
  let configurationIndex = state.snapshot?.configurationIndex ?? 0;
  let configuration = state.snapshot?.configuration ?? null;
  for (let index = log.firstIndex; index <= log.lastIndex; index++) {
    const entry = entryAt(log, index);
    assert(entry !== undefined && entry.index === index, `entry ${index} stands in its place`);
    assert(entry.term >= term && entry.term <= state.currentTerm, `term ${entry.term} of entry ${index} is in order`);
    assert(timeOf(entry) >= time, `cluster time never falls along the log (entry ${index})`);
    term = entry.term;
    time = timeOf(entry);
    if (entry.kind !== "config" || index <= configurationIndex) continue;
    configurationIndex = index;
    configuration = decodeConfiguration(fieldsOf(entry).body);
  }
  assert(
    configurationIndex === state.configurationIndex,
    `the configuration in force is the log's last (${configurationIndex})`,
  );
  if (configuration === null) return;
  const same = sameBytes(encodeConfiguration(configuration), encodeConfiguration(state.configuration));
  assert(same, "the configuration in force is the one that its entry holds");
}

/** All nodes of a cluster: Election Safety, Log Matching, State Machine Safety. O(nodes x entries). */
export function checkCluster(states: readonly RaftState[]): void {
  for (const [at, one] of states.entries()) {
    for (const other of states.slice(at + 1)) checkPair(one, other);
  }
}

function checkPair(one: RaftState, other: RaftState): void {
  const both = `${one.self} and ${other.self}`;
  assert(
    one.role !== "leader" || other.role !== "leader" || one.currentTerm !== other.currentTerm,
    `${both} do not both lead term ${one.currentTerm}`,
  );
  const from = Math.max(one.log.firstIndex, other.log.firstIndex);
  const to = Math.min(one.log.lastIndex, other.log.lastIndex);
  const committed = Math.min(one.commitIndex, other.commitIndex);
  let matched = false;
  for (let index = to; index >= from; index--) {
    const sameTerm = termAt(one.log, index) === termAt(other.log, index);
    assert(
      sameTerm || (index > committed && !matched),
      `${both} agree on entry ${index}, which is committed or in front of an equal one`,
    );
    if (!sameTerm) continue;
    matched = true;
    const a = entryAt(one.log, index);
    const b = entryAt(other.log, index);
    assert(
      a !== undefined && b !== undefined && sameBytes(a.record, b.record),
      `${both} hold one entry ${index} of one term`,
    );
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
