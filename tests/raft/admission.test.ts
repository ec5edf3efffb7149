// From whom does a node accept which messages? From a removed node none, from a stranger those that the Raft paper needs, and from no
// node an impossible one.
import { describe, expect, test } from "bun:test";
import { isRemoved, MAX_INDEX_STEP, MAX_TERM_STEP, problemWith } from "../../src/raft/admission.ts";
import { MAX_REMOVED } from "../../src/raft/configuration.ts";
import type { RaftMessage } from "../../src/raft/messages.ts";
import type { Configuration, SnapshotMeta } from "../../src/raft/types.ts";
import { MAX_U48 } from "../../src/lib/u48.ts";
import { createCluster } from "./cluster.ts";
import { leading, replies, single } from "../kit/single-raft.ts";
import {
  acknowledge,
  appendEntries,
  configEntry,
  configuration,
  entry,
  heartbeat,
  idOf,
  logOf,
  member,
  nodeId,
  refuse,
  requestVote,
} from "../kit/raft-samples.ts";

const join = (name: string, incarnation: string, byAdministrator = true) =>
  ({ type: "join", member: member(name, incarnation), comesBack: false, byAdministrator }) as const;
const remove = (...names: string[]) => ({ type: "remove", ids: names.map(nodeId) }) as const;
const readmit = (name: string) => ({ type: "readmit", id: nodeId(name) }) as const;
const withoutN3 = (readmitted = false): Configuration => ({
  ...configuration("n1", "n2"),
  removed: [{ id: nodeId("n3"), readmitted }],
});
const staleDisk = (term: number, acknowledgedIndex: number): RaftMessage => ({
  type: "StaleDisk",
  term,
  acknowledgedIndex,
});

describe("who is no member of the latest configuration", () => {
  test("is answered when it asks for votes and no leader lives, but is no leader's chosen successor", () => {
    const node = single();
    node.receive("n2", heartbeat(2));
    node.receive("n9", requestVote(50, 9, 9, { transfer: true }));
    expect(node.raft).toMatchObject({ currentTerm: 2, leader: idOf("n2") });
    node.receive("n3", requestVote(3, 9, 2, { transfer: true }));
    expect(node.raft.currentTerm).toBe(3);
    node.wait(1_000);
    node.receive("n9", requestVote(node.raft.currentTerm + 1, 9, 2));
    expect(node.raft.votedFor).toBe(idOf("n9"));
  });

  test("leads if it sends entries in a later term, but never reports a stale disk or hands over", () => {
    const node = single();
    node.receive("n9", appendEntries(2, 1, 1, [entry(2, 2)]));
    expect(node.raft).toMatchObject({ leader: idOf("n9"), lastIndex: 2 });
    expect(node.receive("n9", staleDisk(2, 10)).stop).toBeNull();
    node.receive("n9", { type: "TimeoutNow", term: 2 });
    expect(node.raft).toMatchObject({ role: "follower", currentTerm: 2 });
  });

  test("may still be the leader that removes itself: it hands over before its removal is known to have committed", () => {
    const log = [...logOf(1), configEntry(3, 2, configuration("n1", "n2"))];
    const node = single({ entries: log, hardState: { currentTerm: 2, votedFor: idOf("n3") } });
    node.receive("n3", heartbeat(2));
    node.receive("n3", { type: "TimeoutNow", term: 2 });
    expect(node.raft.role).toBe("candidate");
  });
});

describe("a stale disk", () => {
  test("is reported by this term's leader only", () => {
    const node = single({ entries: logOf(1) });
    expect(node.receive("n2", staleDisk(50, 10)).stop).toBeNull();
    expect(node.raft.currentTerm).toBe(1);
    node.receive("n2", heartbeat(2));
    expect(node.receive("n3", staleDisk(2, 10)).stop).toBeNull();
    expect(node.receive("n2", staleDisk(1, 10)).stop).toBeNull();
    expect(node.receive("n2", staleDisk(2, 10)).stop?.code).toBe("STALE_DISK");
  });

  test("shows in what this node has: a log that ends earlier, or entries of that leader that it refused", () => {
    const node = single({ entries: logOf(1, 1, 1) });
    node.receive("n2", heartbeat(2));
    expect(node.receive("n2", staleDisk(2, 3)).stop).toBeNull();
    expect(replies(node.receive("n2", appendEntries(2, 3, 2, [])).send, "AppendEntriesReply")).toMatchObject([]);
    expect(node.receive("n2", staleDisk(2, 2)).stop).toBeNull();
    expect(node.receive("n2", staleDisk(2, 3)).stop?.code).toBe("STALE_DISK");
  });
});

describe("a removed node", () => {
  test("counts as removed once its removal has committed, in the log and in a snapshot", () => {
    const log = [...logOf(1), configEntry(3, 2, withoutN3())];
    const node = single({ entries: log });
    expect(isRemoved(node.raft, nodeId("n3"))).toBe(false);
    node.receive("n2", appendEntries(2, 3, 2, [], 3));
    expect(isRemoved(node.raft, nodeId("n3"))).toBe(true);
    expect(isRemoved(node.raft, nodeId("n2"))).toBe(false);
    expect(isRemoved(node.raft, nodeId("n9"))).toBe(false);
    const snapshot: SnapshotMeta = { index: 9, term: 2, configuration: withoutN3(), configurationIndex: 3, time: 9 };
    const restarted = single({ snapshot, entries: [], hardState: { currentTerm: 2, votedFor: null } });
    expect(isRemoved(restarted.raft, nodeId("n3"))).toBe(true);
  });

  test("counts no more as soon as a later entry names it, committed or not", () => {
    const again: Configuration = {
      ...withoutN3(true),
      learners: [{ ...member("n3", "2"), replaces: null }],
    };
    const log = [...logOf(1), configEntry(3, 2, withoutN3()), configEntry(4, 2, again)];
    const node = single({ entries: log });
    node.receive("n2", appendEntries(2, 4, 2, [], 3));
    expect(node.raft.commitIndex).toBe(3);
    expect(isRemoved(node.raft, nodeId("n3"))).toBe(false);
  });

  test("is remembered by all, and let in again by an administrator: at once, or by a readmission and its own certificate", () => {
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    c.elect();
    const all = (): readonly boolean[] =>
      [...c.nodes.values()].flatMap(({ raft }) => (raft === null ? [] : isRemoved(raft, nodeId("n4"))));
    c.runUntil("n4 is removed", () => c.changed(c.change(c.elect().id, remove("n4"))).ok);
    c.run(1_000);
    c.crash(idOf("n4"));
    expect(all()).toEqual([true, true, true]);
    c.join("n4", "2");
    const refused = { ok: false, refused: { code: "REMOVED" } };
    expect(c.changed(c.change(c.elect().id, join("n4", "2", false)))).toMatchObject(refused);
    expect(c.changed(c.change(c.elect().id, readmit("n4"))).ok).toBe(true);
    expect(c.changed(c.change(c.elect().id, readmit("n4"))).ok).toBe(true);
    expect(all().slice(0, 3)).toEqual([true, true, true]);
    // Removed once more before it came.
    expect(c.changed(c.change(c.elect().id, remove("n4"))).ok).toBe(true);
    expect(c.changed(c.change(c.elect().id, join("n4", "2", false)))).toMatchObject(refused);
    expect(c.changed(c.change(c.elect().id, readmit("n4"))).ok).toBe(true);
    expect(c.changed(c.change(c.elect().id, join("n4", "2", false))).ok).toBe(true);
    c.runUntil("n4 votes", () => c.raftOf(c.elect().id).configuration.voters.length === 4, 10_000);
    expect(c.raftOf(c.elect().id).configuration.removed).toEqual([]);
    c.run(500);
    expect(c.changed(c.change(c.elect().id, readmit("n9")))).toMatchObject({ refused: { code: "UNKNOWN_NODE" } });
  });

  test("becomes a voter again only when every voter has learned of it: none may be left that refuses its vote", () => {
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    expect(c.changed(c.change(c.elect().id, remove("n4"))).ok).toBe(true);
    c.run(1_000);
    c.crash(idOf("n4"));
    const behind = [...c.nodes.keys()].find((id) => id !== c.elect().id && id !== idOf("n4"));
    c.crash(behind!);
    c.join("n4", "2");
    expect(c.changed(c.change(c.elect().id, join("n4", "2"))).ok).toBe(true);
    c.run(5_000);
    expect(c.raftOf(c.elect().id).configuration.voters).toHaveLength(3);
    c.start(behind!);
    c.runUntil("n4 votes", () => c.raftOf(c.elect().id).configuration.voters.length === 4, 10_000);
  });

  test("becomes a voter again only when its leader knows of it after a crash too", () => {
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    c.runUntil("n4 is removed", () => c.changed(c.change(c.elect().id, remove("n4"))).ok);
    c.run(1_000);
    c.crash(idOf("n4"));
    const leader = c.elect();
    c.join("n4", "2");
    c.hang(leader.id);
    expect(c.changed(c.change(leader.id, join("n4", "2"))).ok).toBe(true);
    c.run(200);
    expect(c.raftOf(leader.id).configuration.voters).toHaveLength(3);
    c.hang(leader.id, false);
    c.runUntil("n4 votes", () => c.raftOf(c.elect().id).configuration.voters.length === 4, 10_000);
  });

  test(`is forgotten after ${MAX_REMOVED} others`, () => {
    const removed = Array.from({ length: MAX_REMOVED }, (_, at) => ({ id: nodeId(`r${at}`), readmitted: false }));
    const first = configEntry(1, 1, { ...configuration("n1", "n2", "n3"), removed });
    const node = leading({ entries: [first] });
    node.now += 10;
    for (const id of ["n2", "n3"]) node.receive(id, acknowledge(node.raft.currentTerm, node.raft.lastIndex));
    expect(node.turn({ type: "change", token: 5, change: remove("n3") }).changed).toEqual([]);
    const ids = node.raft.configuration.removed.map(({ id }) => String(id));
    expect(ids).toHaveLength(MAX_REMOVED);
    expect([ids[0], ids.at(-1)]).toEqual(["r1", "n3"]);
  });
});

describe("what cannot be", () => {
  const meta = (index: number): SnapshotMeta => ({
    index,
    term: 1,
    configuration: configuration("n1", "n2"),
    configurationIndex: 1,
    time: 1,
  });
  const install = (index: number): RaftMessage => ({
    type: "InstallSnapshot",
    term: 1,
    meta: meta(index),
    manifest: new Uint8Array(0),
    part: 0,
    parts: 1,
    offset: 0,
    bytes: new Uint8Array(0),
  });

  test("is a term or an index far ahead of this node's own, unless it is in no cluster yet", () => {
    const node = single();
    const empty = single({ entries: [], hardState: { currentTerm: 0, votedFor: null } });
    const far: readonly RaftMessage[] = [
      requestVote(MAX_U48, 1, 1),
      heartbeat(1 + MAX_TERM_STEP + 1),
      { type: "HeartbeatReply", term: MAX_U48, readContext: 0, diskLow: false },
      requestVote(2, MAX_U48, 1),
      install(1 + MAX_INDEX_STEP + 1),
    ];
    for (const message of far) {
      expect(problemWith(node.raft, idOf("n2"), message)).toContain("n2 speaks of");
      expect(problemWith(empty.raft, idOf("n2"), message)).toBeNull();
    }
    const near = [heartbeat(1 + MAX_TERM_STEP), requestVote(2, 1 + MAX_INDEX_STEP, 1), install(1 + MAX_INDEX_STEP)];
    for (const message of near) expect(problemWith(node.raft, idOf("n2"), message)).toBeNull();
  });

  test("is a candidate with an entry of its own future", () => {
    const { raft } = single();
    expect(problemWith(raft, idOf("n2"), requestVote(7, 1, 7))).toContain("an entry of term 7");
    expect(problemWith(raft, idOf("n2"), requestVote(7, 1, 6))).toBeNull();
  });

  test("is an answer about entries or reads that the leader does not have", () => {
    const { raft } = leading();
    const { currentTerm: term, lastIndex } = raft;
    for (const wrong of [
      acknowledge(term, lastIndex + 1),
      refuse(term, lastIndex + 1, 0, 0),
      { type: "InstallSnapshotReply", term, index: 5, nextPart: 1, nextOffset: 0, matchIndex: lastIndex + 1 } as const,
      { type: "HeartbeatReply", term, readContext: 1, diskLow: false } as const,
    ])
      expect(problemWith(raft, idOf("n2"), wrong)).not.toBeNull();
    for (const right of [
      acknowledge(term, lastIndex),
      // Of an earlier leadership, whose entries this node may have lost since.
      acknowledge(term - 1, lastIndex + 1),
      { type: "HeartbeatReply", term, readContext: 0, diskLow: false } as const,
    ])
      expect(problemWith(raft, idOf("n2"), right)).toBeNull();
  });
});
