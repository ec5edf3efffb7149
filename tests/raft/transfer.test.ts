// Leadership transfer: quick when it works, over soon when it does not.
import { expect, test } from "bun:test";
import { nodeIdOf } from "../../src/raft/types.ts";
import { createCluster } from "./cluster.ts";
import { leading, replies, settle, single } from "../kit/single-raft.ts";
import { acknowledge, draft, heartbeat, idOf, nodeId } from "../kit/raft-samples.ts";

test("leadership goes to the named voter within a few round trips, and nothing is lost", () => {
  const c = createCluster(["n1", "n2", "n3"]);
  const old = c.elect().id;
  const target = [...c.nodes.keys()].find((id) => id !== old)!;
  for (let at = 0; at < 10; at++) c.propose(old, `${at}`);
  const started = c.scheduler.now();
  expect(c.changed(c.transfer(nodeIdOf(target)))).toMatchObject({ ok: true });
  expect(c.scheduler.now() - started).toBeLessThan(50);
  expect(c.leader()?.id).toBe(target);
  c.elect(target);
  c.converge();
  expect(c.texts(target)).toHaveLength(10);
});

test("without a name the most up-to-date voter gets it", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 1));
  node.receive("n3", acknowledge(2, 2));
  const effects = node.turn({ type: "transfer", token: 1, to: null });
  expect(effects.send.filter(({ message }) => message.type === "TimeoutNow").map(({ to }) => to)).toEqual([idOf("n3")]);
});

test("to a voter that never answers it is given up after an election timeout, and the leader serves again", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 2));
  node.turn({ type: "transfer", token: 1, to: nodeId("n3") });
  expect(node.turn({ type: "propose", token: 2, draft: draft() }).proposed).toMatchObject([
    { ok: false, refused: { code: "OVERLOADED" } },
  ]);
  let changed = node.turn().changed;
  for (let waited = 0; waited < 650 && changed.length === 0; waited += 50) {
    node.now += 50;
    changed = node.receive("n2", { type: "HeartbeatReply", term: 2, readContext: 0, diskLow: false }).changed;
  }
  expect(changed).toMatchObject([{ token: 1, ok: false, refused: { code: "TIMEOUT" } }]);
  expect(node.raft.transfer).toBeNull();
  expect(node.turn({ type: "propose", token: 3, draft: draft() }).proposed[0]?.ok).toBe(true);
});

test("to itself it is done, to a stranger it is refused, and only one at a time", () => {
  const node = leading();
  expect(node.turn({ type: "transfer", token: 1, to: nodeId("n1") }).changed).toMatchObject([{ ok: true }]);
  expect(node.turn({ type: "transfer", token: 2, to: nodeId("n8") }).changed).toMatchObject([
    { refused: { code: "UNKNOWN_NODE" } },
  ]);
  node.turn({ type: "transfer", token: 3, to: nodeId("n2") });
  expect(node.turn({ type: "transfer", token: 4, to: nodeId("n3") }).changed).toMatchObject([
    { refused: { code: "CHANGE_IN_PROGRESS" } },
  ]);
  expect(single().turn({ type: "transfer", token: 5, to: null }).changed).toMatchObject([
    { refused: { code: "NOT_LEADER" } },
  ]);
});

test("a TimeoutNow of an earlier term, or from a node that does not lead, starts no election", () => {
  const node = single();
  node.receive("n2", heartbeat(3));
  settle(node);
  node.receive("n2", { type: "TimeoutNow", term: 2 });
  node.receive("n3", { type: "TimeoutNow", term: 3 });
  expect(node.raft.currentTerm).toBe(3);
  const { persist } = node.receive("n2", { type: "TimeoutNow", term: 3 });
  expect(persist?.hardState).toEqual({ currentTerm: 4, votedFor: idOf("n1") });
  expect(replies(node.sync().after, "RequestVote")).toMatchObject([
    { transfer: true, preVote: false },
    { transfer: true },
  ]);
});

test("a transfer that ends with another leader is answered so", () => {
  const node = leading();
  node.turn({ type: "transfer", token: 1, to: nodeId("n2") });
  const { changed } = node.receive("n3", heartbeat(7));
  expect(changed).toMatchObject([{ token: 1, ok: false, refused: { code: "LEADER_CHANGED" } }]);
});
