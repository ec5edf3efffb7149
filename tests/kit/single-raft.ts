// One Raft, step by step: inputs by hand, effects in hand, persists completed when the test decides. Several of them: `raft/cluster.ts`.
import { must } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { Effects, Input, Outgoing } from "../../src/raft/effects.ts";
import { type Entry } from "../../src/raft/entry.ts";
import type { RaftMessage } from "../../src/raft/messages.ts";
import { createRaft, step, takeEffects, type Raft, type RaftSettings } from "../../src/raft/raft.ts";
import type { HardState, LogIndex, SnapshotMeta } from "../../src/raft/types.ts";
import { idOf, logOf, RAFT_SETTINGS } from "./raft-samples.ts";

export interface Single {
  readonly raft: Raft;
  now: number;
  /** Steps the inputs, ticks, takes the effects. */
  turn(...inputs: Input[]): Effects;
  /** One message from `from` on connection 7. */
  receive(from: string, message: RaftMessage): Effects;
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

/** n1 of n1, n2, n3 unless set otherwise. */
export function single(settings: SingleSettings = {}): Single {
  const { hardState, snapshot, entries, ...more } = settings;
  const raft = createRaft({
    self: idOf("n1"),
    random: seededRandom(7),
    ...RAFT_SETTINGS,
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
    receive: (from, message) => node.turn({ type: "message", from: idOf(from), link: 7, message }),
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
    for (const voter of ["n2", "n3"]) node.receive(voter, reply);
  }
  settle(node);
  return node;
}

export function replies(sent: readonly Outgoing[], type: RaftMessage["type"]): RaftMessage[] {
  return sent.map(({ message }) => message).filter((message) => message.type === type);
}
