// Membership: members come, go and are swapped while no two majorities ever disagree and no crash leaves a change half done.
import { describe, expect, test } from "bun:test";
import type { Input } from "../../src/raft/effects.ts";
import { nodeIdOf } from "../../src/raft/types.ts";
import { createCluster, type Cluster } from "./cluster.ts";
import { leading, settle, single } from "../kit/single-raft.ts";
import {
  TIMES,
  acknowledge,
  appendEntries,
  configEntry,
  configuration,
  entry,
  idOf,
  member,
  nodeId,
} from "../kit/raft-samples.ts";

const join = (name: string, incarnation = "1") =>
  ({ type: "join", member: member(name, incarnation), comesBack: false, byAdministrator: true }) as const;
const remove = (...names: string[]) => ({ type: "remove", ids: names.map(nodeId) }) as const;
const votersOf = (c: Cluster) => (c.leader()?.raft?.configuration.voters ?? []).map(({ id }) => String(id)).sort();
const steady = (c: Cluster) => {
  const raft = c.leader()?.raft;
  return raft != null && raft.configuration.outgoing.length === 0 && raft.configurationIndex <= raft.commitIndex;
};
const untilVoters = (c: Cluster, ...names: string[]) =>
  c.runUntil(`voters ${names.join(" ")}`, () => steady(c) && votersOf(c).join() === [...names].sort().join(), 10_000);
const othersThan = (c: Cluster, id: string) => [...c.nodes.keys()].filter((other) => other !== id);

describe("growing and shrinking", () => {
  test("a cluster grows from 1 to 5 under load and shrinks to 3 with its leader among the removed", () => {
    const c = createCluster(["n1"]);
    const load = () => c.propose(c.elect().id, "load");
    c.elect();
    for (const name of ["n2", "n3", "n4", "n5"]) {
      load();
      c.join(name);
      expect(c.changed(c.change(c.elect().id, join(name)))).toMatchObject({ ok: true });
      c.runUntil(`${name} is promoted`, () => votersOf(c).includes(name) && steady(c));
    }
    const old = c.elect().id;
    const leaving = [
      nodeIdOf(idOf(old)),
      ...votersOf(c)
        .filter((name) => idOf(name) !== old)
        .slice(0, 1),
    ];
    expect(c.changed(c.change(old, remove(...leaving)))).toMatchObject({ ok: true });
    expect(c.raftOf(old).role).not.toBe("leader");
    const next = c.elect().id;
    expect(leaving).not.toContain(String(nodeIdOf(idOf(next))));
    load();
    c.run(500);
    expect(c.texts(c.elect().id)).toHaveLength(5);
    c.crash(othersThan(c, next).find((id) => votersOf(c).includes(nodeIdOf(idOf(id))))!);
    load();
    c.run(500);
    expect(c.texts(c.elect().id)).toHaveLength(6);
  });

  test("a removed leader hands over: the next one leads within an election round trip", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const old = c.elect().id;
    c.run(200);
    const token = c.change(old, remove(nodeIdOf(idOf(old))));
    c.runUntil("removal", () => c.answers.changed.some((answer) => answer.token === token));
    c.runUntil("the next leader", () => c.leader() !== null && c.leader()?.id !== old, 50);
  });

  test("a learner does not count for any majority before it is promoted", () => {
    const node = leading();
    for (const name of ["n2", "n3"]) node.receive(name, acknowledge(2, 2));
    node.turn({ type: "change", token: 1, change: join("n4") });
    expect(node.raft.configuration.learners.map(({ id }) => String(id))).toEqual(["n4"]);
    settle(node);
    node.receive("n4", acknowledge(2, 3));
    expect(node.raft.commitIndex).toBe(2);
    expect(node.receive("n2", acknowledge(2, 3)).changed).toEqual([{ token: 1, ok: true, index: 3 }]);
  });

  test("a learner far behind is promoted only after a round of catching up took less than an election timeout", () => {
    const c = createCluster(["n1", "n2", "n3"], { maxAppendBytes: 200 });
    const leader = c.elect().id;
    for (let at = 0; at < 300; at++) c.propose(leader, `${at}`);
    c.run(500);
    c.join("n4");
    c.at("n4").diskMs = 40;
    c.setLatency(() => 20);
    expect(c.changed(c.change(leader, join("n4"))).ok).toBe(true);
    c.runUntil("promotion", () => votersOf(c).includes("n4"), 20_000);
    const { matchIndex } = c.raftOf(leader).progress.get(idOf("n4"))!;
    expect(matchIndex).toBeGreaterThan(300);
  });

  test("a learner that never answers stays a learner, and other changes go on", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    expect(c.changed(c.change(leader, join("n9"))).ok).toBe(true);
    c.run(2_000);
    expect(votersOf(c)).toEqual(["n1", "n2", "n3"]);
    expect(c.changed(c.change(leader, remove("n9"))).ok).toBe(true);
    expect(c.raftOf(leader).configuration.learners).toEqual([]);
  });

  test("promotion survives restart, snapshot and another restart", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    c.join("n4");
    c.changed(c.change(c.elect().id, join("n4")));
    untilVoters(c, "n1", "n2", "n3", "n4");
    c.converge();
    for (const round of [1, 2]) {
      for (const id of c.nodes.keys()) c.crash(id);
      for (const id of c.nodes.keys()) c.start(id);
      c.elect();
      c.converge();
      expect([round, votersOf(c)]).toEqual([round, ["n1", "n2", "n3", "n4"]]);
      for (const id of c.nodes.keys()) c.snapshot(id);
      c.run(200);
    }
  });

  test("an address that changed becomes a logged change, and survives", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const moved = { ...member("n2"), address: "10.0.0.2:3000" };
    expect(
      c.changed(c.change(leader, { type: "join", member: moved, comesBack: true, byAdministrator: true })).ok,
    ).toBe(true);
    expect(c.raftOf(leader).configuration.voters.find(({ id }) => id === nodeId("n2"))?.address).toBe("10.0.0.2:3000");
    const { lastIndex } = c.raftOf(leader);
    expect(
      c.changed(c.change(leader, { type: "join", member: moved, comesBack: true, byAdministrator: true })).ok,
    ).toBe(true);
    expect(c.raftOf(leader).lastIndex).toBe(lastIndex);
  });
});

describe("one change at a time", () => {
  test("none before the term's first entry has committed, none while another is under way", () => {
    const snapshot = {
      index: 1,
      term: 1,
      configuration: configuration("n1", "n2", "n3"),
      configurationIndex: 1,
      time: 1,
    };
    const node = leading({ snapshot, entries: [] });
    const ask = (token: number): Input => ({ type: "change", token, change: join("n4") });
    expect(node.turn(ask(1)).changed).toMatchObject([{ ok: false, refused: { code: "CHANGE_IN_PROGRESS" } }]);
    node.receive("n2", acknowledge(2, 2));
    expect(node.turn(ask(2)).changed).toEqual([]);
    expect(node.turn({ type: "change", token: 3, change: remove("n3") }).changed).toMatchObject([
      { token: 3, ok: false, refused: { code: "CHANGE_IN_PROGRESS" } },
    ]);
  });

  test("two operators who remove at the same time through two leaders never make two disjoint majorities", () => {
    // raft-dev, 2015: each leader appends a change that the other does not know, and each commits it with its own majority.
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    const first = c.electNode("n1").id;
    c.run(200);
    for (const other of ["n2", "n3", "n4"]) c.cut("n1", other);
    c.change(first, remove("n2"));
    c.run(1_500);
    const second = c.elect("n2", "n3", "n4").id;
    c.crash(second);
    c.run(50);
    c.heal();
    c.start(second);
    c.elect();
    c.change(c.elect().id, remove("n1"));
    c.run(3_000);
    c.heal();
    c.propose(c.elect().id, "one history");
    c.run(200);
    c.converge();
    expect(c.leaders.size).toBeGreaterThan(1);
  });

  test("a joint configuration needs a majority of the old voters and one of the new", () => {
    const node = leading({ entries: [configEntry(1, 1, configuration("n1", "n2", "n3", "n4", "n5"))] });
    // Only who answered after this leadership began is known to be there.
    node.wait(10);
    for (const name of ["n2", "n3", "n4"]) node.receive(name, acknowledge(2, 2));
    expect(node.raft.commitIndex).toBe(2);
    node.receive("n2", { type: "HeartbeatReply", term: 2, readContext: 0, diskLow: false });
    node.turn({ type: "change", token: 1, change: remove("n4", "n5") });
    expect(node.raft.configuration.outgoing).toHaveLength(5);
    settle(node);
    node.receive("n4", acknowledge(2, 3));
    node.receive("n5", acknowledge(2, 3));
    expect(node.raft.commitIndex).toBe(2);
    node.receive("n2", acknowledge(2, 3));
    expect(node.raft.commitIndex).toBe(3);
    expect(node.raft.configuration.outgoing).toEqual([]);
    settle(node);
    expect(node.receive("n2", acknowledge(2, 4)).changed).toEqual([{ token: 1, ok: true, index: 4 }]);
  });

  test("a change in a truncated entry is rolled back", () => {
    const node = single({
      entries: [configEntry(1, 1, configuration("n1", "n2", "n3")), configEntry(2, 1, configuration("n2"))],
    });
    expect(node.raft.configuration.voters).toHaveLength(1);
    node.receive("n3", appendEntries(2, 1, 1, [entry(2, 2)]));
    expect(node.raft.configuration).toEqual(configuration("n1", "n2", "n3"));
    expect(node.raft.role).toBe("follower");
  });
});

describe("a crash at every step of a change", () => {
  const steps = Array.from({ length: 24 }, (_, at) => at * 2);

  test("of a removal: the next leader finishes it or it never was, and the cluster goes on", () => {
    for (const ms of steps) {
      const c = createCluster(["n1", "n2", "n3", "n4", "n5"], { seed: ms + 1 });
      c.setLatency(() => 3);
      const leader = c.elect().id;
      c.run(300);
      c.change(leader, remove("n4", "n5"));
      c.run(ms + 1);
      if (c.raftOf(leader).role === "leader") c.crash(leader, ms % 4 === 0 ? "nothing" : "all");
      c.run(1_500);
      if (c.at(leader).raft === null) c.start(leader);
      c.elect();
      c.run(1_000);
      expect([3, 5]).toContain(votersOf(c).length);
      expect(steady(c)).toBe(true);
      c.propose(c.elect().id, "on");
      c.run(10);
      c.converge();
    }
  });

  test("of a promotion: likewise", () => {
    for (const ms of steps) {
      const c = createCluster(["n1", "n2", "n3"], { seed: ms + 1 });
      c.setLatency(() => 3);
      const leader = c.elect().id;
      c.join("n4");
      c.run(300);
      c.change(leader, join("n4"));
      c.run(ms + 1);
      c.crash(leader);
      c.run(1_500);
      c.start(leader);
      c.elect();
      c.run(1_500);
      expect([3, 4]).toContain(votersOf(c).length);
      expect(steady(c)).toBe(true);
      c.propose(c.elect().id, "on");
      c.run(10);
      c.converge();
    }
  });

  test("a node whose removal is in its log but not committed still stands for election if its log is needed", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    c.electNode("n1");
    c.run(200);
    c.change("n1", remove("n2", "n3"));
    c.runUntil(
      "the joint entry commits",
      () => c.raftOf("n1").configuration.outgoing.length === 0 && c.raftOf("n1").configuration.voters.length === 1,
    );
    c.hang("n1");
    c.runUntil("the others have the last entry", () =>
      ["n2", "n3"].every((name) => c.at(name).disk.entries.at(-1)?.index === c.raftOf("n1").lastIndex),
    );
    c.crash("n1");
    c.start("n1");
    c.elect("n1");
    untilVoters(c, "n1");
  });
});

describe("removed members", () => {
  test("who was cut off while being removed does not move the term when it comes back", () => {
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    const leader = c.elect().id;
    const removed = othersThan(c, leader)[0]!;
    c.isolate(removed);
    c.run(100);
    expect(c.changed(c.change(leader, remove(nodeIdOf(idOf(removed))))).ok).toBe(true);
    c.run(3_000);
    const term = c.raftOf(leader).currentTerm;
    c.heal();
    c.run(5_000);
    expect(c.leader()?.id).toBe(idOf(leader));
    expect(c.raftOf(leader).currentTerm).toBe(term);
  });

  test("who is reachable learns of its removal and stops asking for votes", () => {
    const c = createCluster(["n1", "n2", "n3", "n4"]);
    const leader = c.elect().id;
    const removed = othersThan(c, leader)[0]!;
    c.run(100);
    c.changed(c.change(leader, remove(nodeIdOf(idOf(removed)))));
    c.run(500);
    expect(c.raftOf(removed).role).toBe("learner");
    const before = c.sent.length;
    c.run(3_000);
    expect(
      c.sent.slice(before).filter(({ from, message }) => from === removed && message.type === "RequestVote"),
    ).toEqual([]);
  });

  test("a removal that would leave no majority of answering voters is refused", () => {
    const c = createCluster(["n1", "n2", "n3", "n4", "n5"]);
    const leader = c.elect().id;
    const [a, b, other] = othersThan(c, leader);
    c.crash(a!);
    c.crash(b!);
    c.run(1_000);
    const refused = c.changed(c.change(leader, remove(nodeIdOf(idOf(other!)), nodeIdOf(idOf(leader)))));
    expect(refused).toMatchObject({ ok: false, refused: { code: "NO_QUORUM_LEFT" } });
    expect(c.changed(c.change(leader, remove("n1", "n2", "n3", "n4", "n5")))).toMatchObject({
      ok: false,
      refused: { code: "NO_QUORUM_LEFT" },
    });
    expect(c.changed(c.change(leader, remove(nodeIdOf(idOf(a!)), nodeIdOf(idOf(b!))))).ok).toBe(true);
    expect(c.changed(c.change(leader, remove("n7")))).toMatchObject({ ok: false, refused: { code: "UNKNOWN_NODE" } });
  });
});

describe("a removed member", () => {
  test("is refused as removed when it asks to come back, whatever its incarnation, and is let in as a newcomer", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const gone = nodeIdOf(idOf(othersThan(c, leader)[0]!));
    const comesBack = (name: string, incarnation: string) => ({
      ...join(name, incarnation),
      comesBack: true,
      byAdministrator: true,
    });
    expect(c.changed(c.change(leader, comesBack("n9", "1"))).ok).toBe(false);
    expect(c.changed(c.change(leader, remove(gone))).ok).toBe(true);
    const { lastIndex } = c.raftOf(leader);
    for (const incarnation of ["1", "2"]) {
      const answer = c.changed(c.change(leader, comesBack(gone, incarnation)));
      expect(answer).toMatchObject({ ok: false, refused: { code: "REMOVED" } });
    }
    expect(c.raftOf(leader).lastIndex).toBe(lastIndex);
    c.join(gone, "2");
    expect(c.changed(c.change(leader, join(gone, "2"))).ok).toBe(true);
    untilVoters(c, "n1", "n2", "n3");
  });

  test("is removed again by a repeated request, without another entry", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const gone = nodeIdOf(idOf(othersThan(c, leader)[0]!));
    const first = c.changed(c.change(leader, remove(gone)));
    const { lastIndex } = c.raftOf(leader);
    expect(c.changed(c.change(leader, remove(gone)))).toMatchObject({ ok: true });
    expect(first.ok).toBe(true);
    expect(c.raftOf(leader).lastIndex).toBe(lastIndex);
  });
});

describe("a wiped disk", () => {
  test("comes back as a learner under its old id and is swapped in by one change, never voting before", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const wiped = nodeIdOf(idOf(othersThan(c, leader)[0]!));
    for (let at = 0; at < 10; at++) c.propose(leader, `${at}`);
    c.run(200);
    c.crash(wiped);
    c.join(wiped, "2");
    expect(c.changed(c.change(leader, join(wiped, "2")))).toMatchObject({
      ok: false,
      refused: { code: "CHANGE_IN_PROGRESS" },
    });
    c.run(10 * TIMES.electionMaxMs);
    expect(c.changed(c.change(leader, join(wiped, "2")))).toMatchObject({ ok: true });
    c.runUntil("the swap", () => steady(c) && c.leader()!.raft!.members.voters.includes(idOf(wiped, "2")));
    expect(c.leader()?.raft?.members.voters).not.toContain(idOf(wiped));
    expect(votersOf(c)).toEqual(["n1", "n2", "n3"]);
    c.runUntil("it has everything", () => c.texts(idOf(wiped, "2")).length === 10);
  });

  test("whose earlier incarnation is alive is a copied id: CONFLICT", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const copied = nodeIdOf(idOf(othersThan(c, leader)[0]!));
    expect(c.changed(c.change(leader, join(copied, "2")))).toMatchObject({ ok: false, refused: { code: "CONFLICT" } });
    const own = nodeIdOf(idOf(leader));
    expect(c.changed(c.change(leader, join(own, "2")))).toMatchObject({ ok: false, refused: { code: "CONFLICT" } });
  });

  test("that is wiped again while it learns takes the place of its own earlier learner", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    expect(c.changed(c.change(leader, join("n4", "2"))).ok).toBe(true);
    expect(c.changed(c.change(leader, join("n4", "3"))).ok).toBe(true);
    expect(c.raftOf(leader).members.learners).toEqual([idOf("n4", "3")]);
  });

  test("does not vote while it is a stranger, so a lost acknowledgement cannot elect a leader without the entry", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const [other, wiped] = othersThan(c, leader);
    c.run(200);
    c.crash(other!);
    c.propose(leader, "on two disks");
    c.run(100);
    expect(c.texts(leader)).toEqual(["on two disks"]);
    c.crash(wiped!);
    c.crash(leader);
    c.join(nodeIdOf(idOf(wiped!)), "2");
    c.start(other!);
    c.run(5_000);
    expect(c.leader()).toBeNull();
    c.start(leader);
    c.elect(leader);
    expect(c.texts(leader)).toEqual(["on two disks"]);
  });
});

test("a change that loses its leader is answered LEADER_CHANGED", () => {
  const node = leading();
  node.receive("n2", acknowledge(2, 2));
  node.turn({ type: "change", token: 5, change: join("n4") });
  const { changed } = node.receive("n3", { type: "HeartbeatReply", term: 9, readContext: 0, diskLow: false });
  expect(changed).toMatchObject([{ token: 5, ok: false, refused: { code: "LEADER_CHANGED" } }]);
});

test("a change asked of a node that does not lead is refused as NOT_LEADER", () => {
  expect(single().turn({ type: "change", token: 1, change: join("n4") }).changed).toMatchObject([
    { refused: { code: "NOT_LEADER" } },
  ]);
});
