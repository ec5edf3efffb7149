// Snapshots: a piece of the log may be replaced by what it led to, on this node and on one that is far behind.
import { describe, expect, test } from "bun:test";
import type { AppendEntries, InstallSnapshot, InstallSnapshotReply } from "../../src/raft/messages.ts";
import { metaAt } from "../../src/raft/raft.ts";
import type { SnapshotMeta } from "../../src/raft/types.ts";
import { createCluster, type Cluster } from "./cluster.ts";
import { leading, replies, settle, single } from "../kit/single-raft.ts";
import {
  acknowledge,
  appendEntries,
  configEntry,
  configuration,
  draft,
  entry,
  idOf,
  logOf,
  refuse,
  requestVote,
} from "../kit/raft-samples.ts";

const meta = (index: number, term: number, more: Partial<SnapshotMeta> = {}): SnapshotMeta => ({
  index,
  term,
  configuration: configuration("n1", "n2", "n3"),
  configurationIndex: 1,
  time: index,
  ...more,
});
const part = (term: number, what: SnapshotMeta, number = 0, parts = 2): InstallSnapshot => ({
  type: "InstallSnapshot",
  term,
  meta: what,
  manifest: new Uint8Array(0),
  part: number,
  parts,
  offset: 0,
  bytes: new Uint8Array(0),
});
const stored = (what: SnapshotMeta, nextPart = 2, parts = 2, from = "n2") =>
  ({ type: "partStored", from: idOf(from), link: 7, meta: what, nextPart, nextOffset: 0, parts }) as const;

/** A follower crashes, and its leader takes 50 entries and a snapshot. */
function leaveBehind(c: Cluster): { leader: string; laggard: string } {
  const leader = c.elect().id;
  const laggard = [...c.nodes.keys()].find((id) => id !== leader)!;
  c.run(200);
  c.crash(laggard);
  for (let at = 0; at < 50; at++) c.propose(leader, `${at}`);
  c.run(300);
  c.snapshot(leader);
  c.run(100);
  return { leader, laggard };
}

/** A cluster whose leader has compacted far beyond what a crashed follower has. */
function withLaggard(c: Cluster): { leader: string; laggard: string } {
  const left = leaveBehind(c);
  expect(c.raftOf(left.leader).firstIndex).toBeGreaterThan(40);
  return left;
}

describe("a follower far behind", () => {
  test("catches up by snapshot and then by log, while the term stands still and heartbeats flow", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const { leader, laggard } = withLaggard(c);
    const term = c.raftOf(leader).currentTerm;
    c.at(laggard).diskMs = 400;
    c.start(laggard);
    c.run(500);
    const beats = c.sent.filter(({ to, message }) => to === laggard && message.type === "Heartbeat").length;
    c.run(500);
    const later = c.sent.filter(({ to, message }) => to === laggard && message.type === "Heartbeat").length;
    expect(later - beats).toBeGreaterThanOrEqual(9);
    c.propose(leader, "behind the snapshot");
    c.converge();
    expect(c.at(laggard).installs).toHaveLength(1);
    expect(c.texts(laggard)).toEqual(c.texts(leader));
    expect(c.raftOf(leader).currentTerm).toBe(term);
  });

  test("goes on with the part it wants after the connection was lost, and starts over after it forgot", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const { leader, laggard } = withLaggard(c);
    c.at(laggard).diskMs = 30;
    c.start(laggard);
    const parts = () => c.sent.flatMap(({ message }) => (message.type === "InstallSnapshot" ? [message.part] : []));
    c.runUntil("two parts", () => parts().length === 2);
    c.disconnect(leader, laggard);
    c.reconnect(leader, laggard);
    c.converge();
    expect(new Set(parts())).toEqual(new Set([0, 1, 2]));
    expect(parts().filter((one) => one === 0)).toHaveLength(1);
    expect(c.texts(laggard)).toEqual(c.texts(leader));
  });

  test("gets the newer snapshot from its start when one replaced the one being sent", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const { leader, laggard } = withLaggard(c);
    c.at(laggard).diskMs = 100;
    c.start(laggard);
    c.run(150);
    c.propose(leader, "newer");
    c.run(50);
    const { index } = c.snapshot(leader);
    c.converge();
    expect(c.at(laggard).installs.at(-1)).toBe(index);
    expect(c.texts(laggard)).toEqual(c.texts(leader));
  });

  test("gets its snapshot from the next leader when the one that sends it dies", () => {
    const c = createCluster(["n1", "n2", "n3", "n4", "n5"]);
    const { leader, laggard } = withLaggard(c);
    for (const node of c.nodes.values()) if (node.raft !== null && node.id !== leader) c.snapshot(node.id);
    c.run(100);
    c.at(laggard).diskMs = 50;
    c.start(laggard);
    c.runUntil("the first part", () => c.sent.some(({ message }) => message.type === "InstallSnapshot"));
    c.crash(leader);
    c.elect();
    c.converge();
    expect(c.at(laggard).installs.length).toBeGreaterThan(0);
  });

  test("that lags only by kept entries gets them from the log, not a snapshot", () => {
    const c = createCluster(["n1", "n2", "n3"], { keepLogBytes: 100_000 });
    const { laggard } = leaveBehind(c);
    c.start(laggard);
    c.converge();
    expect(c.at(laggard).installs).toEqual([]);
  });
});

describe("receiving", () => {
  test("an installed snapshot resets the log, is reported before what commits behind it, and is acknowledged only when durable", () => {
    const node = single({ entries: logOf(1, 1) });
    expect(node.receive("n2", part(3, meta(9, 2))).storeParts).toHaveLength(1);
    settle(node);
    const effects = node.turn(stored(meta(9, 2)), {
      type: "message",
      from: idOf("n2"),
      link: 7,
      message: appendEntries(3, 9, 2, [entry(10, 3)], 10),
    });
    expect(effects.installSnapshot?.index).toBe(9);
    expect(effects.committed.map(({ index }) => index)).toEqual([10]);
    expect(effects.persist?.snapshot).toMatchObject({ reset: true, keepFrom: 10 });
    expect(effects.persist?.entries).toEqual([]);
    expect(effects.send).toEqual([]);
    const { after, effects: next } = node.sync();
    expect(replies(after, "InstallSnapshotReply")).toMatchObject([{ index: 9, matchIndex: 9 }]);
    expect(replies(after, "AppendEntriesReply")).toEqual([]);
    expect(next.persist?.entries.map(({ index }) => index)).toEqual([10]);
    expect(replies(node.sync().after, "AppendEntriesReply")).toMatchObject([{ matchIndex: 10 }]);
  });

  test("at or below the commit index is ignored and answered with the commit index, once that is durable", () => {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1), entry(3, 1)], 3));
    const effects = node.receive("n2", part(1, meta(2, 1)));
    expect(effects.storeParts).toEqual([]);
    expect(replies(effects.send, "InstallSnapshotReply")).toEqual([]);
    const { after, effects: next } = node.sync();
    const answers = replies([...after, ...next.send], "InstallSnapshotReply") as InstallSnapshotReply[];
    expect(answers.map(({ matchIndex }) => matchIndex)).toEqual([3]);
    expect(node.raft.snapshot).toBeNull();
  });

  test("the entries behind a snapshot stay when the log leads through its last entry", () => {
    const node = single({ entries: logOf(1, 1, 1) });
    const effects = node.receive("n2", part(1, meta(3, 1)));
    expect(effects.storeParts).toEqual([]);
    expect(effects.committed.map(({ index }) => index)).toEqual([1, 2, 3]);
    expect(node.raft.lastIndex).toBe(4);
  });

  test("a conflicting entry exactly at the snapshot's end goes, with all behind it", () => {
    const node = single({ entries: logOf(1, 1, 1) });
    node.receive("n2", part(3, meta(3, 2)));
    settle(node);
    node.turn(stored(meta(3, 2)));
    expect([node.raft.firstIndex, node.raft.lastIndex, node.raft.termAt(3)]).toEqual([4, 3, 2]);
    settle(node);
    const next = node.receive("n2", appendEntries(3, 3, 2, [entry(4, 3)]));
    expect(next.persist?.entries.map(({ index }) => index)).toEqual([4]);
  });

  test("the configuration comes from the snapshot, not from an uncommitted entry that it supersedes", () => {
    const node = single({ entries: [...logOf(1), configEntry(3, 2, configuration("n1"))] });
    expect(node.raft.configuration.voters).toHaveLength(1);
    node.receive("n2", part(3, meta(9, 3)));
    settle(node);
    node.turn(stored(meta(9, 3)));
    expect(node.raft.configuration).toEqual(configuration("n1", "n2", "n3"));
    expect(node.raft.configurationIndex).toBe(1);
  });

  test("a part that is stored after the log has moved past the snapshot changes nothing", () => {
    const node = single();
    node.receive("n2", part(1, meta(3, 1)));
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1), entry(3, 1), entry(4, 1)], 4));
    settle(node);
    const effects = node.turn(stored(meta(3, 1)));
    expect(effects.installSnapshot).toBeNull();
    expect(node.raft.commitIndex).toBe(4);
  });

  test("a part that is stored after the leader changed is not answered", () => {
    const node = single();
    node.receive("n2", part(1, meta(9, 1)));
    node.receive("n3", appendEntries(2, 1, 1, []));
    settle(node);
    const effects = node.turn(stored(meta(9, 1), 1));
    expect(effects.send).toEqual([]);
    expect(node.raft.commitIndex).toBe(0);
  });

  test("a write that was under way when the snapshot came vouches for nothing behind the commit index", () => {
    const node = single();
    node.receive("n2", part(1, meta(9, 3)));
    const beyond = Array.from({ length: 11 }, (_, at) => entry(at + 2, 1));
    node.receive("n2", appendEntries(1, 1, 1, beyond));
    node.turn(stored(meta(9, 3)));
    expect(replies(node.sync().effects.send, "InstallSnapshotReply")).toEqual([]);
    expect(node.raft.durableIndex).toBeLessThan(9);
    expect(replies(node.sync().after, "InstallSnapshotReply")).toMatchObject([{ matchIndex: 9 }]);
  });

  test("a candidate accepts a snapshot of the term's leader", () => {
    const node = single();
    node.wait(600);
    node.receive("n2", { type: "RequestVoteReply", term: 1, preVote: true, requestedTerm: 2, voteGranted: true });
    expect(node.raft.role).toBe("candidate");
    expect(node.receive("n3", part(2, meta(9, 1))).storeParts).toHaveLength(1);
    expect(node.raft.leader).toBe(idOf("n3"));
  });
});

describe("our own snapshots", () => {
  test("count when durable; then the log in front goes, except for the kept tail", () => {
    const node = single({ entries: logOf(1, 1, 1, 1), keepLogBytes: 2 * entry(4, 1).record.length });
    node.receive("n2", appendEntries(1, 5, 1, [], 5));
    const effects = node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 5) });
    expect(effects.persist?.snapshot).toMatchObject({ reset: false, keepFrom: 4 });
    expect(node.raft.snapshot).toBeNull();
    node.sync();
    expect(node.raft.snapshot?.index).toBe(5);
    expect(node.raft.firstIndex).toBe(4);
    expect(node.raft.termAt(3)).toBe(1);
  });

  test("do not count before the log that they stand for is durable", () => {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1)]));
    node.receive("n2", appendEntries(1, 2, 1, [entry(3, 1)], 3));
    node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 3) });
    const log = node.sync().effects.persist;
    expect([log?.entries.length, log?.snapshot]).toEqual([1, null]);
    expect(node.sync().effects.persist?.snapshot?.meta.index).toBe(3);
  });

  test("are ignored when a newer one was installed meanwhile", () => {
    const node = single({ entries: logOf(1) });
    node.receive("n2", appendEntries(1, 2, 1, [], 2));
    const old = metaAt(node.raft, 2);
    node.receive("n2", part(1, meta(9, 1)));
    node.turn(stored(meta(9, 1)));
    settle(node);
    expect(node.turn({ type: "snapshotSaved", meta: old }).persist).toBeNull();
    expect(node.raft.snapshot?.index).toBe(9);
  });

  test("carry the configuration as of their index, never a later one", () => {
    const later = configuration("n1", "n2", "n3", "n4");
    const node = single({ entries: [...logOf(1), configEntry(3, 1, later), entry(4, 1)] });
    node.receive("n2", appendEntries(1, 4, 1, [], 4));
    expect(metaAt(node.raft, 2)).toEqual(meta(2, 1));
    expect(metaAt(node.raft, 4)).toEqual(meta(4, 1, { configuration: later, configurationIndex: 3 }));
  });

  test("a node restarts from a snapshot with a kept tail and votes by its whole log", () => {
    const entries = [entry(4, 1), entry(5, 2), entry(6, 2)];
    const node = single({ snapshot: meta(5, 2), entries });
    expect([node.raft.commitIndex, node.raft.firstIndex, node.raft.lastIndex]).toEqual([5, 4, 6]);
    expect(node.raft.termAt(3)).toBeUndefined();
    expect(node.raft.configuration).toEqual(configuration("n1", "n2", "n3"));
    node.receive("n2", requestVote(9, 5, 2));
    expect(node.raft.votedFor).toBeNull();
  });

  test("a leader sends entries only where it knows the term in front of them", () => {
    const node = leading({ snapshot: meta(5, 2), entries: [entry(4, 1), entry(5, 2), entry(6, 2)] });
    const sent = node.receive("n2", refuse(node.raft.currentTerm, 6, 3, 1));
    expect(sent.sendParts).toMatchObject([{ to: idOf("n2"), part: 0, meta: { index: 5 } }]);
    expect(replies(sent.send, "AppendEntries")).toEqual([]);
    const done = node.receive("n2", {
      type: "InstallSnapshotReply",
      term: node.raft.currentTerm,
      index: 5,
      nextPart: 3,
      nextOffset: 0,
      matchIndex: 5,
    });
    expect((replies(done.send, "AppendEntries")[0] as AppendEntries).prevLogIndex).toBe(5);
  });
});

test("over a slow link a part goes out in chunks of what that carries in a second, and on from where it was when the link is new", () => {
  const node = leading({ snapshot: meta(5, 2), entries: [] });
  const term = node.raft.currentTerm;
  node.turn({ type: "linkProgress", member: idOf("n2"), bytesPerSecond: 20_000 });
  node.receive("n3", acknowledge(term, 6));
  const wanted = ({
    sendParts,
  }: {
    readonly sendParts: readonly { part: number; offset: number; maxBytes: number }[];
  }) => sendParts.map(({ part: number, offset, maxBytes }) => [number, offset, maxBytes]);
  expect(wanted(node.receive("n2", refuse(term, 5, 1, 1)))).toEqual([[0, 0, 20_000]]);
  const answer = { type: "InstallSnapshotReply", term, index: 5, matchIndex: 0 } as const;
  expect(wanted(node.receive("n2", { ...answer, nextPart: 0, nextOffset: 20_000 }))).toEqual([[0, 20_000, 20_000]]);
  node.turn({ type: "linkDown", member: idOf("n2") });
  expect(wanted(node.turn({ type: "linkUp", member: idOf("n2") }))).toEqual([[0, 20_000, Number.POSITIVE_INFINITY]]);
  expect(wanted(node.receive("n2", { ...answer, nextPart: 1, nextOffset: 0 }))).toEqual([
    [1, 0, Number.POSITIVE_INFINITY],
  ]);
});

test("a snapshot is sent one part at a time, and again after a long silence", () => {
  const node = leading({ snapshot: meta(5, 2), entries: [] });
  const term = node.raft.currentTerm;
  node.receive("n3", acknowledge(term, 6));
  const first = node.receive("n2", refuse(term, 5, 1, 1));
  expect(first.sendParts.map((one) => one.part)).toEqual([0]);
  expect(node.turn({ type: "propose", token: 1, draft: draft() }).sendParts).toEqual([]);
  settle(node);
  const beat = { type: "HeartbeatReply", term, readContext: 0, diskLow: false } as const;
  expect(node.receive("n2", beat).sendParts).toEqual([]);
  let again = 0;
  for (let at = 0; at < 30; at++) {
    node.wait(50);
    node.receive("n3", beat);
    again += node.receive("n2", beat).sendParts.length;
  }
  expect(again).toBe(1);
  const next = node.receive("n2", {
    type: "InstallSnapshotReply",
    term,
    index: 5,
    nextPart: 1,
    nextOffset: 0,
    matchIndex: 0,
  });
  expect(next.sendParts.map((one) => one.part)).toEqual([1]);
});
