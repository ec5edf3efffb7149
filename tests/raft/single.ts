// How is one Raft looked at closely? Inputs by hand, effects in hand, persists completed when the test says so.
import { must } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import type { Effects, Input, Outgoing } from "../../src/raft/effects.ts";
import { encodeEntry, type Draft, type Entry } from "../../src/raft/entry.ts";
import type { AppendEntries, RaftMessage, RequestVote } from "../../src/raft/messages.ts";
import { createRaft, step, takeEffects, type Raft, type RaftSettings } from "../../src/raft/raft.ts";
import type { Configuration, HardState, LogIndex, SnapshotMeta } from "../../src/raft/types.ts";
import { idOf, member, TIMES } from "./cluster.ts";

const NO_BODY = new Uint8Array(0);

export function configuration(...voters: string[]): Configuration {
  return { voters: voters.map((name) => member(name)), outgoing: [], learners: [], removed: [] };
}

export function draft(text = "x", kind: Draft["kind"] = "command"): Draft {
  return {
    kind,
    session: 0,
    number: 0,
    acknowledgedThrough: 0,
    body: text === "" ? NO_BODY : new TextEncoder().encode(text),
  };
}

export function entry(index: number, term: number, text = `${index}/${term}`): Entry {
  return encodeEntry({ index, term, time: index, wall: 0 }, draft(text));
}

export function configEntry(index: number, term: number, what: Configuration): Entry {
  const body = encodeConfiguration(what);
  return encodeEntry({ index, term, time: index, wall: 0 }, { ...draft(""), kind: "config", body });
}

/** Entry 1 names n1, n2, n3; then one entry per given term. */
export function logOf(...terms: number[]): Entry[] {
  return [configEntry(1, 1, configuration("n1", "n2", "n3")), ...terms.map((term, at) => entry(at + 2, term))];
}

export interface Single {
  readonly raft: Raft;
  now: number;
  /** Steps the inputs, ticks, takes the effects. */
  turn(...inputs: Input[]): Effects;
  /** One message from `from` on connection 7. */
  hear(from: string, message: RaftMessage): Effects;
  /** Turns every 10 ms. */
  wait(ms: number): Outgoing[];
  /** Completes the persist in flight; gives what may leave with it and the turn's effects. */
  sync(): { readonly after: readonly Outgoing[]; readonly effects: Effects };
  /** The persist in flight finds no space for entries from `entriesFrom` on, or not even for its snapshot's frame. */
  cut(entriesFrom: LogIndex | null, snapshot?: boolean): Effects;
}

export interface SingleSettings extends Partial<Omit<RaftSettings, "recovered">> {
  readonly hardState?: HardState;
  readonly snapshot?: SnapshotMeta | null;
  readonly entries?: readonly Entry[];
}

/** n1 of n1, n2, n3 unless told otherwise. */
export function single(settings: SingleSettings = {}): Single {
  const { hardState, snapshot, entries, ...more } = settings;
  const raft = createRaft({
    self: idOf("n1"),
    random: seededRandom(7),
    ...TIMES,
    maxAppendBytes: 4_096,
    maxInflightMessages: 16,
    maxInflightBytes: 65_536,
    maxUncommittedBytes: 1_048_576,
    keepLogBytes: 0,
    now: 0,
    wall: 1_000,
    ...more,
    recovered: {
      hardState: hardState ?? { currentTerm: entries?.at(-1)?.term ?? 1, votedFor: null },
      snapshot: snapshot ?? null,
      entries: entries ?? logOf(),
    },
  });
  let writing: Effects["persist"] = null;
  const node: Single = {
    raft,
    now: 0,
    turn: (...inputs) => {
      for (const input of inputs) step(raft, input);
      step(raft, { type: "tick", now: node.now, wall: 1_000 });
      const effects = takeEffects(raft);
      if (effects.persist !== null) writing = effects.persist;
      return effects;
    },
    hear: (from, message) => node.turn({ type: "message", from: idOf(from), link: 7, message }),
    wait: (ms) => {
      const sent: Outgoing[] = [];
      for (let passed = 0; passed < ms; passed += 10) {
        node.now += 10;
        sent.push(...node.turn().send);
      }
      return sent;
    },
    sync: () => {
      const { seq, sendAfter } = must(writing, "a persist in flight");
      writing = null;
      return { after: sendAfter, effects: node.turn({ type: "persisted", seq }) };
    },
    cut: (entriesFrom, snapshot = false) => {
      const { seq } = must(writing, "a persist in flight");
      writing = null;
      return node.turn({ type: "unwritten", seq, entriesFrom, snapshot });
    },
  };
  return node;
}

/** Completes every persist until the node has nothing more to write; gives all that was sent. */
export function settle(node: Single): Outgoing[] {
  const sent: Outgoing[] = [];
  while (node.raft.inflight !== null) {
    const { after, effects } = node.sync();
    sent.push(...after, ...effects.send);
  }
  return sent;
}

/** A single that has won the election of the next term; its first entry is durable here, not elsewhere. */
export function leading(settings: SingleSettings = {}): Single {
  const node = single(settings);
  while (node.raft.role !== "leader") {
    node.wait(10);
    if (node.raft.campaign === null) continue;
    const { term, preVote } = node.raft.campaign;
    const reply = {
      type: "RequestVoteReply",
      term: preVote ? term - 1 : term,
      preVote,
      requestedTerm: term,
      voteGranted: true,
    } as const;
    if (!preVote) settle(node);
    for (const voter of ["n2", "n3"]) node.hear(voter, reply);
  }
  settle(node);
  return node;
}

export function requestVote(
  term: number,
  lastLogIndex: number,
  lastLogTerm: number,
  more: Partial<RequestVote> = {},
): RequestVote {
  return { type: "RequestVote", term, preVote: false, transfer: false, lastLogIndex, lastLogTerm, ...more };
}

export function appendEntries(
  term: number,
  prevLogIndex: number,
  prevLogTerm: number,
  entries: Entry[],
  leaderCommit = 0,
): AppendEntries {
  return { type: "AppendEntries", term, prevLogIndex, prevLogTerm, leaderCommit, entries };
}

export function heartbeat(term: number, leaderCommit = 0, readContext = 0, time = 0): RaftMessage {
  return { type: "Heartbeat", term, leaderCommit, time, readContext };
}

export function acknowledge(term: number, matchIndex: number): RaftMessage {
  return {
    type: "AppendEntriesReply",
    term,
    success: true,
    matchIndex,
    rejectedIndex: 0,
    hintIndex: 0,
    hintTerm: 0,
    diskLow: false,
  };
}

export function refuse(term: number, rejectedIndex: number, hintIndex: number, hintTerm: number): RaftMessage {
  return {
    type: "AppendEntriesReply",
    term,
    success: false,
    matchIndex: 0,
    rejectedIndex,
    hintIndex,
    hintTerm,
    diskLow: false,
  };
}

export function replies(sent: readonly Outgoing[], type: RaftMessage["type"]): RaftMessage[] {
  return sent.map(({ message }) => message).filter((message) => message.type === type);
}
