// A disk without space for the log: entries that had no space wait in the core, and nothing else waits with them.
import { describe, expect, test } from "bun:test";
import { metaAt } from "../../src/raft/raft.ts";
import type { SnapshotMeta } from "../../src/raft/types.ts";

import { leading, replies, single, type Single } from "../kit/single-raft.ts";
import { appendEntries, configuration, draft, entry, idOf, logOf, requestVote } from "../kit/raft-samples.ts";

/** A follower that has received entries 2 to 5, all committed, and has space for those below `from` only. */
function full(from: number): Single {
  const node = single();
  node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1), entry(3, 1), entry(4, 1), entry(5, 1)], 5));
  node.cut(from);
  return node;
}

const indexes = (entries: readonly { readonly index: number }[] = []): readonly number[] =>
  entries.map(({ index }) => index);

test("what was written is durable, the rest is not, is not acknowledged, and is written when there is space", () => {
  const node = full(4);
  expect(node.raft.durableIndex).toBe(3);
  expect(node.wait(100).filter(({ message }) => message.type === "AppendEntriesReply")).toEqual([]);
  const { persist } = node.turn({ type: "spaceFound" });
  expect(indexes(persist?.entries)).toEqual([4, 5]);
  expect(replies(node.sync().after, "AppendEntriesReply")).toMatchObject([{ success: true, matchIndex: 5 }]);
  expect(node.raft.durableIndex).toBe(5);
});

test("nothing is offered to the disk again and again meanwhile", () => {
  const node = full(4);
  expect(node.receive("n2", appendEntries(1, 5, 1, [entry(6, 1)], 6)).persist).toBeNull();
  expect(node.turn().persist).toBeNull();
});

test("terms and votes become durable, and leave", () => {
  const node = full(4);
  node.wait(700);
  const { persist } = node.receive("n3", requestVote(2, 9, 1));
  expect(persist).toMatchObject({ hardState: { currentTerm: 2, votedFor: idOf("n3") }, entries: [] });
  expect(replies(node.sync().after, "RequestVoteReply")).toMatchObject([{ term: 2, voteGranted: true }]);
});

test("replies that waited for the cut write are not sent in a later term", () => {
  const node = single();
  node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1)], 2));
  node.receive("n3", appendEntries(2, 2, 1, [], 2));
  node.cut(2);
  const { after } = node.sync();
  expect(after.every(({ message }) => message.term === 2)).toBe(true);
  const { persist } = node.turn({ type: "spaceFound" });
  expect(indexes(persist?.entries)).toEqual([2]);
});

test("entries that were dropped meanwhile are not durable because an end of the cut write was", () => {
  const node = single();
  node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1), entry(3, 1), entry(4, 1)]));
  node.receive("n3", appendEntries(2, 2, 1, [entry(3, 2)]));
  node.cut(4);
  expect(node.raft.durableIndex).toBe(2);
});

test("a snapshot of what is durable counts, and keeps nothing for slow followers", () => {
  const node = single({ entries: logOf(1, 1, 1, 1), keepLogBytes: 1_000 });
  node.receive("n2", appendEntries(1, 5, 1, [entry(6, 1)], 5));
  node.cut(6);
  const { persist } = node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 4) });
  expect(persist).toMatchObject({ entries: [], snapshot: { meta: { index: 4 }, reset: false, keepFrom: 5 } });
  node.sync();
  expect(node.raft.snapshot?.index).toBe(4);
});

test("a snapshot of more than what is durable takes the place of the log; then what follows it is written", () => {
  const node = full(4);
  const { persist } = node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 4) });
  expect(persist?.snapshot).toMatchObject({ meta: { index: 4 }, reset: true, keepFrom: 5 });
  expect(node.raft.durableIndex).toBe(3);
  node.sync();
  expect([node.raft.durableIndex, node.raft.firstIndex]).toEqual([4, 5]);
  expect(indexes(node.turn({ type: "spaceFound" }).persist?.entries)).toEqual([5]);
});

test("a snapshot whose frame has no space either waits as well, and counts when there is some", () => {
  const node = full(4);
  node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 5) });
  expect(node.cut(null, true).persist).toBeNull();
  expect([node.raft.durableIndex, node.raft.snapshot]).toEqual([3, null]);
  const { persist } = node.turn({ type: "spaceFound" });
  expect(persist).toMatchObject({ entries: [], snapshot: { meta: { index: 5 }, reset: true } });
  node.sync();
  expect([node.raft.durableIndex, node.raft.snapshot?.index]).toEqual([5, 5]);
});

test("the leader's snapshot of entries that had no space is taken, though they are here", () => {
  const node = full(4);
  const meta: SnapshotMeta = {
    index: 5,
    term: 1,
    configuration: configuration("n1", "n2", "n3"),
    configurationIndex: 1,
    time: 5,
  };
  const part = { type: "InstallSnapshot", term: 1, meta, part: 0, parts: 1, offset: 0 } as const;
  const { storeParts } = node.receive("n2", { ...part, manifest: new Uint8Array(0), bytes: new Uint8Array(0) });
  expect(storeParts).toHaveLength(1);
  const { persist } = node.turn({
    type: "partStored",
    from: idOf("n2"),
    link: 7,
    meta,
    nextPart: 1,
    nextOffset: 0,
    parts: 1,
  });
  expect(persist?.snapshot).toMatchObject({ meta: { index: 5 }, reset: true });
  expect(replies(node.sync().after, "InstallSnapshotReply")).toMatchObject([{ matchIndex: 5 }]);
});

describe("an installed snapshot whose frame had no space", () => {
  const meta: SnapshotMeta = {
    index: 10,
    term: 1,
    configuration: configuration("n1", "n2", "n3"),
    configurationIndex: 1,
    time: 10,
  };

  /** Entry 1 is on the disk; n2 has sent a snapshot at 10, and the frame that makes it count is under way. */
  function installing(): Single {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [], 1));
    const part = { type: "InstallSnapshot", term: 1, meta, part: 0, parts: 1, offset: 0 } as const;
    node.receive("n2", { ...part, manifest: new Uint8Array(0), bytes: new Uint8Array(0) });
    node.turn({ type: "partStored", from: idOf("n2"), link: 7, meta, nextPart: 1, nextOffset: 0, parts: 1 });
    return node;
  }

  test("is not durable because a term or vote becomes so", () => {
    const node = installing();
    node.cut(null, true);
    node.wait(700);
    node.receive("n3", requestVote(2, 12, 1));
    node.sync();
    expect(node.raft.durableIndex).toBe(1);
  });

  test("is not acknowledged to the next leader before it is written", () => {
    const node = installing();
    node.cut(null, true);
    node.receive("n3", appendEntries(2, 10, 1, [], 10));
    const { after, effects } = node.sync();
    expect(replies([...after, ...effects.send], "AppendEntriesReply")).toEqual([]);
    node.turn({ type: "spaceFound" });
    expect(replies(node.sync().after, "AppendEntriesReply")).toMatchObject([{ success: true, matchIndex: 10 }]);
  });

  test("is written before the entries behind it, also when an own one came while it was tried", () => {
    const node = installing();
    node.receive("n2", appendEntries(1, 10, 1, [entry(11, 1), entry(12, 1)], 12));
    node.turn({ type: "snapshotSaved", meta: metaAt(node.raft, 12) });
    node.cut(null, true);
    const { persist } = node.turn({ type: "spaceFound" });
    expect(persist).toMatchObject({ entries: [], snapshot: { meta: { index: 10 }, reset: true } });
    expect(indexes(node.sync().effects.persist?.entries)).toEqual([11, 12]);
  });
});

test("a leader whose disk stays full steps down and does not stand again before there is space", () => {
  const node = leading();
  node.turn({ type: "propose", token: 1, draft: draft() });
  node.cut(node.raft.lastIndex);
  for (let passed = 0; passed < 1_000 && node.raft.role === "leader"; passed += 10) {
    node.now += 10;
    for (const name of ["n2", "n3"])
      node.receive(name, { type: "HeartbeatReply", term: node.raft.currentTerm, readContext: 0, diskLow: true });
  }
  expect(node.raft.role).toBe("follower");
  node.wait(5_000);
  expect(node.raft.campaign).toBeNull();
  node.turn({ type: "spaceFound" });
  node.sync();
  node.wait(1_000);
  expect(node.raft.campaign).not.toBeNull();
});
