// What happens when a node's state is wrong? It is found at the next checkpoint; a majority of equals goes on, everybody else does not.
import { describe, expect, test } from "bun:test";
import { QUEUE, STORAGE } from "../../src/config.ts";
import { digestOf } from "../../src/queue/digest.ts";
import { drop, first } from "../../src/queue/jobs.ts";
import { createQueue, type Queue } from "../../src/queue/queue.ts";
import { freeze } from "../../src/queue/snapshot.ts";
import type { Checkpoint, RaftMessage } from "../../src/raft/messages.ts";
import { metaAt, type Raft } from "../../src/raft/raft.ts";
import type { LogIndex } from "../../src/raft/types.ts";
import { createDiskSpace } from "../../src/server/disk-watermarks.ts";
import { createInbox } from "../../src/server/inbox.ts";
import { confirmSnapshot, considerSnapshot, createSnapshots, restoreSnapshot } from "../../src/server/snapshots.ts";
import { checkpointReached, createStateCheck, digestsReceived, judgeStates } from "../../src/server/state-check.ts";
import { createStages } from "../../src/server/stages.ts";
import type { Storage } from "../../src/storage/types.ts";
import type { Message } from "../../src/wire/connection.ts";
import { createTestClock } from "../kit/simulated-clock.ts";

import { single } from "../kit/single-raft.ts";
import { createTestCluster, isLeader, portOf, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";
import { heartbeat, idOf } from "../kit/raft-samples.ts";
import { enqueueCommand, NONCE, type Question, replyOf, request, type TestClient } from "../kit/test-client.ts";

const EVERY = 8;
const SETTINGS = { queueLimits: { ...QUEUE, checkpointEntries: EVERY }, compactMinBytes: 1_000 };

const clock = createTestClock();
const ports = {
  clock,
  settings: { compactMinBytes: 1, compactFactor: 1, segmentBytes: 1 },
  inbox: createInbox(clock, () => {}),
  stages: createStages(clock),
  log: () => {},
};
/** Enough for every snapshot. */
const SPACE = createDiskSpace({
  ...ports,
  disk: { freeBytes: () => {} },
  storage: { lacksSpace: () => false, reclaimSpace: () => {} },
  stateMachine: { queue: createQueue() },
  snapshots: { writtenBytes: 0 },
  segmentBytes: 1,
});

/** It serves; one that has found its data to be wrong does not, until the others have let it in again. */
const runs = ({ node }: TestNode): boolean => node.status() !== null;
/** The damage that it has logged. */
const report = ({ logged }: TestNode): string | null => logged.find(({ event }) => event === "damaged")?.text ?? null;
const comparedAt = ({ node }: TestNode): number => node.status()?.checkpoint?.index ?? 0;
const appliedAt = ({ node }: TestNode): number => node.status()?.appliedIndex ?? 0;

/** Memory that went bad: this one job is gone from this one node. */
function loseJob({ node }: TestNode): void {
  const { jobs } = node.inspect()!.queue;
  drop(jobs, first(jobs)!);
}

function founded(count: number) {
  const testCluster = createTestCluster(count);
  const ports = Array.from({ length: count }, (_, at) => 3000 + at);
  const nodes = ports.map((port) => testCluster.start(port, ports, count, SETTINGS));
  const up = (): readonly TestNode[] => nodes.filter(runs);
  const leader = (): TestNode | undefined => up().find(isLeader);
  testCluster.until(() => leader() !== undefined);
  let testClient: TestClient | null = null;
  let at: TestNode | undefined;
  let session = 0;
  let number = 0;

  /** One try on the present leader, like a client that comes anew. */
  function ask(question: Question): Message | undefined {
    const present = leader();
    if (present === undefined) return undefined;
    if (present !== at || testClient === null || testClient.closed.length > 0)
      testClient = testCluster.visit(portOf(present));
    at = present;
    return testClient.ask(question);
  }

  function tryEnqueue(): Message | undefined {
    const next = number + 1;
    const answer = ask(request(session, next, enqueueCommand(`${next}`)));
    if (answer?.type === "reply") number = next;
    return answer;
  }

  /** Until it is acknowledged, however often that must be tried. */
  function enqueue(count: number): void {
    for (let done = 0; done < count;) {
      if (tryEnqueue()?.type === "reply") done++;
      else testCluster.pass(20);
    }
  }

  while (session === 0) {
    const opened = ask({ ...OPEN, clientId: "c1", nonce: NONCE });
    const reply = opened?.type === "reply" ? replyOf(opened) : null;
    if (reply?.type === "opened") session = reply.session;
    else testCluster.pass(20);
  }
  const peek = (): Message | undefined => ask({ type: "peek" });
  return { testCluster, nodes, up, leader, peek, tryEnqueue, enqueue, acknowledged: () => number };
}

/** All nodes that run have compared everything. */
function settle({ testCluster, up }: ReturnType<typeof founded>): void {
  testCluster.until(() => {
    const last = Math.max(...up().map(appliedAt));
    return up().every((node) => appliedAt(node) === last && comparedAt(node) > last - EVERY);
  });
}

describe("states are compared", () => {
  test("at every checkpoint, and all nodes show the same digest for the same index", () => {
    const cluster = founded(3);
    cluster.enqueue(30);
    settle(cluster);
    const shown = cluster.nodes.map(({ node }) => node.status()?.checkpoint);
    expect(shown[0]?.index).toBeGreaterThan(3 * EVERY - 1);
    expect((shown[0]?.index ?? 1) % EVERY).toBe(0);
    expect(shown).toEqual([shown[0], shown[0], shown[0]]);
    expect(new Set(cluster.nodes.map(({ node }) => digestOf(node.inspect()!.queue))).size).toBe(1);
  });

  test("by one node alone as well: it is its own majority", () => {
    const cluster = founded(1);
    cluster.enqueue(20);
    settle(cluster);
    expect(comparedAt(cluster.nodes[0]!)).toBeGreaterThan(EVERY);
  });

  test("while a minority is down", () => {
    const cluster = founded(3);
    cluster.enqueue(1);
    const down = cluster.nodes.find((node) => !isLeader(node))!;
    cluster.testCluster.end(portOf(down), "kill");
    const since = appliedAt(cluster.leader()!);
    cluster.enqueue(20);
    cluster.testCluster.until(() => comparedAt(cluster.leader()!) > since);
  });
});

describe("a follower whose state is wrong", () => {
  function corrupted() {
    const cluster = founded(3);
    cluster.enqueue(5);
    settle(cluster);
    const victim = cluster.nodes.find((node) => !isLeader(node))!;
    loseJob(victim);
    cluster.enqueue(EVERY);
    cluster.testCluster.until(() => report(victim) !== null);
    return { ...cluster, victim };
  }

  test("serves no more and reports why; the others go on with every job, and let it in again with the right state", () => {
    const { victim, nodes, up, enqueue, acknowledged, testCluster } = corrupted();
    expect(runs(victim)).toBe(false);
    expect(report(victim)).toMatch(/wrong at index \d+: its digest is [0-9a-f]{8}, a majority has [0-9a-f]{8}/);
    enqueue(20);
    expect(up().length).toBeGreaterThan(1);
    testCluster.until(() => nodes.every(({ node }) => node.status()?.ready === acknowledged()), 30_000);
    expect(victim.node.inspect()?.queue.sessionCount).toBe(1);
  });

  test("does not start again from the data that it stopped with, however it ended", () => {
    const { testCluster, victim, nodes } = corrupted();
    testCluster.end(portOf(victim), "kill");
    const again = testCluster.start(portOf(victim), nodes.map(portOf), 3, SETTINGS);
    testCluster.until(() => report(again) !== null);
    expect(report(again)).toContain(/wrong at index \d+/.exec(report(victim) ?? "")?.[0] ?? "the reason");
  });
});

test("a follower whose state is wrong has a mark on its disk when it stops: killed at that moment, it does not start from it either", () => {
  for (const how of ["kill", "powerCut"] as const) {
    const cluster = founded(3);
    const { testCluster, nodes } = cluster;
    cluster.enqueue(5);
    settle(cluster);
    const victim = nodes.find((node) => !isLeader(node))!;
    loseJob(victim);
    cluster.enqueue(EVERY);
    while (victim.node.inspect() !== null) testCluster.step();
    // The life that found it out is over, and the note for the next one is not written yet.
    expect(report(victim)).toBeNull();
    testCluster.end(portOf(victim), how);
    const again = testCluster.start(portOf(victim), nodes.map(portOf), 3, SETTINGS);
    testCluster.until(() => report(again) !== null);
    expect(report(again)).toMatch(/wrong at index \d+/);
  }
});

test("a leader whose state is wrong stops at once; the others elect one of themselves, and nothing acknowledged is lost", () => {
  const cluster = founded(3);
  cluster.enqueue(5);
  settle(cluster);
  const victim = cluster.leader()!;
  loseJob(victim);
  cluster.enqueue(2 * EVERY);
  cluster.testCluster.until(() => report(victim) !== null);
  expect(runs(victim)).toBe(false);
  cluster.enqueue(EVERY);
  const { nodes, testCluster, acknowledged } = cluster;
  testCluster.until(() => nodes.every(({ node }) => node.status()?.ready === acknowledged()), 30_000);
});

describe("what is right", () => {
  /** As the member `from`, in a term that is over, sends what a majority had. */
  function sendAgreed(cluster: ReturnType<typeof founded>, to: TestNode, from: TestNode, agreed: Checkpoint): void {
    const testClient = cluster.testCluster.visit(portOf(to), {
      role: "peer",
      clusterId: to.node.clusterId(),
      node: from.node.status()!.node,
    });
    const term = to.node.status()!.term - 1;
    testClient.send({ type: "Heartbeat", term, leaderCommit: 0, time: 0, readContext: 0, agreed });
    cluster.testCluster.pass(200);
  }

  test("is learned from the present leader only: what a former one sends of it stops no node", () => {
    const cluster = founded(3);
    cluster.enqueue(2 * EVERY);
    settle(cluster);
    const [one, other] = cluster.nodes.filter((node) => !isLeader(node)) as [TestNode, TestNode];
    const { index, digest } = one.node.status()!.checkpoint!;
    sendAgreed(cluster, one, other, { index, digest: 0xffff_ffff - digest });
    // Nor is it remembered for a checkpoint that is still to come.
    sendAgreed(cluster, one, other, { index: index + EVERY, digest: 1 });
    cluster.enqueue(2 * EVERY);
    settle(cluster);
    expect([report(one), runs(one)]).toEqual([null, true]);
  });
});

test("a state that was wrong before the leader's snapshot took its place is reported, and stops no node", () => {
  for (const isReplaced of [true, false]) {
    const { raft, receive } = single();
    const lines: string[] = [];
    const stateCheck = createStateCheck({
      raft,
      stateMachine: { queue: { ...createQueue(), appliedIndex: 20 } },
      onCompared: () => {},
      log: ({ text }) => lines.push(text),
    });
    checkpointReached(stateCheck, { index: 8, digest: 1 });
    if (isReplaced) stateCheck.replacedTo = 20;
    const beat = { ...heartbeat(1), agreed: { index: 8, digest: 2 } } as RaftMessage;
    receive("n2", beat);
    digestsReceived(stateCheck, idOf("n2"), beat);
    expect([judgeStates(stateCheck)?.code, lines.length]).toEqual(isReplaced ? [undefined, 1] : ["CORRUPT", 0]);
    if (isReplaced) expect(lines[0]).toMatch(/was wrong at index 8, .*a snapshot has taken its place since/);
  }
});

describe("without a majority of equals", () => {
  test("nothing is written any more, and the leader reports it, until there is one again", () => {
    const cluster = founded(3);
    cluster.enqueue(5);
    settle(cluster);
    const [victim, witness] = cluster.nodes.filter((node) => !isLeader(node)) as [TestNode, TestNode];
    cluster.testCluster.end(portOf(witness), "kill");
    loseJob(victim);
    let refused: Message | undefined;
    for (let tries = 0; tries < 4 * EVERY && refused?.type !== "failure"; tries++) {
      refused = cluster.tryEnqueue();
      cluster.testCluster.pass(60);
    }
    expect(refused).toMatchObject({ type: "failure", failure: { code: "DIVERGED", applied: "no" } });
    // What would be shown may be wrong.
    expect(cluster.peek()).toMatchObject({ type: "failure", failure: { code: "DIVERGED", applied: "no" } });
    expect(cluster.up().length).toBe(3);
    const before = cluster.acknowledged();
    for (let tries = 0; tries < 20; tries++) {
      cluster.testCluster.pass(100);
      expect(cluster.tryEnqueue()).toMatchObject({ type: "failure" });
    }
    const leader = cluster.leader()!;
    const texts = leader.logged.filter(({ level }) => level === "error").map(({ text }) => text);
    expect(texts.filter((text) => text.startsWith("writes stop: "))).toHaveLength(1);
    expect(texts.join()).toContain("no majority agrees");
    const back = cluster.testCluster.start(portOf(witness), cluster.nodes.map(portOf), 3, SETTINGS);
    cluster.testCluster.until(() => report(victim) !== null);
    expect([report(back), report(leader)]).toEqual([null, null]);
    cluster.enqueue(EVERY);
    expect(cluster.peek()).toMatchObject({ type: "peekAnswer", peeked: { job: { id: 1 } } });
    expect(cluster.acknowledged()).toBe(before + EVERY);
    cluster.testCluster.until(() => back.node.status()?.ready === cluster.acknowledged());
  });

  test("three nodes with three states take nothing", () => {
    const cluster = founded(3);
    cluster.enqueue(5);
    settle(cluster);
    const [one, other] = cluster.nodes.filter((node) => !isLeader(node)) as [TestNode, TestNode];
    loseJob(one);
    loseJob(other);
    loseJob(other);
    let last: Message | undefined;
    for (let tries = 0; tries < 4 * EVERY && last?.type !== "failure"; tries++) {
      last = cluster.tryEnqueue();
      cluster.testCluster.pass(60);
    }
    expect(last).toMatchObject({ type: "failure", failure: { code: "DIVERGED" } });
    expect(cluster.up()).toHaveLength(3);
  });
});

describe("a snapshot", () => {
  test("is not taken of a state that has changed since its checkpoint, or that a later one stands for", () => {
    const { raft, queue } = founded(1).nodes[0]!.node.inspect()!;
    const digest = digestOf(queue);
    const at = { ...queue, checkpoint: queue.appliedIndex };
    let saved = 0;
    const storage = {
      recovered: { snapshot: null },
      snapshotBytes: () => 0,
      logBytes: () => 1_000_000,
      saveSnapshot: () => saved++,
    } as unknown as Storage;
    const consider = (of: Raft, state: Queue): void =>
      considerSnapshot(createSnapshots({ storage, ...ports }), SPACE, of, state, digest);
    const ahead = { ...metaAt(raft, queue.appliedIndex), index: queue.appliedIndex + 1 };
    consider({ ...raft, snapshot: ahead }, at);
    expect(saved).toBe(0);
    consider(raft, at);
    expect(saved).toBe(1);
    expect(() => consider(raft, { ...at, version: at.version + 1 })).toThrow("has changed since");
    expect(saved).toBe(1);
  });

  /** One that a node takes of its state, and what becomes of it: `saved` holds those that raft is to let count. */
  function taken(isWritten = true) {
    const { raft, queue } = founded(1).nodes[0]!.node.inspect()!;
    const { appliedIndex: index } = queue;
    const digest = digestOf(queue);
    let write = (): void => {};
    const storage = {
      recovered: { snapshot: null },
      snapshotBytes: () => 0,
      logBytes: () => 1_000_000,
      saveSnapshot: (_meta: unknown, _parts: unknown, done: (isSaved: boolean) => void) => {
        write = () => done(true);
        if (isWritten) write();
      },
      // What the leader sends: the same state, which is enough here.
      manifest: () => ({ parts: 1 }),
      readPart: () => freeze(queue, STORAGE.maxPartBytes).nextPart(),
    } as unknown as Storage;
    const inbox = createInbox(clock, () => {});
    const snapshots = createSnapshots({ storage, ...ports, inbox });
    const saved = (): readonly LogIndex[] =>
      inbox.inputs.flatMap((input) => (input.type === "snapshotSaved" ? [input.meta.index] : []));
    const take = (): void => considerSnapshot(snapshots, SPACE, raft, { ...queue, checkpoint: index }, digest);
    const install = (): void => void restoreSnapshot(snapshots, metaAt(raft, index));
    const confirm = (checkpoint: Checkpoint): void => confirmSnapshot(snapshots, checkpoint);
    return { confirm, index, digest, saved, take, install, write: () => write() };
  }

  test("counts once a majority agrees about its checkpoint, or about a later one that its state led to; not before", () => {
    const early = taken();
    early.take();
    early.confirm({ index: early.index - 1, digest: 1 });
    expect(early.saved()).toEqual([]);
    early.confirm({ index: early.index, digest: early.digest });
    expect(early.saved()).toEqual([early.index]);
    const passedOver = taken();
    passedOver.take();
    passedOver.confirm({ index: passedOver.index + EVERY, digest: 1 });
    expect(passedOver.saved()).toEqual([passedOver.index]);
  });

  test("counts when its checkpoint was agreed on before it was taken, or while it was being written", () => {
    const before = taken();
    before.confirm(before);
    before.take();
    expect(before.saved()).toEqual([before.index]);
    const meanwhile = taken(false);
    meanwhile.take();
    meanwhile.confirm(meanwhile);
    expect(meanwhile.saved()).toEqual([]);
    meanwhile.write();
    expect(meanwhile.saved()).toEqual([meanwhile.index]);
  });

  test("never counts when a majority has another digest at its checkpoint than it was frozen with", () => {
    for (const order of ["agreed first", "agreed while written", "agreed later"] as const) {
      const { confirm, index, digest, saved, take, write } = taken(order === "agreed later");
      const agree = (): void => confirm({ index, digest: 0xffff_ffff - digest });
      if (order === "agreed first") {
        agree();
        expect(take).toThrow("frozen with the digest that a majority has");
      } else {
        take();
        expect(agree).toThrow("frozen with the digest that a majority has");
        if (order === "agreed while written") write();
      }
      expect(saved()).toEqual([]);
    }
  });

  test("is not confirmed by what is compared after the leader's has taken the place of its state", () => {
    for (const isWritten of [true, false]) {
      const { confirm, index, saved, take, install, write } = taken(isWritten);
      take();
      install();
      if (!isWritten) write();
      confirm({ index: index + EVERY, digest: 1 });
      expect(saved()).toEqual([]);
    }
  });

  const snapshots = ({ node }: TestNode): number => node.status()?.snapshotIndex ?? 0;

  test("counts only when a majority has its state", () => {
    const cluster = founded(3);
    const [one, other] = cluster.nodes.filter((node) => !isLeader(node)) as [TestNode, TestNode];
    cluster.enqueue(5);
    settle(cluster);
    loseJob(one);
    cluster.testCluster.end(portOf(other), "kill");
    const leader = cluster.leader()!;
    const before = snapshots(leader);
    for (let tries = 0; tries < 10 * EVERY; tries++) cluster.tryEnqueue();
    cluster.testCluster.pass(1_000);
    expect([snapshots(leader), snapshots(one)]).toEqual([before, before]);
  });

  test("counts on all nodes at checkpoints, while a minority is down", () => {
    const cluster = founded(3);
    const down = cluster.nodes.find((node) => !isLeader(node))!;
    cluster.testCluster.end(portOf(down), "kill");
    const rest = cluster.nodes.filter((node) => node !== down);
    cluster.enqueue(6 * EVERY);
    cluster.testCluster.until(() => rest.every((node) => snapshots(node) > 0));
    // One that the entries bring, or one that the leader makes because a snapshot is due.
    const isCheckpoint = (at: number, node: TestNode): boolean =>
      at % EVERY === 0 || node.node.inspect()?.raft.entryAt(at)?.kind === "tick";
    for (const node of rest) expect(isCheckpoint(snapshots(node), node)).toBe(true);
  });
});
