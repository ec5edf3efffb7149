/**
 * A test cluster that a test damages and that must become whole again: it knows the jobs that were acknowledged and the members, and
 * checks that all are there, under the incarnations they run as, with equal states.
 */
import { expect } from "bun:test";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { isVoter } from "../../src/raft/configuration.ts";
import type { MemberId, NodeId } from "../../src/raft/types.ts";
import type { NodeSettings } from "../../src/server/types.ts";

import type { Message } from "../../src/wire/connection.ts";
import { createTestCluster, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import { OPEN } from "../kit/messages.ts";
import { dequeueCommand, enqueueCommand, type Question, request, type TestClient } from "../kit/test-client.ts";
import { QUICK_AND_SMALL } from "../kit/node-settings.ts";
import { must } from "../../src/lib/assert.ts";
import { checksumOf } from "../kit/queue-log.ts";

const SETTINGS: Partial<NodeSettings> = { ...QUICK_AND_SMALL, compactMinBytes: 96 * 1024, keepLogBytes: 8 * 1024 };

const FIRST_PORT = 3000;
const PATIENCE_MS = 30_000;
const LOOK_MS = 20;
/** The log is closed behind its last frame by then. */
const QUIET_MS = 80;

export interface CheckedCluster {
  readonly testCluster: TestCluster;
  readonly ports: readonly number[];
  at(port: number): TestNode;
  /** With the command it was first started with, or with one that names nobody. */
  start(port: number, alone?: boolean): TestNode;
  end(port: number, how: "kill" | "powerCut" | "wipe"): void;
  /** The port of who leads now. */
  leader(): number;
  memberAt(port: number): MemberId;
  roleOf(port: number): string | null;
  termOf(port: number): number;
  /** Takes it out of the cluster, which is then one smaller. */
  remove(port: number): void;
  /** Hands leadership to it. */
  lead(port: number): void;
  /** Gives the leader something to write, and does not wait for the answer. */
  poke(): void;
  /** Adds jobs, acknowledged one by one. */
  enqueue(count: number): void;
  quiet(): void;
  /** Looks now and then. */
  until(what: string, done: () => boolean, limitMs?: number): void;
  /** All are voters under the incarnations they run as, and have applied everything. */
  untilWhole(): void;
  expectEqualStates(): void;
  /** What the node at `port` answers to a question for its status. */
  askStatus(port: number): Message;
  /** Takes every job out again. */
  expectAllThere(): void;
  /** Directories of data that were set aside. */
  quarantined(port: number): readonly string[];
}

export function createCheckedCluster(size: number, seed: number, more: Partial<NodeSettings> = {}): CheckedCluster {
  const testCluster = createTestCluster(seed);
  const ports = Array.from({ length: size }, (_, at) => FIRST_PORT + at);
  const nodes = new Map<number, TestNode>();
  const alive = new Set<number>();
  const members = new Set(ports);
  const acknowledged: string[] = [];
  let nextClient = 1;
  let nextJob = 1;

  const at = (port: number): TestNode => {
    const node = nodes.get(port);
    if (node === undefined) throw new Error(`nobody at ${port}`);
    return node;
  };
  const raftAt = (port: number) => at(port).node.inspect()?.raft ?? null;
  const running = (): readonly number[] => ports.filter((port) => at(port).stopped() === undefined && alive.has(port));
  function start(port: number, alone = false): TestNode {
    const settings = { ...SETTINGS, ...more };
    const node = alone ? testCluster.start(port, [], null, settings) : testCluster.start(port, ports, size, settings);
    nodes.set(port, node);
    alive.add(port);
    return node;
  }

  function until(what: string, done: () => boolean, limitMs = PATIENCE_MS): void {
    const end = testCluster.clock.now() + limitMs;
    while (!done()) {
      if (testCluster.clock.now() > end)
        throw new Error(`this did not happen within ${limitMs}ms of virtual time: ${what}`);
      testCluster.pass(LOOK_MS);
    }
  }

  const leaderPort = (): number | undefined =>
    running()
      .filter((port) => raftAt(port)?.role === "leader")
      .sort((a, b) => (raftAt(b)?.currentTerm ?? 0) - (raftAt(a)?.currentTerm ?? 0))[0];

  /** Asks the leader, and finds the next one when it leads no more. Gives the reply of each request in order. */
  function session(commands: readonly Uint8Array[]): Reply[] {
    const clientId = `c${nextClient++}`;
    const nonce = new Uint8Array(16).fill(nextClient);
    const replies: Reply[] = [];
    let testClient: TestClient | null = null;
    const ask = (question: Question): Reply => {
      for (let tries = 0; tries < 200; tries++) {
        if (testClient === null || testClient.closed.length > 0) {
          until("a leader", () => leaderPort() !== undefined);
          testClient = testCluster.visit(leaderPort() ?? 0);
        }
        const answer = testClient.ask(question, 1_000);
        if (answer?.type === "reply") return decodeReply(answer.reply);
        testClient = null;
        testCluster.pass(LOOK_MS);
      }
      throw new Error("nobody answers");
    };
    const opened = ask({ ...OPEN, clientId, nonce });
    if (opened.type !== "opened") throw new Error(opened.type);
    for (const [at, command] of commands.entries()) replies.push(ask(request(opened.session, at + 1, command)));
    return replies;
  }

  /** One request of an operator to the leader; waits until it is done. */
  function administer(question: { type: "remove"; ids: NodeId[] } | { type: "transfer"; to: NodeId }): void {
    until("an operator is served", () => {
      const leader = leaderPort();
      if (leader === undefined) return false;
      const testClient = testCluster.visit(leader);
      return testClient.ask(question)?.type === "done";
    });
  }

  const cluster: CheckedCluster = {
    testCluster,
    ports,
    at,
    start,
    end: (port, how) => {
      alive.delete(port);
      testCluster.end(port, how);
    },
    leader: () => {
      until("a leader", () => leaderPort() !== undefined);
      return leaderPort() ?? 0;
    },
    memberAt: (port) => {
      const raft = raftAt(port);
      if (raft === null) throw new Error(`${port} does not serve`);
      return raft.self;
    },
    roleOf: (port) => raftAt(port)?.role ?? null,
    termOf: (port) => raftAt(port)?.currentTerm ?? 0,
    remove: (port) => {
      administer({ type: "remove", ids: [at(port).node.id] });
      members.delete(port);
    },
    lead: (port) => administer({ type: "transfer", to: at(port).node.id }),
    poke: () => {
      const nonce = new Uint8Array(16).fill(255);
      testCluster.visit(leaderPort() ?? 0).send({ ...OPEN, frameId: 1, clientId: "poke", nonce });
    },
    enqueue: (count) => {
      const texts = Array.from({ length: count }, () => `job ${nextJob++} ${"x".repeat(300)}`);
      const commands = texts.map((text) => enqueueCommand(text));
      for (const reply of session(commands)) expect(reply.type).toBe("enqueued");
      acknowledged.push(...texts);
    },
    quiet: () => {
      const written = (): string =>
        [...members]
          .map((port) => at(port).node.inspect()?.raft)
          .map((raft) => `${raft?.lastIndex} ${raft?.snapshot?.index}`)
          .join();
      for (let before = ""; before !== written();) {
        before = written();
        testCluster.pass(QUIET_MS);
      }
    },
    until,
    untilWhole: () =>
      until("all are voters that have everything", () => {
        const leader = leaderPort();
        const leading = leader === undefined ? null : raftAt(leader);
        if (leading === null || leading.configuration.voters.length !== members.size) return false;
        if (leading.configuration.outgoing.length > 0 || leading.configuration.learners.length > 0) return false;
        return [...members].every((port) => {
          const inside = at(port).node.inspect();
          return (
            inside !== null &&
            isVoter(leading.members, inside.raft.self) &&
            inside.raft.configurationIndex === leading.configurationIndex &&
            inside.queue.appliedIndex === leading.lastIndex
          );
        });
      }),
    expectEqualStates: () => {
      const digests = [...members].map((port) => checksumOf(at(port).node.inspect()!.queue));
      expect(new Set(digests).size).toBe(1);
    },
    askStatus: (port) => must(testCluster.visit(port).ask({ type: "status", linearizable: false }), "an answer"),
    expectAllThere: () => {
      const command = dequeueCommand(100, 500_000);
      const out: string[] = [];
      const rounds = Math.ceil(acknowledged.length / 100) + 1;
      for (const reply of session(Array.from({ length: rounds }, () => command))) {
        if (reply.type !== "dequeued") throw new Error(reply.type);
        for (const job of reply.jobs) out.push(new TextDecoder().decode(job.payload));
      }
      expect(out).toEqual(acknowledged);
      acknowledged.length = 0;
    },
    quarantined: (port) => {
      const names = testCluster
        .diskOf(port)
        .files()
        .filter((file) => file.startsWith("damaged-"));
      return [...new Set(names.map((file) => file.slice(0, file.indexOf("/"))))];
    },
  };
  for (const port of ports) start(port);
  until("a first leader", () => leaderPort() !== undefined);
  cluster.untilWhole();
  // So much that every disk has a snapshot and more than one segment.
  cluster.enqueue(60);
  testCluster.pass(1_500);
  return cluster;
}
