// Appends entries to this node's log and commits them. Every change of log and configuration passes here, on leader and follower alike.
import { assert, must } from "../lib/assert.ts";
import { decodeConfiguration, encodeConfiguration, isVoter, memberSets } from "./configuration.ts";
import { encodeEntry, fieldsOf, type Draft, type Entry } from "./entry.ts";
import { append, entryAt, truncateFrom } from "./log.ts";
import type { ConfigurationAt, RaftState } from "./state.ts";
import { NO_CONFIGURATION, nodeIdOf, type Configuration, type LogIndex, type MemberId } from "./types.ts";

const NO_BODY = new Uint8Array(0);
const NOOP: Draft = { kind: "noop", session: 0, number: 0, acknowledgedThrough: 0, body: NO_BODY };

/** The leader's own append: in the log now, durable later. */
export function appendDraft(state: RaftState, draft: Draft): Entry {
  const { log, leadership } = state;
  assert(state.role === "leader" && leadership !== null, "only a leader appends entries of its own");
  const stamp = {
    index: log.lastIndex + 1,
    term: state.currentTerm,
    time: Math.floor(state.clusterTime),
    wall: Math.floor(state.wall),
  };
  const entry = encodeEntry(stamp, draft);
  leadership.uncommittedBytes += entry.record.length;
  appendEntry(state, entry);
  return entry;
}

export function appendNoop(state: RaftState): void {
  appendDraft(state, NOOP);
}

export function appendConfiguration(state: RaftState, configuration: Configuration): LogIndex {
  const body = encodeConfiguration(configuration);
  return appendDraft(state, { kind: "config", session: 0, number: 0, acknowledgedThrough: 0, body }).index;
}

export function appendEntry(state: RaftState, entry: Entry): void {
  append(state.log, entry);
  if (entry.kind === "config") {
    // In force from here on, committed or not (dissertation section 4.1).
    const configuration = decodeConfiguration(fieldsOf(entry).body);
    state.configurations.push({ index: entry.index, configuration });
    useLatestConfiguration(state);
  }
}

/** A conflict with the leader: the entry at `from` and all behind it go, and a configuration among them is rolled back. */
export function truncate(state: RaftState, from: LogIndex): void {
  assert(from > state.commitIndex, `entry ${from} may be dropped: it is behind commit ${state.commitIndex}`);
  assert(state.role !== "leader", "a leader never drops entries of its log");
  truncateFrom(state.log, from);
  if (state.inflight !== null) state.inflight.upTo = Math.min(state.inflight.upTo, from - 1);
  let rolledBack = false;
  while ((state.configurations.at(-1)?.index ?? 0) >= from) {
    state.configurations.pop();
    rolledBack = true;
  }
  if (rolledBack) useLatestConfiguration(state);
}

export function useLatestConfiguration(state: RaftState): void {
  const latest: ConfigurationAt = must(state.configurations.at(-1), "a configuration, if only the empty one");
  state.configuration = latest.configuration;
  state.configurationIndex = latest.index;
  state.members = memberSets(latest.configuration);
  updateRole(state, `by entry ${latest.index}`);
}

/**
 * A voter stands for election. So does one whose removal is in its log and may not have committed: it can be the only one whose
 * log is long enough to finish that very change (dissertation section 4.2.2).
 */
export function standsForElection(state: RaftState): boolean {
  if (isVoter(state.members, state.self)) return true;
  if (state.configurationIndex <= state.commitIndex) return false;
  const before = state.configurations.at(-2)?.configuration ?? NO_CONFIGURATION;
  return isVoter(memberSets(before), state.self);
}

function updateRole(state: RaftState, why: string): void {
  if (state.role === "leader" || state.role === "candidate") return;
  const role = standsForElection(state) ? "follower" : "learner";
  if (role === state.role) return;
  state.role = role;
  noteTransition(state, role === "follower" ? `made a voter ${why}` : `removed as a voter ${why}`);
}

/** Hands the entries up to `index` to the state machine, each exactly once. */
export function commitTo(state: RaftState, index: LogIndex): void {
  assert(index <= state.log.lastIndex, `commit ${index} does not exceed the last entry ${state.log.lastIndex}`);
  const { committed } = state.pendingEffects;
  for (let at = state.commitIndex + 1; at <= index; at++) {
    const entry = must(entryAt(state.log, at), "an entry that commits");
    committed.push(entry);
    if (state.leadership !== null) state.leadership.uncommittedBytes -= entry.record.length;
  }
  if (index <= state.commitIndex) return;
  const configured = state.commitIndex < state.configurationIndex && index >= state.configurationIndex;
  state.commitIndex = index;
  if (configured) updateRole(state, `by entry ${state.configurationIndex}`);
}

export function noteTransition(state: RaftState, why: string): void {
  state.pendingEffects.transitions.push({ role: state.role, term: state.currentTerm, leader: state.leader, why });
}

/** As people know it: `n3`. */
export function nameOf(member: MemberId): string {
  return nodeIdOf(member);
}
