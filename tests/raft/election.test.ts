// Elections: at most one leader in a term, always one in the end, and nobody disturbs a leader that works.
import { describe, expect, test } from "bun:test";
import type { RequestVoteReply } from "../../src/raft/messages.ts";
import { NO_CONFIGURATION } from "../../src/raft/types.ts";
import { createCluster } from "./cluster.ts";
import { leading, replies, settle, single, type SingleSettings } from "../kit/single-raft.ts";
import {
  TIMES,
  appendEntries,
  configEntry,
  configuration,
  entry,
  heartbeat,
  idOf,
  logOf,
  requestVote,
} from "../kit/raft-samples.ts";

const vote = (message: unknown) => message as RequestVoteReply;

describe("votes", () => {
  test("a vote leaves only when it is durable, and no second candidate of the term gets one, not even after a restart", () => {
    const node = single();
    const effects = node.receive("n2", requestVote(5, 1, 1));
    expect(replies(effects.send, "RequestVoteReply")).toEqual([]);
    expect(effects.persist?.hardState).toEqual({ currentTerm: 5, votedFor: idOf("n2") });
    const { after } = node.sync();
    expect(after.map(({ message }) => vote(message).voteGranted)).toEqual([true]);
    expect(vote(node.receive("n3", requestVote(5, 9, 4)).send[0]?.message).voteGranted).toBe(false);
    const restarted = single({ hardState: { currentTerm: 5, votedFor: idOf("n2") } });
    expect(vote(restarted.receive("n3", requestVote(5, 9, 4)).send[0]?.message).voteGranted).toBe(false);
  });

  test("a candidate asks for votes only when its term and its own vote are durable", () => {
    const node = single();
    node.wait(600);
    const granted = { type: "RequestVoteReply", term: 1, preVote: true, requestedTerm: 2, voteGranted: true } as const;
    const effects = node.receive("n2", granted);
    expect(node.raft.role).toBe("candidate");
    expect(replies(effects.send, "RequestVote")).toEqual([]);
    expect(replies(node.sync().after, "RequestVote")).toHaveLength(2);
  });

  test("a leader that steps down keeps its vote in the term", () => {
    const node = leading();
    const { currentTerm } = node.raft;
    node.wait(1_300);
    expect(node.raft.role).toBe("follower");
    expect(node.raft.currentTerm).toBe(currentTerm);
    expect(node.raft.votedFor).toBe(idOf("n1"));
    const effects = node.receive("n2", requestVote(currentTerm, 99, 99));
    expect(vote(effects.send[0]?.message).voteGranted).toBe(false);
  });

  test("having seen a candidate's higher term is not a vote for it: a stale log gets none", () => {
    const node = single({ entries: logOf(3, 3) });
    node.wait(310);
    node.receive("n2", requestVote(9, 8, 2));
    const [refused] = replies(node.sync().after, "RequestVoteReply");
    expect(vote(refused).voteGranted).toBe(false);
    expect(node.raft.currentTerm).toBe(9);
    node.receive("n3", requestVote(9, 3, 3));
    expect(vote(replies(node.sync().after, "RequestVoteReply")[0]).voteGranted).toBe(true);
  });

  test("entries that are accepted and not yet durable count when logs are compared", () => {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1)]));
    node.now += 700;
    node.receive("n3", requestVote(4, 1, 1));
    settle(node);
    expect(node.raft.votedFor).toBeNull();
  });

  test("votes of another round or kind are not counted", () => {
    const node = single();
    node.wait(600);
    expect(node.raft.campaign?.preVote).toBe(true);
    const base = { type: "RequestVoteReply", term: 1, voteGranted: true } as const;
    node.receive("n2", { ...base, preVote: false, requestedTerm: 2 });
    node.receive("n3", { ...base, preVote: true, requestedTerm: 1 });
    expect(node.raft.role).toBe("follower");
    node.receive("n2", { ...base, preVote: true, requestedTerm: 2 });
    expect(node.raft.role).toBe("candidate");
    settle(node);
    node.receive("n3", { ...base, preVote: true, requestedTerm: 2 });
    expect(node.raft.role).toBe("candidate");
  });

  test("a member counts once, however often it answers", () => {
    const node = single({ entries: [configEntry(1, 1, configuration("n1", "n2", "n3", "n4", "n5"))] });
    node.wait(600);
    for (let again = 0; again < 3; again++) {
      node.receive("n2", { type: "RequestVoteReply", term: 1, preVote: true, requestedTerm: 2, voteGranted: true });
    }
    expect(node.raft.role).toBe("follower");
  });

  test("who does not know yet that it was made a voter votes all the same", () => {
    const learner = { ...configuration("n2", "n3"), learners: [{ ...configuration("n1").voters[0]!, replaces: null }] };
    const node = single({ entries: [configEntry(1, 1, learner)] });
    expect(node.raft.role).toBe("learner");
    node.receive("n2", requestVote(2, 5, 1));
    expect(vote(replies(node.sync().after, "RequestVoteReply")[0]).voteGranted).toBe(true);
  });
});

describe("pre-vote", () => {
  test("a cut-off follower does not move its term, and its return disturbs nobody", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const term = c.elect().raft!.currentTerm;
    const follower = ["n1", "n2", "n3"].find((name) => c.leader()?.id !== idOf(name))!;
    c.isolate(follower);
    c.run(5_000);
    expect(c.raftOf(follower).currentTerm).toBe(term);
    c.heal();
    c.run(2_000);
    expect(c.leader()?.raft?.currentTerm).toBe(term);
  });

  test("the longest log on the lowest term still gets a leader elected", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    for (const name of ["n1", "n2", "n3"]) c.crash(name);
    c.at("n1").disk.hardState = { currentTerm: 9, votedFor: idOf("n1") };
    c.at("n2").disk.hardState = { currentTerm: 2, votedFor: null };
    c.at("n2").disk.entries.push(entry(2, 2), entry(3, 2));
    c.start("n1");
    c.start("n2");
    expect(c.elect().id).toBe(idOf("n2"));
  });

  test("a follower whose leader lives refuses; one that lost it grants", () => {
    const node = single();
    node.receive("n2", heartbeat(1));
    const preVote = requestVote(2, 9, 1, { preVote: true });
    expect(vote(node.receive("n3", preVote).send[0]?.message).voteGranted).toBe(false);
    node.turn({ type: "leaderGone", leader: idOf("n2") });
    expect(vote(node.receive("n3", preVote).send[0]?.message).voteGranted).toBe(true);
    expect(node.raft.currentTerm).toBe(1);
  });

  test("votes in a higher term are ignored while a leader lives, unless the leader itself handed over", () => {
    const node = single();
    node.receive("n2", heartbeat(1));
    node.receive("n3", requestVote(8, 9, 1));
    expect(node.raft.currentTerm).toBe(1);
    node.receive("n3", requestVote(8, 9, 1, { transfer: true }));
    expect(node.raft.currentTerm).toBe(8);
  });
});

describe("timers", () => {
  test("in a cluster that never had a leader its first voter asks at once; every other one, and any later start, waits", () => {
    const asksSoon = (settings: SingleSettings): boolean => {
      const node = single(settings);
      return replies(node.wait(60), "RequestVote").length > 0;
    };
    const founding = logOf();
    expect(asksSoon({ entries: founding })).toBe(true);
    expect(asksSoon({ entries: founding, self: idOf("n2") })).toBe(false);
    expect(asksSoon({ entries: founding, hardState: { currentTerm: 1, votedFor: idOf("n2") } })).toBe(false);
    expect(asksSoon({ entries: founding, hardState: { currentTerm: 2, votedFor: null } })).toBe(false);
    expect(asksSoon({ entries: logOf(1) })).toBe(false);
  });

  /** It has led before, up to term 7. */
  const soleVoter = {
    entries: [configEntry(1, 1, configuration("n1")), entry(2, 7)],
    hardState: { currentTerm: 7, votedFor: idOf("n1") },
  };

  test("a sole voter leads at once, however often it has led before", () => {
    const node = single(soleVoter);
    node.wait(60);
    settle(node);
    expect(node.raft.role).toBe("leader");
  });

  test("a sole voter does not lead before its term and its vote are durable: after a crash another one may have them", () => {
    const node = single(soleVoter);
    node.wait(60);
    expect(node.raft.inflight).toMatchObject({ hardState: { currentTerm: 8, votedFor: idOf("n1") } });
    expect([node.raft.role, node.raft.currentTerm, node.raft.lastIndex]).toEqual(["candidate", 8, 2]);
    const restarted = single(soleVoter);
    restarted.receive("n2", requestVote(8, 2, 7));
    expect(replies(restarted.sync().after, "RequestVoteReply")).toMatchObject([{ term: 8, voteGranted: true }]);
    node.sync();
    expect([node.raft.role, node.raft.currentTerm, node.raft.lastIndex]).toEqual(["leader", 8, 3]);
  });

  test("its own vote counts as well when the entries of the same write had no space", () => {
    const node = single();
    const soleFrom2 = appendEntries(1, 1, 1, [configEntry(2, 1, configuration("n1"))]);
    const messages = [soleFrom2, { type: "TimeoutNow", term: 1 }] as const;
    node.turn(...messages.map((message) => ({ type: "message", from: idOf("n2"), link: 7, message }) as const));
    expect(node.raft.inflight).toMatchObject({ upTo: 2, hardState: { currentTerm: 2, votedFor: idOf("n1") } });
    expect(node.raft.role).toBe("candidate");
    node.cut(2);
    expect([node.raft.role, node.raft.durableIndex]).toEqual(["leader", 1]);
  });

  test("while its own vote is being written, a candidate begins no other term: it has asked nobody yet", () => {
    const node = single(soleVoter);
    node.wait(60);
    const deadline = node.raft.electionDeadline;
    while (node.now < deadline) node.wait(10);
    expect(node.now - (node.raft.inflight?.since ?? 0)).toBeLessThan(TIMES.electionMaxMs);
    expect(node.raft.campaign).toMatchObject({ preVote: false, term: 8 });
    node.sync();
    expect([node.raft.role, node.raft.currentTerm]).toEqual(["leader", 8]);
  });

  test("an append that is refused still shows that the leader lives", () => {
    const node = single();
    for (let round = 0; round < 20; round++) {
      const effects = node.receive("n2", appendEntries(1, 50, 1, []));
      expect(replies(effects.send, "AppendEntriesReply")).toHaveLength(1);
      expect(replies(node.wait(200), "RequestVote")).toEqual([]);
    }
  });

  test("messages that waited while the node slept count as received now, before timers are judged", () => {
    const node = single();
    node.now = 5_000;
    node.receive("n2", heartbeat(1));
    expect(replies(node.wait(200), "RequestVote")).toEqual([]);
  });

  test("after a stall of our own the election timer starts afresh", () => {
    const node = single();
    node.now = 5_000;
    const effects = node.turn({ type: "stalled" });
    expect(replies(effects.send, "RequestVote")).toEqual([]);
    expect(replies(node.wait(250), "RequestVote")).toEqual([]);
    expect(replies(node.wait(400), "RequestVote")).not.toEqual([]);
  });

  test("a node without a configuration never campaigns and accepts a leader", () => {
    const node = single({ entries: [], hardState: { currentTerm: 0, votedFor: null } });
    expect(node.raft.configuration).toEqual(NO_CONFIGURATION);
    expect(node.wait(5_000)).toEqual([]);
    node.receive("n2", heartbeat(3));
    expect(node.raft.leader).toBe(idOf("n2"));
  });

  test("when the leader's address refuses connections, another leads within 150 ms", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const c = createCluster(["n1", "n2", "n3", "n4", "n5"], { seed });
      const gone = c.elect().id;
      c.run(200);
      c.crash(gone);
      for (const node of c.nodes.values()) if (node.id !== gone) c.give(node.id, { type: "leaderGone", leader: gone });
      c.runUntil("another leader", () => c.leader() !== null, 150);
    }
  });
});

test("a follower whose disk hangs disturbs nobody, and counts again once it answers", () => {
  const c = createCluster(["n1", "n2", "n3"]);
  const leader = c.elect().id;
  c.run(200);
  const { currentTerm } = c.raftOf(leader);
  const [slow, other] = ["n1", "n2", "n3"].filter((name) => idOf(name) !== leader) as [string, string];
  c.hang(slow);
  for (let at = 0; at < 10; at++) {
    c.propose(leader, `${at}`);
    c.run(500);
  }
  expect(c.texts(leader).length).toBe(10);
  expect([c.raftOf(leader).role, c.raftOf(leader).currentTerm]).toEqual(["leader", currentTerm]);
  expect(c.raftOf(leader).progress.get(idOf(slow))?.matchIndex).toBeLessThan(c.raftOf(leader).commitIndex);
  c.hang(slow, false);
  c.run(500);
  c.crash(other);
  c.propose(leader, "with the slow one");
  c.run(500);
  expect(c.texts(leader).length).toBe(11);
  expect(c.raftOf(leader).currentTerm).toBe(currentTerm);
});

test("a follower whose disk hangs does not stand for election, also when the leader is gone", () => {
  const c = createCluster(["n1", "n2", "n3", "n4", "n5"]);
  const gone = c.elect().id;
  c.run(200);
  const slow = ["n1", "n2", "n3", "n4", "n5"].find((name) => idOf(name) !== gone)!;
  c.hang(slow);
  c.propose(gone, "what the slow one is writing");
  c.run(800);
  c.crash(gone);
  const before = c.sent.length;
  c.run(5_000);
  expect(c.leader()?.id).not.toBe(idOf(slow));
  const asked = c.sent
    .slice(before)
    .filter(({ from, message }) => from === idOf(slow) && message.type === "RequestVote");
  expect(asked).toEqual([]);
  c.hang(slow, false);
  c.start(gone);
  c.converge();
});

describe("while a large message comes over a slow link", () => {
  const came = { type: "bytesReceived", member: idOf("n2") } as const;
  /** Bytes of it every 50 ms, and nothing else. */
  const dripping = (from: typeof came, ms: number): boolean => {
    const node = single({ entries: logOf(1) });
    node.receive("n2", heartbeat(2));
    settle(node);
    const asked: unknown[] = [];
    for (let at = 0; at < ms; at += 50) {
      asked.push(...replies(node.wait(50), "RequestVote"), ...replies(node.turn(from).send, "RequestVote"));
    }
    return asked.length > 0;
  };

  test("its bytes keep a follower from standing for election, and from voting for another", () => {
    expect(dripping(came, 2_000)).toBe(false);
    const node = single({ entries: logOf(1) });
    node.receive("n2", heartbeat(2));
    settle(node);
    for (let at = 0; at < 1_000; at += 50) {
      node.wait(50);
      node.turn(came);
    }
    const [answer] = replies(node.receive("n3", requestVote(3, 2, 1, { preVote: true })).send, "RequestVoteReply");
    expect(vote(answer).voteGranted).toBe(false);
  });

  test("bytes of a node that is not the leader show nothing", () => {
    expect(dripping({ type: "bytesReceived", member: idOf("n3") } as never, 1_000)).toBe(true);
  });

  test("bytes alone show nothing any more after four election timeouts: they may be those of a leadership that is over", () => {
    expect(dripping(came, 4 * TIMES.electionMaxMs + 2 * TIMES.electionMaxMs)).toBe(true);
  });

  test("a leader whose followers take what it sends leads on, though they have answered nothing", () => {
    const node = leading();
    for (let at = 0; at < 5_000; at += 50) {
      node.wait(50);
      node.turn({ type: "linkProgress", member: idOf("n2"), bytesPerSecond: 8_000 });
    }
    expect(node.raft.role).toBe("leader");
    node.wait(1_000);
    expect(node.raft.role).toBe("follower");
  });
});

describe("a leader that cannot lead", () => {
  test("steps down when no majority answers, also when only one direction is cut", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    for (const node of c.nodes.values()) if (node.id !== leader) c.cutOneWay(node.id, leader);
    c.run(1_300);
    expect(c.raftOf(leader).role).not.toBe("leader");
  });

  test("steps down when its own disk hangs, and another one commits within three election timeouts", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    c.hang(leader);
    c.propose(leader, "while the disk hangs");
    c.run(1_800);
    const other = c.elect();
    expect(other.id).not.toBe(leader);
    c.propose(other.id, "after");
    c.run(100);
    expect(c.texts(other.id)).toEqual(["while the disk hangs", "after"]);
    c.run(3_000);
    expect(c.leader()?.id).toBe(other.id);
    c.hang(leader, false);
    c.converge();
  });

  test("steps down when its own loop stood still for longer than an election timeout, before it sends anything", () => {
    for (const [ms, leads] of [
      [TIMES.electionMaxMs, true],
      [TIMES.electionMaxMs + 1, false],
    ] as const) {
      const node = leading();
      node.now += ms;
      const effects = node.turn({ type: "stalled" });
      expect(node.raft.role === "leader").toBe(leads);
      if (leads) continue;
      expect(effects.transitions.at(-1)?.why).toContain("stood still for");
      expect(effects.send).toEqual([]);
    }
    const alone = leading({ entries: [configEntry(1, 1, configuration("n1"))] });
    alone.now += 3_600_000;
    alone.turn({ type: "stalled" });
    expect(alone.raft.role).toBe("leader");
  });

  test("whatever single direction between two of 3 or 5 nodes is cut, a leader commits", () => {
    for (const size of [3, 5]) {
      const names = ["n1", "n2", "n3", "n4", "n5"].slice(0, size);
      for (const from of names) {
        for (const to of names) {
          if (from === to) continue;
          const c = createCluster(names);
          c.elect();
          c.cutOneWay(from, to);
          c.run(2_500);
          const leader = c.elect();
          const before = leader.raft!.currentTerm;
          c.propose(leader.id, "through");
          c.runUntil("a commit", () => c.texts(leader.id).length === 1, 2_000);
          c.run(3_000);
          expect(c.leader()?.raft?.currentTerm).toBe(before);
        }
      }
    }
  });

  test("a bridge between two halves does not make the term run away", () => {
    const c = createCluster(["n1", "n2", "n3", "n4", "n5"]);
    c.elect();
    for (const left of ["n1", "n2"]) for (const right of ["n4", "n5"]) c.cut(left, right);
    c.run(3_000);
    const leader = c.elect();
    const term = leader.raft!.currentTerm;
    c.run(5_000);
    expect(c.leader()?.raft?.currentTerm).toBe(term);
  });
});

test("the reason of an election names the leader that fell silent and the pre-votes", () => {
  const c = createCluster(["n1", "n2", "n3"]);
  const gone = c.elect().id;
  c.run(300);
  c.crash(gone);
  const next = c.elect();
  const why = next.transitions.find(
    (transition) => transition.role === "candidate" && transition.term === next.raft?.currentTerm,
  )?.why;
  expect(why).toMatch(/^leader n\d silent for \d+ms; pre-vote 2 of 3$/);
});
