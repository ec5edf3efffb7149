// How does a test run the compiled binary? In a world of its own: a temporary directory, free ports, processes that are
// ended by their pid when the test is over, and waits whose time-out names what they waited for.
import { test } from "bun:test";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { freePortRow, freePorts } from "../kit/free-ports.ts";
import { BINARY } from "../scripts/project.ts";

/** Beside those of the nodes that `cluster up` starts: a test may add some. */
const SPARE_PORTS = 4;

export interface Output {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface World {
  readonly directory: string;
  /** Runs `raftq` to its end, in the world's directory. */
  raftq(
    args: readonly string[],
    options?: {
      readonly input?: string;
      readonly env?: Record<string, string>;
      readonly program?: string;
      readonly timeoutMs?: number;
    },
  ): Promise<Output>;
  /** A client that is fed and read line by line. */
  pipe(args: readonly string[], onLine: (line: string, at: number) => void): Pipe;
  node(settings: NodeOptions): NodeProcess;
  /** `raftq cluster up`, detached; taken down at the end. The first port. */
  up(size: number, flags?: readonly string[]): Promise<number>;
  /** `size` founders on free ports, a leader elected. */
  cluster(size: number, flags?: readonly string[]): Promise<Cluster>;
}

export interface NodeOptions {
  readonly id: string;
  /** false: without --id. */
  readonly named?: boolean;
  readonly port: number;
  readonly join?: readonly string[];
  readonly expect?: number;
  readonly flags?: readonly string[];
}

export interface NodeProcess {
  readonly id: string;
  readonly port: number;
  readonly address: string;
  readonly data: string;
  pid(): number;
  running(): boolean;
  /** All that it ever wrote, over all its lives. */
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL, and wait. */
  kill(): Promise<void>;
  /** SIGTERM, and wait; the exit code. */
  stop(): Promise<number | null>;
  /** Again, with the same arguments, or others. */
  start(settings?: Partial<NodeOptions>): void;
  ended(): Promise<number | null>;
}

export interface Cluster {
  readonly nodes: readonly NodeProcess[];
  /** For --addr. */
  readonly addresses: string;
  leader(): Promise<NodeProcess>;
}

export interface Pipe {
  write(line: string): void;
  pid(): number;
  /** Lines written that were not answered yet. */
  waiting(): number;
  stderr(): string;
  /** Ends the input and waits for the last answer; the exit code. */
  end(): Promise<number | null>;
}

/** Generous: a machine with two busy cores is slow to start processes. */
const PATIENCE_MS = 60_000;

/** A test in a world of its own. */
export function inWorld(name: string, work: (world: World) => Promise<void>, timeoutMs = PATIENCE_MS): void {
  test(name, () => withWorld(work), timeoutMs);
}

/** Runs beside the others of its kind in the file: for tests that wait more than they work. */
export function inWorldBesideOthers(name: string, work: (world: World) => Promise<void>, timeoutMs: number): void {
  test.concurrent(name, () => withWorld(work), timeoutMs);
}

export async function withWorld(work: (world: World) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-e2e-"));
  const started = new Set<{ readonly end: () => Promise<unknown> }>();
  const nodes: NodeProcess[] = [];
  const world: World = {
    directory,
    raftq: (args, options = {}) => runToEnd(directory, args, options),
    pipe: (args, onLine) => {
      const pipe = openPipe(directory, args, onLine);
      started.add({ end: () => pipe.kill() });
      return pipe;
    },
    node: (settings) => {
      const node = createNode(directory, settings);
      nodes.push(node);
      started.add({ end: () => node.kill() });
      return node;
    },
    up: async (size, flags = []) => {
      const port = freePortRow(size + SPARE_PORTS);
      started.add({ end: () => runToEnd(directory, ["cluster", "down"], {}) });
      const args = ["cluster", "up", String(size), "--base-port", String(port), "--detach", ...flags];
      const { code, stderr } = await runToEnd(directory, args, {});
      if (code !== 0) throw new Error(`raftq ${args.join(" ")} exited with ${code}: ${stderr}`);
      return port;
    },
    cluster: async (size, flags = []) => {
      const ports = freePorts(size);
      const addresses = ports.map((port) => `127.0.0.1:${port}`);
      const founders = ports.map((port, i) =>
        world.node({ id: `n${i + 1}`, port, join: addresses, expect: size, flags }),
      );
      const cluster: Cluster = {
        nodes: founders,
        addresses: addresses.join(","),
        leader: async () => {
          const id = await waitFor(
            "a leader",
            10_000,
            async () => (await clusterStatus(world, cluster.addresses))?.leader ?? undefined,
          );
          const leader = founders.find((node) => node.id === id);
          if (leader === undefined) throw new Error(`the leader is called ${id}, which nobody started`);
          return leader;
        },
      };
      await cluster.leader();
      return cluster;
    },
  };
  try {
    await work(world);
  } catch (error) {
    for (const node of nodes) console.error(`--- log of ${node.id} (its end) ---\n${node.log().slice(-3_000)}`);
    throw error;
  } finally {
    await Promise.all([...started].map((process) => process.end()));
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface ClusterStatus {
  readonly clusterId: string | null;
  readonly leader: string | null;
  readonly term: number;
  readonly nodes: readonly {
    readonly id: string;
    readonly address: string;
    readonly state: string;
    /** Null: the node did not answer. */
    readonly term: number | null;
    readonly commitIndex: number | null;
    readonly appliedIndex: number | null;
    readonly lastIndex: number | null;
    readonly snapshotIndex: number | null;
  }[];
}

/** Null when nobody answered. */
export async function clusterStatus(world: World, addresses: string): Promise<ClusterStatus | null> {
  const { stdout } = await world.raftq(["cluster", "status", "--addr", addresses, "--json"]);
  return stdout.trim() === "" ? null : (JSON.parse(stdout) as ClusterStatus);
}

/** The first answer of `probe` that is not undefined. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms without success for ${what}`);
    await Bun.sleep(20);
  }
}

/** A number from the environment: the long runs are the short ones with larger numbers. */
export function parameter(name: string, usual: number): number {
  return Number(process.env[name] ?? usual);
}

/** The variables of the person who runs the tests must not reach the binary. */
function cleanEnvironment(more: Record<string, string> = {}): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("RAFTQ_") && name !== "BUN_OPTIONS");
  return { ...(Object.fromEntries(kept) as Record<string, string>), NO_COLOR: "1", ...more };
}

function runToEnd(
  directory: string,
  args: readonly string[],
  options: {
    readonly input?: string;
    readonly env?: Record<string, string>;
    readonly program?: string;
    readonly timeoutMs?: number;
  },
): Promise<Output> {
  const child = spawn(options.program ?? BINARY, args, {
    cwd: directory,
    env: cleanEnvironment(options.env),
    stdio: "pipe",
  });
  const timeoutMs = options.timeoutMs ?? 30_000;
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  // A program that ends early closes its input: the write then fails, which is no failure of the test.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  return new Promise((done, fail) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(new Error(`raftq ${args.join(" ")} did not end within ${timeoutMs} ms\n${stdout}\n${stderr}`));
    }, timeoutMs);
    child.once("error", fail);
    child.once("close", (code) => {
      clearTimeout(timer);
      done({ code, stdout, stderr });
    });
  });
}

function openPipe(
  directory: string,
  args: readonly string[],
  onLine: (line: string, at: number) => void,
): Pipe & { kill(): Promise<unknown> } {
  const child = spawn(BINARY, args, { cwd: directory, env: cleanEnvironment(), stdio: "pipe" });
  let stderr = "";
  let waiting = 0;
  child.stdin.on("error", () => undefined);
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  createInterface({ input: child.stdout }).on("line", (line) => {
    waiting--;
    onLine(line, performance.now());
  });
  const ended = new Promise<number | null>((done) => child.once("close", (code) => done(code)));
  return {
    write: (line) => {
      waiting++;
      child.stdin.write(`${line}\n`);
    },
    pid: () => child.pid ?? 0,
    waiting: () => waiting,
    stderr: () => stderr,
    end: () => {
      child.stdin.end();
      return ended;
    },
    kill: () => {
      child.kill("SIGKILL");
      return ended;
    },
  };
}

function createNode(directory: string, first: NodeOptions): NodeProcess {
  const logFile = join(directory, `${first.id}-${first.port}.log`);
  const data = join(directory, "data", `${first.id}-${first.port}`);
  let settings = first;
  let child: ChildProcessByStdio<Writable | null, Readable | null, Readable | null>;
  let ended: Promise<number | null>;
  const start = (): void => {
    const { id, port, join: others = [], expect, flags = [], named = true } = settings;
    const args = ["node", "--port", String(port), "--data", data, ...flags];
    if (named) args.push("--id", id);
    if (others.length > 0) args.push("--join", others.join(","));
    if (expect !== undefined) args.push("--expect", String(expect));
    mkdirSync(join(directory, "data"), { recursive: true });
    const log = openSync(logFile, "a");
    child = spawn(BINARY, args, { cwd: directory, env: cleanEnvironment(), stdio: ["ignore", log, log] });
    closeSync(log);
    ended = new Promise((done) => child.once("exit", (code) => done(code)));
  };
  start();
  const running = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    id: first.id,
    port: first.port,
    address: `127.0.0.1:${first.port}`,
    data,
    pid: () => child.pid ?? 0,
    running,
    log: () => readFileSync(logFile, "utf8"),
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      if (running()) child.kill("SIGKILL");
      await ended;
    },
    stop: () => {
      if (running()) child.kill("SIGTERM");
      return ended;
    },
    start: (changed = {}) => {
      settings = { ...settings, ...changed };
      start();
    },
    ended: () => ended,
  };
}
