// Linearizable reads: a leader answers only when a majority confirmed, after the read was asked, that it still leads.
import { expect, test } from "bun:test";
import type { Heartbeat, RaftMessage } from "../../src/raft/messages.ts";
import { createCluster } from "./cluster.ts";
import { leading, replies, settle, single } from "../kit/single-raft.ts";
import {
  acknowledge,
  appendEntries,
  configEntry,
  configuration,
  draft,
  heartbeat,
  idOf,
  logOf,
} from "../kit/raft-samples.ts";

const confirm = (readContext: number, term = 2) =>
  ({ type: "HeartbeatReply", term, readContext, diskLow: false }) as const;

test("no read is served before the first entry of the term has committed", () => {
  const node = leading();
  node.turn({ type: "read", token: 1 });
  expect(node.receive("n2", confirm(0)).read).toEqual([]);
  node.receive("n3", acknowledge(2, 2));
  const { readContext } = node.raft.leadership!;
  expect(node.receive("n3", confirm(readContext)).read).toEqual([{ token: 1, ok: true, index: 2 }]);
});

test("one heartbeat round, sent at once, confirms all reads of a turn", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 2));
  const effects = node.turn({ type: "read", token: 1 }, { type: "read", token: 2 });
  const beats = replies(effects.send, "Heartbeat") as Heartbeat[];
  expect(beats.map(({ readContext }) => readContext)).toEqual([1, 1]);
  expect(node.receive("n3", confirm(1)).read.map(({ token }) => token)).toEqual([1, 2]);
});

test("an answer to an earlier heartbeat never confirms a later read", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 2));
  node.turn({ type: "read", token: 1 });
  node.turn({ type: "propose", token: 9, draft: draft() });
  settle(node);
  node.receive("n2", acknowledge(2, 3));
  node.turn({ type: "read", token: 2 });
  expect(node.receive("n2", confirm(1)).read).toEqual([{ token: 1, ok: true, index: 2 }]);
  expect(node.receive("n2", confirm(1)).read).toEqual([]);
  expect(node.receive("n3", confirm(1, 1)).read).toEqual([]);
  expect(node.receive("n3", confirm(2)).read).toEqual([{ token: 2, ok: true, index: 3 }]);
});

test("what comes late of an earlier term confirms and refuses nothing in the one that its sender leads now (seed 9974282)", () => {
  const node = single({ entries: logOf(2), hardState: { currentTerm: 2, votedFor: null } });
  node.receive("n2", heartbeat(4));
  node.sync();
  const meta = { index: 9, term: 2, configuration: configuration("n1", "n2", "n3"), configurationIndex: 1, time: 9 };
  const bytes = new Uint8Array(1);
  const part = { meta, manifest: bytes, part: 0, parts: 1, offset: 0, bytes };
  const late: readonly RaftMessage[] = [
    heartbeat(2, 0, 67),
    appendEntries(2, 1, 1, []),
    { type: "InstallSnapshot", term: 2, ...part },
    { type: "Probe", term: 2, token: 1 },
  ];
  for (const message of late)
    expect(node.receive("n2", message).send.map((sent) => sent.message)).toEqual([confirm(0, 4)]);
  expect(node.receive("n2", heartbeat(4, 0, 3)).send.map((sent) => sent.message)).toEqual([confirm(3, 4)]);
});

test("a leader that is cut off answers no read, and refuses it when it notices", () => {
  const c = createCluster(["n1", "n2", "n3"]);
  const old = c.elect().id;
  c.run(200);
  c.isolate(old);
  const token = c.read(old);
  c.run(400);
  expect(c.answers.read).toEqual([]);
  expect(c.readAnswer(token)).toMatchObject({ ok: false, refused: { code: "NOT_LEADER" } });
});

test("a read sees every write that was acknowledged before it, also at once after a change of leader", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const c = createCluster(["n1", "n2", "n3"], { seed });
    const old = c.elect().id;
    c.propose(old, "acknowledged");
    c.runUntil("the write", () => c.texts(old).length === 1);
    const { commitIndex } = c.raftOf(old);
    c.crash(old);
    c.runUntil("another leader", () => c.leader() !== null);
    const answer = c.readAnswer(c.read(c.leader()!.id));
    if (answer.ok) expect(answer.index).toBeGreaterThanOrEqual(commitIndex);
    else expect(answer.refused.code).toBe("NOT_LEADER");
  }
});

test("a cluster of one confirms itself", () => {
  const node = single({ entries: [configEntry(1, 1, configuration("n1"))] });
  node.wait(100);
  settle(node);
  expect(node.turn({ type: "read", token: 1 }).read).toEqual([{ token: 1, ok: true, index: 2 }]);
});

test("a node that does not lead refuses reads", () => {
  const node = single();
  node.receive("n2", heartbeat(1));
  expect(node.turn({ type: "read", token: 1 }).read).toMatchObject([{ ok: false, refused: { code: "NOT_LEADER" } }]);
  expect(node.raft.leader).toBe(idOf("n2"));
});
