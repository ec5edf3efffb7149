/**
 * Real nodes on simulated disks, clocks and a simulated network, and clients that send exactly what the test says: for tests of what a
 * node does and answers.
 */
import { QUEUE, RAFT, SERVER, WIRE } from "../../src/config.ts";
import { must } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { startNode } from "../../src/server/node.ts";
import type { MaxConnections } from "../../src/server/connection-limits.ts";
import type { LogEvent, NodeSettings, OnStopped, RunningNode } from "../../src/server/types.ts";
import { type Connection, type Message, openConnection } from "../../src/wire/connection.ts";
import type { Hello } from "../../src/wire/protocol.ts";
import { EVERYBODY, type Trust } from "../../src/wire/network.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { createSimDisk, type SimDisk } from "./simulated-disk.ts";
import { createSimProcess, enterClock, enterDisk, enterNetwork, type SimProcess } from "./simulated-process.ts";
import { createSimNetwork } from "./simulated-network.ts";
import { createScheduler, passUntil } from "./scheduler.ts";
import { createTestClock } from "./simulated-clock.ts";

type End = Parameters<OnStopped>[0];

export type TestCluster = ReturnType<typeof createTestCluster>;

export interface TestNode {
  readonly node: RunningNode;
  readonly logged: readonly LogEvent[];
  /** Undefined while it runs. */
  readonly stopped: () => End | undefined;
}

export interface TestClient {
  send(message: Message): void;
  /** Ends the connection without a word, as a killed process does. */
  close(): void;
  readonly received: Message[];
  readonly closed: (Failure | null)[];
}

const ADMIN = { role: "admin", node: null, clusterId: null } as const;

/** Where these nodes differ from real ones. */
interface Lacking {
  readonly trust?: (self: string, other: string) => Trust;
  readonly maxConnections?: MaxConnections;
  readonly maxBufferedBytes?: number;
  readonly queueLimits?: QueueLimits;
}

export function createTestCluster(
  seed = 1,
  diskMs = 1,
  {
    trust = () => EVERYBODY,
    maxConnections = SERVER.maxConnections,
    maxBufferedBytes = SERVER.maxBufferedBytes,
    queueLimits = QUEUE,
  }: Lacking = {},
) {
  const scheduler = createScheduler();
  const random = seededRandom(seed);
  const network = createSimNetwork(scheduler, random.fork(), {
    delayMinMs: 0,
    delayMaxMs: 1,
    dialLossPercent: 0,
    trust,
  });
  const disks = new Map<string, SimDisk>();
  const processes = new Map<string, SimProcess>();
  const clock = createTestClock(scheduler);

  /** Runs until `done`, or fails after `limitMs` of virtual time. */
  function until(done: () => boolean, limitMs = 10_000): void {
    if (!passUntil(scheduler, done, limitMs))
      throw new Error(`this did not happen within ${limitMs}ms of virtual time`);
  }

  function start(
    port: number,
    join: readonly number[] = [],
    expect: number | null = null,
    more: Partial<NodeSettings> = {},
  ): TestNode {
    const name = `n${port}`;
    const disk =
      disks.get(name) ??
      createSimDisk(scheduler, random.fork(), { operationMaxMs: diskMs, slowSyncPercent: 0, slowSyncMaxMs: 1 });
    disks.set(name, disk);
    const logged: LogEvent[] = [];
    const ends: End[] = [];
    const process = createSimProcess({
      afterEach: () => {},
      threw: (error) => {
        throw error;
      },
    });
    processes.set(name, process);
    const ports = {
      disk: enterDisk(disk.restart(), process),
      network: enterNetwork(network.hostOf(name), process, () => {}),
      clock: enterClock(clock, process),
      random: random.fork(),
      log: (line: LogEvent) => void logged.push(line),
      residentBytes: () => 1,
    };
    const settings = {
      id: name as NodeId,
      host: "127.0.0.1",
      port,
      advertise: `127.0.0.1:${port}`,
      join: join.map((other) => `127.0.0.1:${other}`),
      expect,
      heartbeatMs: 50,
      electionMinMs: 300,
      electionMaxMs: 600,
      segmentBytes: 64 * 1024,
      compactMinBytes: 1024 * 1024,
      compactFactor: 1,
      keepLogBytes: 64 * 1024,
      maxAppendBytes: RAFT.maxAppendBytes,
      maxInflightMessages: RAFT.maxInflightMessages,
      maxUncommittedBytes: RAFT.maxUncommittedBytes,
      queueLimits,
      maxConnections,
      maxBufferedBytes,
      maxAppliedPerTurn: SERVER.maxAppliedPerTurn,
      ...more,
    };
    const node = startNode(
      ports,
      settings,
      () => {},
      (error) => ends.push(error),
    );
    return { node, logged, stopped: () => ends[0] };
  }

  /** The node's process ends without a word; with `wipe`, its disk is lost too. */
  function end(port: number, how: "kill" | "powerCut" | "wipe"): void {
    const name = `n${port}`;
    processes.get(name)?.end();
    if (how === "powerCut") network.powerCut(name);
    else network.kill(name);
    if (how === "powerCut") disks.get(name)?.powerCut();
    else disks.get(name)?.kill();
    if (how === "wipe") disks.delete(name);
  }

  function visit(
    port: number,
    as: Pick<Hello, "role" | "node" | "clusterId"> & Partial<Pick<Hello, "features">> = ADMIN,
  ): TestClient {
    const received: Message[] = [];
    const closed: (Failure | null)[] = [];
    let connection: Connection | null = null;
    network.hostOf("client").dial(`127.0.0.1:${port}`, 1_000, (result) => {
      if (!result.ok) throw new Error(result.why);
      connection = openConnection({
        stream: result.stream,
        clock,
        limits: WIRE,
        side: "dialed",
        // What is kept of a message must be copied: its bytes are a view.
        onMessage: (message) => received.push(structuredClone(message)),
        onClosed: (why) => closed.push(why),
      });
      connection.send({
        type: "hello",
        version: WIRE.protocolVersion,
        features: [],
        ...as,
      });
      connection.flush();
    });
    until(() => received.length > 0 || closed.length > 0);
    return {
      received,
      closed,
      send: (message) => {
        const open = must<Connection>(connection, "the client's connection");
        open.send(message);
        open.flush();
      },
      close: () => must<Connection>(connection, "the client's connection").close(null),
    };
  }

  /** The `nth` write of that node's disk from now on fails. */
  const failWrite = (port: number, nth: number): void => disks.get(`n${port}`)?.fail("write", nth);
  const failRead = (port: number, nth: number): void => disks.get(`n${port}`)?.fail("read", nth);

  /** That node's disk, to be damaged while it is down. */
  const diskOf = (port: number): SimDisk => must(disks.get(`n${port}`), `a disk of n${port}`);

  /** The next file that node makes fails: its quota is used up. */
  const failCreate = (port: number): void => disks.get(`n${port}`)?.fail("create", 1, "EDQUOT");
  /** From now on only so many bytes more fit on that node's disk. */
  const leave = (port: number, freeBytes: number): void => disks.get(`n${port}`)?.leave(freeBytes);
  /** The node's process stands still (SIGSTOP) until the returned function is called. */
  function pause(port: number): () => void {
    const process = must(processes.get(`n${port}`), `a process of n${port}`);
    process.pause();
    network.pause(`n${port}`);
    return () => {
      process.resume();
      network.resume(`n${port}`);
    };
  }

  /** Everything that disk is told to do hangs until the returned function is called. */
  const hang = (port: number): (() => void) => diskOf(port).hang();

  return {
    start,
    end,
    pause,
    hang,
    failWrite,
    diskOf,
    failRead,
    failCreate,
    leave,
    visit,
    until,
    pass: clock.pass,
    step: () => scheduler.step(),
    network,
    clock,
    events: () => scheduler.executed,
  };
}
