// Invariants: a state that must not be is noticed, and the same inputs always lead to the same outputs.
import { describe, expect, test } from "bun:test";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import { checkCluster, checkDeep, checkStep } from "../../src/raft/invariants.ts";
import { nextTickAt, step } from "../../src/raft/raft.ts";
import type { RaftState } from "../../src/raft/state.ts";
import { createCluster } from "./cluster.ts";
import { leading, single } from "../kit/single-raft.ts";
import { acknowledge, appendEntries, entry, idOf, logOf } from "../kit/raft-samples.ts";

const broken = (node: { raft: RaftState }, breakIt: (state: RaftState) => void): void => {
  breakIt(node.raft);
  expect(() => checkStep(node.raft)).toThrow(BrokenInvariant);
};

describe("the check after every step notices", () => {
  test("a commit index that goes back", () => {
    const node = leading();
    node.receive("n2", acknowledge(2, 2));
    broken(node, (state) => (state.commitIndex = 1));
  });
  test("a second vote in one term", () => {
    const node = single({ hardState: { currentTerm: 2, votedFor: idOf("n2") } });
    broken(node, (state) => (state.votedFor = idOf("n3")));
  });
  test("a term that falls", () => broken(leading(), (state) => (state.currentTerm = 1)));
  test("a commit beyond the log", () => broken(leading(), (state) => (state.commitIndex = 99)));
  test("a leader that lost an entry", () => broken(leading(), (state) => state.log.lastIndex--));
  test("something durable that was never handed to storage", () =>
    broken(leading(), (state) => (state.log.durableIndex = 99)));
});

test("two leaders in one term stop the node that sees them", () => {
  const node = leading();
  expect(() => node.receive("n2", appendEntries(2, 1, 1, []))).toThrow("both lead term 2");
});

test("a leader that wants a committed entry changed stops the node", () => {
  const node = single({ entries: logOf(1, 1) });
  node.receive("n2", appendEntries(1, 3, 1, [], 3));
  expect(() => node.receive("n2", appendEntries(1, 2, 7, []))).toThrow(BrokenInvariant);
});

test("a completion of a persist that is not the one in flight stops the node", () => {
  expect(() => step(single().raft, { type: "persisted", seq: 4 })).toThrow(BrokenInvariant);
});

test("the deep checks notice logs that differ below a common entry, and a configuration that is not the log's", () => {
  const one = single({ entries: [...logOf(1), entry(3, 2)] });
  const other = single({ entries: [...logOf(1), entry(3, 2)], self: idOf("n2") });
  checkCluster([one.raft, other.raft]);
  const state: RaftState = other.raft;
  state.log.entries[1] = entry(2, 1, "different");
  expect(() => checkCluster([one.raft, other.raft])).toThrow(BrokenInvariant);
  const third: RaftState = one.raft;
  third.configurationIndex = 0;
  expect(() => checkDeep(third)).toThrow(BrokenInvariant);
});

test("the same seed gives the same messages to the byte, another seed others", () => {
  const trace = (seed: number): number => {
    const c = createCluster(["n1", "n2", "n3"], { seed });
    c.elect();
    c.crash(c.leader()!.id);
    c.elect();
    c.run(1_000);
    return crc32(new TextEncoder().encode(JSON.stringify(c.sent)));
  };
  expect(trace(5)).toBe(trace(5));
  expect(trace(5)).not.toBe(trace(6));
});

test("an idle node needs no tick before nextTickAt: a follower none before its election timer, a leader one each heartbeat", () => {
  const follower = single({ hardState: { currentTerm: 1, votedFor: idOf("n2") } });
  const due = nextTickAt(follower.raft);
  expect(due).toBeGreaterThanOrEqual(300);
  follower.now = due - 1;
  expect(follower.turn().send).toEqual([]);
  follower.now = due;
  expect(follower.turn().send).not.toEqual([]);
  const leader = leading();
  const next = nextTickAt(leader.raft);
  expect(next - leader.now).toBeLessThanOrEqual(50);
  leader.now = next;
  expect(leader.turn().send.filter(({ message }) => message.type === "Heartbeat")).toHaveLength(2);
  expect(nextTickAt(single({ entries: [] }).raft)).toBe(Infinity);
});
