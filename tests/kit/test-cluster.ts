/**
 * Real nodes on simulated disks, clocks and a simulated network, and clients that send exactly what the test gives them: for tests of
 * what a node does and answers.
 */
import { QUEUE, SERVER } from "../../src/config.ts";
import { must } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { startNode } from "../../src/server/node.ts";
import type { MaxConnections } from "../../src/server/connection-limits.ts";
import type { LogEvent, NodeSettings, OnStopped, RunningNode } from "../../src/server/types.ts";
import { EVERYBODY, type Trust } from "../../src/wire/network.ts";
import { addressOf, nodeSettings } from "./node-settings.ts";
import { connect, type Connecting, type TestClient } from "./test-client.ts";
import { createSimDisk, type SimDisk, STEADY_DISK } from "./simulated-disk.ts";
import { createSimProcess, enterClock, enterDisk, enterNetwork, type SimProcess } from "./simulated-process.ts";
import { createSimNetwork, STEADY_NETWORK } from "./simulated-network.ts";
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

const ADMIN = { role: "admin" } as const;

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
    ...STEADY_NETWORK,
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
    const disk = disks.get(name) ?? createSimDisk(scheduler, random.fork(), { ...STEADY_DISK, operationMaxMs: diskMs });
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
    const settings = nodeSettings(port, {
      join: join.map(addressOf),
      expect,
      maxConnections,
      maxBufferedBytes,
      queueLimits,
      ...more,
    });
    const node = startNode(
      ports,
      settings,
      () => {},
      (error) => ends.push(error),
    );
    return { node, logged, stopped: () => ends[0] };
  }

  /** The node's process ends at once, without closing anything; with `wipe`, its disk is lost too. */
  function end(port: number, how: "kill" | "powerCut" | "wipe"): void {
    const name = `n${port}`;
    processes.get(name)?.end();
    if (how === "powerCut") network.powerCut(name);
    else network.kill(name);
    if (how === "powerCut") disks.get(name)?.powerCut();
    else disks.get(name)?.kill();
    if (how === "wipe") disks.delete(name);
  }

  /** From a host of that name; see `connect` in test-client.ts. */
  const connectFrom = (host: string, port: number, hello: Connecting["hello"], helloTimeoutMs?: number): TestClient =>
    connect({
      network: network.hostOf(host),
      clock,
      address: addressOf(port),
      hello,
      until,
      ...(helloTimeoutMs === undefined ? {} : { helloTimeoutMs }),
    });

  /** Connects to a node, as an administrator unless `as` is given, and waits for its answer. */
  function visit(port: number, as: Connecting["hello"] = ADMIN): TestClient {
    const testClient = connectFrom("client", port, as);
    until(() => testClient.received.length > 0 || testClient.closed.length > 0);
    return testClient;
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

  /** Every operation of that disk hangs until the returned function is called. */
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
    connect: connectFrom,
    until,
    pass: clock.pass,
    step: () => scheduler.step(),
    network,
    clock,
    events: () => scheduler.executed,
  };
}

export const isLeader = ({ node }: TestNode): boolean => node.status()?.state === "leader";
export const leaderOf = (nodes: readonly TestNode[]): TestNode | undefined => nodes.find(isLeader);
export const portOf = ({ node }: TestNode): number => Number(node.id.slice(1));
