// Replication: every follower's log becomes the leader's, acknowledgements are true, and nothing gets stuck.
import { describe, expect, test } from "bun:test";
import type { AppendEntries, AppendEntriesReply, Heartbeat, HeartbeatReply } from "../../src/raft/messages.ts";
import { createCluster, type Cluster } from "./cluster.ts";
import { leading, replies, settle, single, type Single } from "../kit/single-raft.ts";
import { acknowledge, appendEntries, draft, entry, heartbeat, idOf, logOf, refuse } from "../kit/raft-samples.ts";

const reply = (message: unknown) => message as AppendEntriesReply;
const followersOf = (c: Cluster) => [...c.nodes.values()].filter((node) => node.id !== c.leader()?.id);

describe("a follower", () => {
  test("acknowledges only what is durable, also when the same append comes again", () => {
    const node = single();
    const append = appendEntries(1, 1, 1, [entry(2, 1)]);
    expect(replies(node.receive("n2", append).send, "AppendEntriesReply")).toEqual([]);
    expect(replies(node.receive("n2", append).send, "AppendEntriesReply")).toEqual([]);
    const { after, effects } = node.sync();
    const acknowledged = [...after, ...effects.send].map(({ message }) => reply(message).matchIndex);
    expect(acknowledged).toEqual([2, 2]);
    expect(reply(node.receive("n2", append).send[0]?.message).matchIndex).toBe(2);
  });

  test("answers heartbeats without waiting for a log write that they do not claim", () => {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1)]));
    expect(replies(node.receive("n2", heartbeat(1)).send, "HeartbeatReply")).toHaveLength(1);
  });

  test("answers nothing in a new term before the term is durable", () => {
    const node = single();
    expect(node.receive("n2", heartbeat(4)).send).toEqual([]);
    const [answer] = replies(node.sync().after, "HeartbeatReply") as HeartbeatReply[];
    expect(answer?.term).toBe(4);
  });

  test("commits no further than what this leader has verified here", () => {
    const node = single({ entries: logOf(1, 1, 1), hardState: { currentTerm: 2, votedFor: null } });
    const effects = node.receive("n2", appendEntries(2, 1, 1, [], 4));
    expect(node.raft.commitIndex).toBe(1);
    expect(effects.committed.map(({ index }) => index)).toEqual([1]);
    node.receive("n2", heartbeat(2, 4));
    expect(node.raft.commitIndex).toBe(1);
    node.receive("n2", appendEntries(2, 1, 1, [entry(2, 1)], 4));
    expect(node.raft.commitIndex).toBe(2);
  });

  test("that is empty survives a heartbeat with a commit index beyond its log", () => {
    const node = single({ entries: [], hardState: { currentTerm: 0, votedFor: null } });
    node.receive("n2", heartbeat(3, 500));
    expect(node.raft.commitIndex).toBe(0);
  });

  test("drops a conflicting tail, but never what an old or repeated append only seems to contradict", () => {
    const node = single({ entries: logOf(1, 1), hardState: { currentTerm: 2, votedFor: null } });
    const first = appendEntries(2, 2, 1, [entry(3, 2), entry(4, 2)]);
    node.receive("n2", first);
    expect(node.raft.termAt(3)).toBe(2);
    node.receive("n2", appendEntries(2, 2, 1, [entry(3, 2)]));
    expect(node.raft.lastIndex).toBe(4);
    node.receive("n2", appendEntries(2, 1, 1, []));
    expect(node.raft.lastIndex).toBe(4);
    node.receive("n3", appendEntries(1, 2, 1, [entry(3, 1)]));
    expect(node.raft.termAt(3)).toBe(2);
  });

  test("the completion of a write does not vouch for entries that replaced its own meanwhile", () => {
    const node = single({ entries: logOf(), hardState: { currentTerm: 1, votedFor: null } });
    const write1 = node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1), entry(3, 1)])).persist;
    expect(write1?.entries.map(({ index }) => index)).toEqual([2, 3]);
    node.receive("n3", appendEntries(2, 1, 1, [entry(2, 2), entry(3, 2)]));
    const { effects } = node.sync();
    expect(node.raft.durableIndex).toBe(1);
    expect(replies(effects.send, "AppendEntriesReply")).toEqual([]);
    expect(effects.persist?.entries.map(({ index, term }) => [index, term])).toEqual([
      [2, 2],
      [3, 2],
    ]);
    const { after } = node.sync();
    expect(after.map(({ message }) => reply(message).matchIndex)).toEqual([3]);
    expect(node.raft.durableIndex).toBe(3);
  });

  test("a reply that waits for the disk in one term is not sent in the next", () => {
    const node = single();
    node.receive("n2", appendEntries(1, 1, 1, [entry(2, 1)]));
    node.receive("n2", appendEntries(1, 2, 1, [entry(3, 1)]));
    node.receive("n3", heartbeat(5));
    const sent = [...node.sync().effects.persist!.sendAfter].map(({ message }) => message);
    expect(sent.every((message) => message.term === 5)).toBe(true);
  });

  test("writes a term no later than the entries of that term", () => {
    const node = single();
    const { persist } = node.receive("n2", appendEntries(7, 1, 1, [entry(2, 7)]));
    expect(persist?.hardState?.currentTerm).toBe(7);
    expect(persist?.entries).toHaveLength(1);
  });
});

describe("a leader", () => {
  test("sends its entries while it writes them itself", () => {
    const node = leading();
    for (const name of ["n2", "n3"]) node.receive(name, acknowledge(2, 2));
    const effects = node.turn({ type: "propose", token: 1, draft: draft() });
    expect(effects.persist?.entries).toHaveLength(1);
    expect(replies(effects.send, "AppendEntries")).toHaveLength(2);
    expect(effects.proposed).toEqual([{ token: 1, ok: true, index: 3, term: 2 }]);
  });

  test("an answer to a heartbeat does not raise what counts as replicated", () => {
    const node = leading();
    const before = node.raft.progress.get(idOf("n2"))?.matchIndex;
    node.receive("n2", { type: "HeartbeatReply", term: 2, readContext: 0, diskLow: false });
    expect(node.raft.progress.get(idOf("n2"))?.matchIndex).toBe(before);
    expect(node.raft.commitIndex).toBe(0);
  });

  test("a heartbeat never names a commit index beyond what that follower has acknowledged", () => {
    const node = leading();
    node.receive("n2", acknowledge(2, 2));
    expect(node.raft.commitIndex).toBe(2);
    const beats = node.wait(100).filter(({ message }) => message.type === "Heartbeat");
    for (const { to, message } of beats) expect((message as Heartbeat).leaderCommit).toBe(to === idOf("n2") ? 2 : 0);
  });

  test("every batch follows on its prevLogIndex without a gap and within the byte limit, unless one entry alone is larger", () => {
    const c = createCluster(["n1", "n2", "n3"], { maxAppendBytes: 200 });
    const leader = c.elect().id;
    for (let at = 0; at < 60; at++) c.propose(leader, "x".repeat((at * 37) % 500));
    c.converge();
    let batches = 0;
    for (const { message } of c.sent) {
      if (message.type !== "AppendEntries") continue;
      const { entries, prevLogIndex } = message;
      entries.forEach((one, at) => expect(one.index).toBe(prevLogIndex + 1 + at));
      const bytes = entries.reduce((sum, one) => sum + one.record.length, 0);
      expect(bytes <= 200 || entries.length === 1).toBe(true);
      if (entries.length > 0) batches++;
    }
    expect(batches).toBeGreaterThan(60);
  });

  test("messages on their way to one follower stay within the limits of count and bytes", () => {
    const node = leading({ maxInflightMessages: 4, maxInflightBytes: 1_000, maxAppendBytes: 300 });
    node.receive("n2", acknowledge(2, 2));
    const big = node.turn({ type: "propose", token: 1, draft: draft("x".repeat(900)) });
    const sent = replies(big.send, "AppendEntries").length;
    for (let at = 0; at < 50; at++) node.turn({ type: "propose", token: at + 2, draft: draft("y".repeat(20)) });
    const progress = node.raft.progress.get(idOf("n2"))!;
    expect(sent).toBe(1);
    expect(progress.inflightLast.length).toBeLessThanOrEqual(4);
    expect(progress.inflightTotalBytes).toBeLessThanOrEqual(1_300);
    const more = node.receive("n2", acknowledge(2, 20));
    expect(replies(more.send, "AppendEntries").length).toBeGreaterThan(0);
  });

  test("over a slow link a message holds what that carries in a second, and two of them are out at most", () => {
    const node = leading({ maxAppendBytes: 1 << 20, maxInflightBytes: 8 << 20, maxInflightMessages: 64 });
    node.turn({ type: "linkProgress", member: idOf("n2"), bytesPerSecond: 20_000 });
    for (const follower of ["n2", "n3"]) node.receive(follower, acknowledge(2, 2));
    const sizes = (to: string): number[] =>
      proposed.send.flatMap(({ to: id, message }) =>
        id === idOf(to) && message.type === "AppendEntries"
          ? [message.entries.reduce((sum, { record }) => sum + record.length, 0)]
          : [],
      );
    const proposed = node.turn(
      ...Array.from(
        { length: 100 },
        (_, at) => ({ type: "propose", token: at + 1, draft: draft("x".repeat(5_000)) }) as const,
      ),
    );
    const record = sizes("n3").reduce((sum, bytes) => sum + bytes, 0) / 100;
    expect(sizes("n3")).toHaveLength(1);
    expect(sizes("n2")).toEqual([3 * record, 3 * record, 3 * record]);
    // On a new connection nothing is known of it.
    node.turn({ type: "linkDown", member: idOf("n2") });
    node.turn({ type: "linkProgress", member: idOf("n2"), bytesPerSecond: 20_000 });
    expect(node.raft.linkRates.size).toBe(0);
  });

  test("what is out and gets on is not sent again, however long it takes; what has arrived and is not answered is", () => {
    const node = leading();
    const beat = { type: "HeartbeatReply", term: 2, readContext: 0, diskLow: false } as const;
    node.receive("n2", acknowledge(2, 2));
    node.turn({ type: "propose", token: 1, draft: draft("x".repeat(3_000)) });
    settle(node);
    const again = (isMoving: boolean): number => {
      let sent = 0;
      for (let at = 0; at < 3_000; at += 50) {
        node.wait(50);
        if (isMoving) node.turn({ type: "linkProgress", member: idOf("n2"), bytesPerSecond: 1_000 });
        sent += replies(node.receive("n2", beat).send, "AppendEntries").length;
      }
      return sent;
    };
    expect(again(true)).toBe(0);
    expect(again(false)).toBeGreaterThan(0);
  });

  test("a divergence of 100,000 entries heals in as many round trips as there are terms", () => {
    const terms = (count: number, from: number) =>
      Array.from({ length: count }, (_, at) => from + Math.floor((at * 3) / count));
    const ours = logOf(...terms(100_000, 2).map((term) => term * 2));
    const theirs = logOf(...terms(100_000, 2).map((term) => term * 2 - 1));
    const node = leading({ entries: ours, maxAppendBytes: 10_000 });
    const follower = single({ self: idOf("n2"), entries: theirs });
    const term = node.raft.currentTerm;
    let trips = 0;
    const progress = node.raft.progress.get(idOf("n2"))!;
    node.turn({ type: "linkDown", member: idOf("n2") });
    let sent = node.turn({ type: "linkUp", member: idOf("n2") }).send;
    while (progress.state === "probe") {
      const [append] = sent.filter((out) => out.to === idOf("n2") && out.message.type === "AppendEntries");
      expect(append).toBeDefined();
      const answers = [...follower.receive("n1", append!.message).send, ...settle(follower)];
      const [answer] = replies(answers, "AppendEntriesReply");
      expect(answer?.term).toBe(term);
      sent = node.receive("n2", answer!).send;
      trips++;
      expect(trips).toBeLessThan(10);
    }
    expect(progress.matchIndex).toBeGreaterThan(0);
  });

  test("proposals beyond the limit of uncommitted bytes are refused as OVERLOADED until a majority is back", () => {
    const node = leading({ maxUncommittedBytes: 2_000 });
    const results = [];
    for (let at = 0; at < 100; at++)
      results.push(...node.turn({ type: "propose", token: at, draft: draft("z".repeat(100)) }).proposed);
    const accepted = results.filter((result) => result.ok).length;
    expect(accepted).toBeGreaterThan(5);
    expect(accepted).toBeLessThan(14);
    expect(results.at(-1)).toMatchObject({ ok: false, refused: { code: "OVERLOADED" } });
    settle(node);
    node.receive("n2", acknowledge(2, node.raft.lastIndex));
    expect(node.turn({ type: "propose", token: 200, draft: draft() }).proposed[0]?.ok).toBe(true);
  });

  test("a proposal to a node that does not lead is refused as NOT_LEADER", () => {
    const [refused] = single().turn({ type: "propose", token: 1, draft: draft() }).proposed;
    expect(refused).toMatchObject({ ok: false, refused: { code: "NOT_LEADER" } });
  });

  test("entries stay stamped with the term they were appended in when the leader is deposed in the same turn", () => {
    const node = leading();
    const effects = node.turn(
      { type: "propose", token: 1, draft: draft() },
      { type: "message", from: idOf("n2"), link: 7, message: heartbeat(9) },
      { type: "propose", token: 2, draft: draft() },
    );
    expect(effects.proposed.map((result) => result.ok)).toEqual([true, false]);
    expect(node.raft.termAt(3)).toBe(2);
    expect(node.raft.lastIndex).toBe(3);
  });
});

describe("links", () => {
  test("what a lost connection swallowed is sent again on the next one", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const [follower] = followersOf(c);
    c.run(200);
    for (let round = 0; round < 10; round++) {
      for (let at = 0; at < 20; at++) c.propose(leader, `${round}.${at}`);
      c.run(1);
      c.disconnect(leader, follower!.id);
      c.reconnect(leader, follower!.id);
    }
    c.runUntil("the follower has all", () => c.texts(follower!.id).length === 200, 1_000);
  });

  test("a follower whose disk stalls for 30 seconds catches up by itself", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const [follower] = followersOf(c);
    c.hang(follower!.id);
    for (let round = 0; round < 300; round++) {
      c.propose(leader, `${round}`);
      c.run(100);
    }
    expect(c.texts(leader)).toHaveLength(300);
    const { matchIndex } = c.raftOf(leader).progress.get(follower!.id)!;
    expect(matchIndex).toBeLessThan(10);
    c.hang(follower!.id, false);
    c.runUntil(
      "all is durable there",
      () => c.at(follower!.id).disk.entries.at(-1)?.index === c.raftOf(leader).lastIndex,
      3_000,
    );
    c.converge();
  });

  test("a follower that is far behind catches up while the term stands still", () => {
    const c = createCluster(["n1", "n2", "n3"], { maxAppendBytes: 300 });
    const leader = c.elect().id;
    const [follower] = followersOf(c);
    c.crash(follower!.id);
    for (let at = 0; at < 2_000; at++) c.propose(leader, `${at}`);
    c.run(500);
    const term = c.raftOf(leader).currentTerm;
    c.start(follower!.id);
    c.converge(20_000);
    expect(c.raftOf(leader).currentTerm).toBe(term);
  });
});

describe("a stale disk", () => {
  const staleCase = (): { node: Single; progressOf: () => { stale: boolean; matchIndex: number } } => {
    const node = leading();
    node.receive("n2", acknowledge(2, 2));
    node.receive("n3", acknowledge(2, 2));
    return { node, progressOf: () => node.raft.progress.get(idOf("n2"))! };
  };

  test("a member that refuses what it acknowledged in this term is not counted any more and is stopped", () => {
    const { node, progressOf } = staleCase();
    node.turn({ type: "linkDown", member: idOf("n2") });
    node.turn({ type: "linkUp", member: idOf("n2") });
    const effects = node.receive("n2", refuse(2, 2, 1, 1));
    expect(progressOf().stale).toBe(true);
    expect(replies(effects.send, "StaleDisk")).toEqual([{ type: "StaleDisk", term: 2, acknowledgedIndex: 2 }]);
    node.turn({ type: "propose", token: 1, draft: draft() });
    settle(node);
    node.receive("n2", acknowledge(2, 3));
    expect(node.raft.commitIndex).toBe(2);
    const member = single({ hardState: { currentTerm: 2, votedFor: null } });
    member.receive("n2", heartbeat(2));
    const stop = member.receive("n2", { type: "StaleDisk", term: 2, acknowledgedIndex: 2 }).stop;
    expect(stop?.code).toBe("STALE_DISK");
  });

  test("a disk that was put back to an older state is found when it reconnects", () => {
    const c = createCluster(["n1", "n2", "n3"]);
    const leader = c.elect().id;
    const [follower] = followersOf(c);
    c.propose(leader, "a");
    c.converge();
    c.crash(follower!.id);
    follower!.disk.entries.length = 1;
    c.start(follower!.id);
    c.runUntil("it stops", () => follower!.stopped !== null, 2_000);
    expect(follower!.stopped?.code).toBe("STALE_DISK");
  });

  test("refusals that an intact follower sent before it caught up never look like a stale disk", () => {
    const { node, progressOf } = staleCase();
    node.receive("n2", refuse(2, 5, 2, 2));
    expect(progressOf().stale).toBe(false);
  });
});

test("what is appended after the probe leaves with it in one message", () => {
  const node = leading();
  for (let token = 0; token < 5; token++) node.turn({ type: "propose", token, draft: draft() });
  const sent = node.receive("n2", acknowledge(2, 2)).send;
  const appends = replies(sent, "AppendEntries") as AppendEntries[];
  expect(appends.map(({ entries }) => entries.length)).toEqual([5]);
});
