// Commitment: what a majority has on disk stays, and nothing else counts as committed.
import { expect, test } from "bun:test";
import { timeOf } from "../../src/raft/entry.ts";
import { createCluster } from "./cluster.ts";
import { leading, settle, single } from "../kit/single-raft.ts";
import { acknowledge, configEntry, configuration, draft, entry, heartbeat, logOf } from "../kit/raft-samples.ts";

test("an entry of an earlier term commits only together with one of the leader's own term (Figure 8)", () => {
  const node = leading({ entries: logOf(2, 4), hardState: { currentTerm: 5, votedFor: null } });
  node.receive("n2", acknowledge(6, 3));
  node.receive("n3", acknowledge(6, 3));
  expect(node.raft.commitIndex).toBe(0);
  const effects = node.receive("n2", acknowledge(6, 4));
  expect(node.raft.commitIndex).toBe(4);
  expect(effects.committed.map(({ index }) => index)).toEqual([1, 2, 3, 4]);
});

test("the leader's own log counts only as far as its own disk has confirmed", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 2));
  node.turn({ type: "propose", token: 1, draft: draft() });
  expect(node.raft.inflight).not.toBeNull();
  node.receive("n2", acknowledge(2, 3));
  expect(node.raft.commitIndex).toBe(2);
  node.sync();
  expect(node.raft.commitIndex).toBe(3);
});

test("a majority of others commits without the leader's own disk", () => {
  const node = leading();
  node.turn({ type: "propose", token: 1, draft: draft() });
  node.receive("n2", acknowledge(2, 3));
  node.receive("n3", acknowledge(2, 3));
  expect(node.raft.durableIndex).toBe(2);
  expect(node.raft.commitIndex).toBe(3);
});

test("a cluster of one waits for its own disk", () => {
  const node = single({ entries: [configEntry(1, 1, configuration("n1"))] });
  node.wait(100);
  node.sync();
  expect(node.raft.role).toBe("leader");
  expect(node.raft.commitIndex).toBe(0);
  settle(node);
  expect(node.raft.commitIndex).toBe(2);
  const { committed } = node.turn({ type: "propose", token: 1, draft: draft() });
  expect(committed).toEqual([]);
  expect(node.sync().effects.committed.map(({ index }) => index)).toEqual([3]);
});

test("an acknowledgement beyond the leader's log is not believed", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 99));
  node.receive("n3", acknowledge(2, 99));
  expect(node.raft.commitIndex).toBe(0);
});

test("an acknowledgement of another term is not counted", () => {
  const node = leading();
  node.receive("n2", acknowledge(1, 2));
  expect(node.raft.commitIndex).toBe(0);
});

test("whatever was committed is there after all nodes lost power right after the commit, with no new writes", () => {
  for (const names of [["n1"], ["n1", "n2", "n3"]]) {
    const c = createCluster(names);
    const leader = c.elect().id;
    for (let at = 0; at < 20; at++) {
      c.propose(leader, `${at}`);
      c.runUntil("a commit", () => c.texts(leader).length === at + 1);
    }
    for (const name of names) c.crash(name);
    for (const name of names) c.start(name);
    c.elect();
    c.converge();
    for (const name of names) expect(c.texts(name)).toEqual(Array.from({ length: 20 }, (_, at) => `${at}`));
  }
});

test("a deposed leader's uncommitted entries give way to those of the new one", () => {
  const c = createCluster(["n1", "n2", "n3"]);
  const old = c.elect().id;
  c.run(200);
  c.isolate(old);
  for (let at = 0; at < 5; at++) c.propose(old, `lost ${at}`);
  c.runUntil("the old one notices", () => c.raftOf(old).role !== "leader", 2_000);
  const next = c.elect().id;
  c.propose(next, "kept");
  c.run(200);
  c.heal();
  c.converge();
  expect(c.texts(old)).toEqual(["kept"]);
});

test("cluster time advances by the leader's monotonic clock, at most one election timeout a tick, and never falls", () => {
  // Alone, because a leader of others that stood still for so long leads no more.
  const node = leading({ entries: [configEntry(1, 1, configuration("n1"))] });
  const start = node.raft.clusterTime;
  node.wait(100);
  expect(node.raft.clusterTime).toBe(start + 100);
  node.now += 3_600_000;
  node.turn({ type: "stalled" });
  expect(node.raft.clusterTime).toBe(start + 700);
  node.turn({ type: "propose", token: 1, draft: draft() });
  expect(timeOf(node.raft.entryAt(node.raft.lastIndex)!)).toBe(Math.floor(start + 700));
});

test("a new leader goes on from the larger of the last stamp and the last time received", () => {
  const node = single({ entries: logOf(1, 1, 1) });
  node.receive("n2", heartbeat(1, 0, 0, 5_000));
  expect(node.raft.clusterTime).toBe(5_000);
  const stamped = leading({ entries: [...logOf(), entry(2, 1)] });
  expect(stamped.raft.clusterTime).toBeGreaterThanOrEqual(2);
});

test("each committed entry is given out once, in order, and the arrays of earlier turns stay as they were", () => {
  const node = leading();
  const first = node.receive("n2", acknowledge(2, 2));
  node.turn({ type: "propose", token: 1, draft: draft() });
  settle(node);
  const second = node.receive("n2", acknowledge(2, 3));
  expect(first.committed.map(({ index }) => index)).toEqual([1, 2]);
  expect(second.committed.map(({ index }) => index)).toEqual([3]);
});
