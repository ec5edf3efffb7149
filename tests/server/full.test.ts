// What do nodes do when their disks are full? Real nodes on small simulated disks: one, the leader's, a majority's.
import { describe, expect, test } from "bun:test";
import { QUEUE } from "../../src/config.ts";
import { RESOLVE } from "../../src/queue/commands.ts";
import type { Reply } from "../../src/queue/types.ts";
import type { ServerMessage } from "../../src/wire/protocol.ts";
import { createTestCluster, portOf, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";
import {
  dequeueCommand,
  enqueueCommand,
  NONCE,
  type Question,
  replyOf,
  request,
  type TestClient,
} from "../kit/test-client.ts";

const KiB = 1024;
/** Of the cluster's nodes. */
const SEGMENT = 64 * KiB;
/** More than two segments and a small snapshot. */
const PLENTY = 10 * SEGMENT;
const PORTS = [3000, 3001, 3002];

const enqueue = (bytes = 10): Uint8Array => enqueueCommand(new Uint8Array(bytes));
const DEQUEUE = dequeueCommand();

/** Three founders, who leads them, and a client that finds the leader by itself. */
function three() {
  // Snapshots, which give space back, stand for checkpoints.
  const testCluster = createTestCluster(3, 1, { queueLimits: { ...QUEUE, checkpointEntries: 8 } });
  const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3));
  const leader = (): TestNode => {
    const found = (): TestNode | undefined =>
      nodes.find(({ node }) => node.status()?.state === "leader" && node.inspect()?.raft.transfer === null);
    testCluster.until(() => found() !== undefined);
    return found() as TestNode;
  };
  leader();
  const testClients = new Map<TestNode, TestClient>();
  let session = 0;
  let number = 0;

  /** Sends to the leader of the moment until one gives an answer of its own. */
  function ask(question: Question): ServerMessage {
    for (let attempt = 0; attempt < 20; attempt++) {
      const at = leader();
      const known = testClients.get(at);
      // A node that does not lead sends its idle clients away.
      const testClient = known === undefined || known.closed.length > 0 ? testCluster.visit(portOf(at)) : known;
      testClients.set(at, testClient);
      const answer = testClient.ask(question);
      if (answer === undefined) continue;
      if (answer.type !== "failure" || answer.failure.code === "DISK_FULL") return answer;
      testCluster.pass(50);
    }
    throw new Error("nobody gave an answer");
  }
  const open = (clientId: string): ServerMessage => ask({ ...OPEN, clientId, nonce: NONCE });
  /** The next number of the session; it is used up only by a reply. */
  function send(command: Uint8Array): Reply["type"] | "DISK_FULL" {
    const next = number + 1;
    const answer = ask(request(session, next, command));
    if (answer.type === "failure") {
      expect(answer.failure).toMatchObject({ code: "DISK_FULL", applied: "no", retryAfterMs: 200 });
      return "DISK_FULL";
    }
    number = next;
    return replyOf(answer).type;
  }
  const opened = replyOf(open("c1"));
  session = opened.type === "opened" ? opened.session : 0;
  const others = (): readonly TestNode[] => nodes.filter((node) => node !== leader());
  const isLow = (one: TestNode): boolean | undefined => {
    const status = leader().node.status();
    return status?.members.find(({ id }) => id === one.node.id)?.diskLow;
  };
  /** Every node still runs, and all have applied the same. */
  const expectWhole = (): void => {
    expect(nodes.map(({ stopped }) => stopped())).toEqual([undefined, undefined, undefined]);
    testCluster.until(() => new Set(nodes.map(({ node }) => node.status()?.appliedIndex)).size === 1, 30_000);
    expect(new Set(nodes.map(({ node }) => node.status()?.ready)).size).toBe(1);
  };
  return { testCluster, nodes, leader, others, ask, open, send, isLow, expectWhole };
}

/** A segment that was made ahead: nothing but a header is in it. */
const isSpare = (testCluster: TestCluster, port: number, file: string): boolean =>
  file.startsWith("g0/log/") &&
  testCluster
    .diskOf(port)
    .cached(file)
    ?.subarray(4 * KiB)
    .every((byte) => byte === 0) === true;

const eventsOf = ({ logged }: TestNode, event: string): readonly string[] =>
  logged.filter((line) => line.event === event).map(({ text }) => text);

describe("one full disk", () => {
  test("of a follower: enqueues go on, it is reported once with figures, and it recovers by itself", () => {
    const { testCluster, leader, others, send, isLow, expectWhole } = three();
    const [victim] = others() as [TestNode];
    testCluster.leave(portOf(victim), 100 * KiB);
    testCluster.pass(2_500);
    expect(isLow(victim)).toBe(true);
    expect(isLow(leader())).toBe(false);
    expect(victim.node.status()?.members.find(({ id }) => id === victim.node.id)?.diskLow).toBe(true);
    expect(eventsOf(victim, "disk-low")).toEqual([
      "disk low: 0.1 MiB free, 0.1 MiB needed; enqueues are refused while fewer than a majority of the voters have disk space",
    ]);
    expect(send(enqueue())).toBe("enqueued");
    testCluster.leave(portOf(victim), PLENTY);
    testCluster.pass(1_000);
    expect(isLow(victim)).toBe(false);
    expect(eventsOf(victim, "disk-space")).toEqual(["the disk has space again: 0.6 MiB free, 0.2 MiB needed"]);
    expectWhole();
  });

  test("of a follower, to the last byte: it holds what it cannot write, the others serve, and later it has everything", () => {
    const { testCluster, others, send, isLow, expectWhole } = three();
    const [victim] = others() as [TestNode];
    testCluster.leave(portOf(victim), 0);
    for (let count = 0; count < 40; count++) expect(send(enqueue(10 * KiB))).toBe("enqueued");
    testCluster.pass(5_000);
    expect(victim.stopped()).toBeUndefined();
    expect(isLow(victim)).toBe(true);
    expect(victim.node.inspect()?.raft.noSpace).not.toBeNull();
    testCluster.leave(portOf(victim), 3 * 1024 * KiB);
    testCluster.pass(3_000);
    expect(isLow(victim)).toBe(false);
    expectWhole();
  });

  test("of a follower, without space for its log: a snapshot, which needs less, lets it go on by itself", () => {
    const { testCluster, leader, others, send, isLow, expectWhole } = three();
    const [victim] = others() as [TestNode];
    const work = (): void => {
      expect(send(enqueue(10 * KiB))).toBe("enqueued");
      expect(send(DEQUEUE)).toBe("dequeued");
    };
    testCluster.leave(portOf(victim), 0);
    for (let count = 0; count < 20; count++) work();
    testCluster.pass(1_000);
    expect(victim.node.inspect()?.raft.noSpace).not.toBeNull();
    // Less than a segment, and from here on nobody frees any.
    testCluster.leave(portOf(victim), SEGMENT - KiB);
    for (let count = 0; count < 20; count++) work();
    testCluster.pass(5_000);
    expect(victim.node.inspect()?.raft.durableIndex).toBe(leader().node.status()?.lastIndex as number);
    expect(victim.node.inspect()?.raft.noSpace).toBeNull();
    expect(isLow(victim)).toBe(true);
    testCluster.leave(portOf(victim), PLENTY);
    testCluster.pass(1_000);
    expectWhole();
  });

  test("of a follower, without space for its log: it learns terms and votes as others do", () => {
    const { testCluster, leader, others, send } = three();
    const [victim] = others() as [TestNode];
    testCluster.leave(portOf(victim), 0);
    for (let count = 0; count < 40; count++) expect(send(enqueue(10 * KiB))).toBe("enqueued");
    testCluster.pass(1_000);
    expect(victim.node.inspect()?.raft.noSpace).not.toBeNull();
    // Without its vote nobody can lead.
    const first = leader();
    const alive = others();
    testCluster.end(portOf(first), "kill");
    testCluster.until(() => alive.some(({ node }) => node.status()?.state === "leader"), 20_000);
    expect(victim.node.inspect()?.raft.noSpace).not.toBeNull();
    testCluster.leave(portOf(victim), 3 * 1024 * KiB);
    const appliedBy = (): readonly unknown[] => alive.map(({ node }) => node.status()?.appliedIndex);
    testCluster.pass(3_000);
    expect(new Set(appliedBy()).size).toBe(1);
    expect(victim.stopped()).toBeUndefined();
  });

  test("by a quota, which free space does not show: the attempt that failed does, until one succeeds", () => {
    const { testCluster, others, send, isLow, expectWhole } = three();
    const [victim] = others() as [TestNode];
    testCluster.pass(1_000);
    testCluster.failCreate(portOf(victim));
    testCluster.leave(portOf(victim), PLENTY);
    const wasLow = (): boolean => eventsOf(victim, "disk-low").length > 0;
    for (let count = 0; count < 20 && !wasLow(); count++) send(enqueue(10 * KiB));
    expect(eventsOf(victim, "disk-low")[0]).toContain("no log segment can be made, although 0.6 MiB are free");
    testCluster.pass(2_000);
    expect(eventsOf(victim, "disk-space")).toHaveLength(1);
    expect(isLow(victim)).toBe(false);
    expectWhole();
  });

  test("of the leader: it hands over to one with room, once, and clients notice nothing", () => {
    const { testCluster, nodes, leader, send, expectWhole } = three();
    testCluster.pass(1_000);
    const first = leader();
    testCluster.leave(portOf(first), 100 * KiB);
    testCluster.pass(2_500);
    const second = leader();
    expect(second).not.toBe(first);
    expect(eventsOf(first, "role").some((text) => text.includes("its disk is low: handing over to"))).toBe(true);
    const { term } = second.node.status() ?? { term: 0 };
    for (let count = 0; count < 5; count++) expect(send(enqueue())).toBe("enqueued");
    testCluster.pass(20_000);
    expect(leader()).toBe(second);
    expect(nodes.map(({ node }) => node.status()?.term)).toEqual([term, term, term]);
    expectWhole();
  });

  test("of the leader, to the last byte: another one leads and serves", () => {
    const { testCluster, leader, send, expectWhole } = three();
    testCluster.pass(1_000);
    const first = leader();
    testCluster.leave(portOf(first), 0);
    for (let count = 0; count < 40; count++) expect(send(enqueue(10 * KiB))).toBe("enqueued");
    expect(leader()).not.toBe(first);
    testCluster.leave(portOf(first), 3 * 1024 * KiB);
    testCluster.pass(2_000);
    expectWhole();
  });
});

describe("a majority of full disks", () => {
  /** The leader stays one of those that are low: nobody else has room and is up to date before it is decided. */
  function twoLow() {
    const all = three();
    const { testCluster, others, leader, send } = all;
    for (let count = 0; count < 3; count++) expect(send(enqueue())).toBe("enqueued");
    const low = [leader(), ...others()].slice(1);
    for (const node of low) testCluster.leave(portOf(node), 100 * KiB);
    testCluster.pass(2_500);
    return { ...all, low };
  }

  test("enqueues are refused and leave no trace, while dequeues and settles pass", () => {
    const { leader, send, expectWhole } = twoLow();
    const before = leader().node.status()?.lastIndex;
    expect(send(enqueue())).toBe("DISK_FULL");
    expect(leader().node.status()?.lastIndex).toBe(before as number);
    expect(send(new Uint8Array([1, 2, 3]))).toBe("DISK_FULL");
    expect(send(DEQUEUE)).toBe("dequeued");
    expect(send(RESOLVE)).toBe("void");
    expect(send(enqueue())).toBe("DISK_FULL");
    expect(send(DEQUEUE)).toBe("dequeued");
    expect(leader().node.status()?.ready).toBe(1);
    expectWhole();
  });

  test("a new client is not let in, one that has a session is; a session can be closed", () => {
    const { ask, open, expectWhole } = twoLow();
    const refused = open("c2");
    expect(refused).toMatchObject({ type: "failure", failure: { code: "DISK_FULL", applied: "no" } });
    expect(refused.type === "failure" && refused.failure.message).toBe(
      "only 1 of 3 voters have disk space: no new client is let in until space is freed there; clients with a session, by their id, can dequeue",
    );
    const again = ask({ ...OPEN, clientId: "c1", nonce: new Uint8Array(16).fill(8) });
    expect(again.type).toBe("reply");
    const reply = replyOf(again);
    if (reply.type !== "opened") throw new Error("c1 was not let in");
    const { session, lastNumber: acknowledgedThrough } = reply;
    const closed = ask({ type: "close", group: 0, session, acknowledgedThrough });
    expect(replyOf(closed).type).toBe("closed");
    expectWhole();
  });

  test("a member with room can be let in, and then there is room", () => {
    const { testCluster, leader, send, low } = twoLow();
    expect(send(enqueue())).toBe("DISK_FULL");
    const fresh = testCluster.start(3003, PORTS);
    testCluster.until(
      () =>
        leader()
          .node.status()
          ?.members.find(({ id }) => id === fresh.node.id)?.role === "voter",
      20_000,
    );
    const third = testCluster.start(3004, PORTS);
    testCluster.until(
      () =>
        leader()
          .node.status()
          ?.members.find(({ id }) => id === third.node.id)?.role === "voter",
      20_000,
    );
    expect(low.map(({ stopped }) => stopped())).toEqual([undefined, undefined]);
    // Both halves of the joint configuration had to have room.
    testCluster.pass(1_000);
    expect(send(enqueue())).toBe("enqueued");
  });

  test("when somebody frees space, enqueues pass again, in the same processes", () => {
    const { testCluster, send, low, expectWhole } = twoLow();
    expect(send(enqueue())).toBe("DISK_FULL");
    testCluster.leave(portOf(low[0] as TestNode), PLENTY);
    testCluster.pass(1_000);
    expect(send(enqueue())).toBe("enqueued");
    expectWhole();
  });

  test("a queue that fills the disks stops there; taking jobs out gives the space back without anybody's help", () => {
    const { testCluster, leader, send, expectWhole } = three();
    for (const port of PORTS) testCluster.leave(port, 1_200 * KiB);
    let waiting = 0;
    /** A refusal may be over in a moment, when the log has become shorter: full is what stays so. */
    const takesOne = (): boolean => {
      for (let attempt = 0; attempt < 3; attempt++) {
        if (send(enqueue(24 * KiB)) === "enqueued") return true;
        testCluster.pass(1_000);
      }
      return false;
    };
    const fill = (): number => {
      const before = waiting;
      for (; takesOne(); waiting++) expect(waiting).toBeLessThan(100);
      return waiting - before;
    };
    const first = fill();
    expect(first).toBeGreaterThan(10);
    for (let round = 0; round < 2; round++) {
      for (let count = 0; count < 100 && waiting > 2; count++, waiting--) expect(send(DEQUEUE)).toBe("dequeued");
      testCluster.pass(2_000);
      // Not all of it: segments are given back whole, and the one that is being written stays.
      expect(fill()).toBeGreaterThan(first / 3);
    }
    expect(leader().node.status()?.ready).toBe(waiting);
    for (; waiting > 0; waiting--) expect(send(DEQUEUE)).toBe("dequeued");
    expectWhole();
  });
});

test("a founder without space for the first entry waits for it, also across a kill: until then there is no cluster", () => {
  const testCluster = createTestCluster(3, 1);
  const waits = (one: TestNode): boolean => eventsOf(one, "disk-low").length > 0;
  const founded = (one: TestNode): boolean => eventsOf(one, "founded").length > 0;
  let founder = testCluster.start(3000);
  // Meta, and a segment of the fewest blocks there can be.
  testCluster.leave(3000, 30 * KiB);
  testCluster.until(() => waits(founder));
  testCluster.pass(2_000);
  expect([founded(founder), founder.node.status()]).toEqual([false, null]);
  testCluster.end(3000, "kill");
  testCluster.leave(3000, 22 * KiB);
  founder = testCluster.start(3000);
  testCluster.pass(2_000);
  expect([founded(founder), founder.stopped()]).toEqual([false, undefined]);
  testCluster.leave(3000, PLENTY);
  testCluster.until(() => founder.node.status()?.state === "leader");
  testCluster.end(3000, "powerCut");
  founder = testCluster.start(3000);
  testCluster.until(() => founder.node.status()?.state === "leader");
  expect(founder.node.inspect()?.raft.configuration.voters.map(({ id }) => String(id))).toEqual(["n3000"]);
});

test("a node starts without space for the next segment, takes the rest into memory, and its own snapshot gives it room", () => {
  const { testCluster, nodes, others, send } = three();
  const [victim] = others() as [TestNode];
  const port = portOf(victim);
  const work = (): void => {
    expect(send(enqueue(2 * KiB))).toBe("enqueued");
    expect(send(DEQUEUE)).toBe("dequeued");
  };
  /** That hold entries, when nothing is being written. How many there are is how much its own snapshot can give back. */
  const segments = (): number => {
    testCluster.pass(20);
    return testCluster
      .diskOf(port)
      .files()
      .filter((file) => file.endsWith(".seg") && !isSpare(testCluster, port, file)).length;
  };
  while (segments() < 5) work();
  testCluster.end(port, "powerCut");
  for (const file of testCluster.diskOf(port).files())
    if (isSpare(testCluster, port, file)) testCluster.diskOf(port).delete(file);
  // Its first segment, and what a snapshot needs.
  testCluster.leave(port, SEGMENT + 12 * KiB);
  const again = testCluster.start(port, PORTS, 3);
  testCluster.until(() => again.node.status() !== null);
  const seen = nodes.find((node) => node !== victim) as TestNode;
  const isLow = (): boolean | undefined =>
    seen.node.status()?.members.find(({ id }) => id === again.node.id)?.diskLow || undefined;
  for (let count = 0; count < 20; count++) work();
  testCluster.pass(5_000);
  expect(again.node.inspect()?.raft.durableIndex).toBe(seen.node.status()?.lastIndex as number);
  expect(eventsOf(again, "disk-low")).toHaveLength(1);
  expect(isLow()).toBeUndefined();
  expect(again.stopped()).toBeUndefined();
});

test("a member without room for the last snapshot gets a smaller one, when less waits by then", () => {
  const { testCluster, nodes, leader, others, send } = three();
  const [victim] = others() as [TestNode];
  const port = portOf(victim);
  testCluster.end(port, "kill");
  // At the last checkpoint but one, which the last snapshot stands for, two of them wait.
  const JOBS = 119;
  for (let count = 0; count < JOBS; count++) expect(send(enqueue(10 * KiB))).toBe("enqueued");
  const snapshotAt = (): number => leader().node.status()?.snapshotIndex ?? 0;
  testCluster.until(() => snapshotAt() > 0);
  const large = snapshotAt();
  testCluster.leave(port, 2 * SEGMENT);
  const again = testCluster.start(port, PORTS, 3);
  testCluster.pass(2_000);
  expect(again.node.status()?.appliedIndex).toBeLessThan(large);
  for (let count = 0; count < JOBS; count++) expect(send(DEQUEUE)).toBe("dequeued");
  expect(send(enqueue())).toBe("enqueued");
  testCluster.until(() => again.node.status()?.ready === 1, 20_000);
  expect(snapshotAt()).toBeGreaterThan(large);
  expect(nodes.filter((node) => node !== victim).map(({ stopped }) => stopped())).toEqual([undefined, undefined]);
});

test("a node that is killed on a full disk comes back with the space of the segment made ahead; without it, it reports why not", () => {
  const { testCluster, others, send } = three();
  const [victim] = others() as [TestNode];
  const port = portOf(victim);
  testCluster.pass(1_000);
  testCluster.leave(port, 0);
  testCluster.end(port, "powerCut");
  const again = testCluster.start(port, PORTS, 3);
  testCluster.until(() => again.node.status() !== null);
  expect(send(enqueue())).toBe("enqueued");
  testCluster.until(() => again.node.status()?.ready === 1);
  testCluster.end(port, "kill");
  const third = testCluster.start(port, PORTS, 3);
  testCluster.until(() => third.stopped() !== undefined);
  expect(third.stopped()?.code).toBe("DISK_FULL");
  expect(third.stopped()?.message).toMatch(/12288 bytes are free, 2\d+ are needed; free that much/);
  testCluster.leave(port, PLENTY);
  testCluster.end(port, "kill");
  const fourth = testCluster.start(port, PORTS, 3);
  testCluster.until(() => fourth.node.status()?.ready === 1);
});
