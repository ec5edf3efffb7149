// What is one node of a torture run? A process of the compiled binary at a place of its own, on a disk of its own, that is
// started, killed, stopped and healed; and what it owes its operator meanwhile: no exit that nobody caused.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SUPERVISED } from "../../src/cluster/program.ts";
import type { NodeStatus } from "../../src/wire/protocol.ts";
import type { NodeDisk } from "./disk.ts";

export interface Site {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** What to write before a command so that it runs at this node's place. */
  readonly enter: readonly string[];
  readonly disk: NodeDisk;
}

export interface TortureNode extends Site {
  readonly address: string;
  /** A nemesis has it in hand. */
  claimed: boolean;
  /** Why it cannot be expected to serve: by nemesis. */
  readonly flaws: Set<string>;
  /** `lost`: its disk was damaged, and it is no voter again yet. `outside`: removed from the cluster. */
  standing: "member" | "lost" | "outside";
  /** Set: it may exit with a named error, for this reason. */
  mayExit: string | null;
  /** The status that it last reported in this life; null: none yet. */
  status: NodeStatus | null;
  running(): boolean;
  pid(): number;
  start(how?: Start): void;
  signal(signal: NodeJS.Signals): void;
  kill(): Promise<void>;
  /** SIGTERM; SIGKILL after ten seconds. */
  stop(): Promise<void>;
  wipe(): void;
  /** The exit code of the present life; null: still running, or ended by a signal. */
  exitCode(): number | null;
  log(): string;
}

export interface Start {
  readonly binary?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** As an operator would after the disk was lost: join the others, found nothing. */
  readonly joinOnly?: boolean;
}

export interface NodePlan {
  readonly binary: string;
  readonly founders: readonly string[];
  readonly logs: string;
  /** The node exits when the harness does: where no namespace sees to that. */
  readonly supervised: boolean;
  readonly onExit: (node: TortureNode, code: number | null, signal: string | null) => void;
}

const STOP_MS = 10_000;

export function createTortureNode(site: Site, plan: NodePlan): TortureNode {
  const address = `${site.host}:${site.port}`;
  const logFile = join(plan.logs, `${site.id}.log`);
  let child: ChildProcess | null = null;
  let ended: Promise<unknown> = Promise.resolve();
  let isOurDoing = false;
  const running = (): boolean => child !== null && child.exitCode === null && child.signalCode === null;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    isOurDoing = true;
    node.status = null;
    if (running()) child?.kill(signal);
    const timer = setTimeout(() => child?.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
  };
  const node: TortureNode = {
    ...site,
    address,
    claimed: false,
    flaws: new Set(),
    standing: "member",
    mayExit: null,
    status: null,
    running,
    pid: () => child?.pid ?? 0,
    exitCode: () => child?.exitCode ?? null,
    log: () => readFileSync(logFile, "utf8"),
    start: (how = {}) => {
      if (running()) throw new Error(`${site.id} runs already`);
      const command = [...site.enter, how.binary ?? plan.binary, ...nodeArguments(site, address, plan, how)];
      const [program = "", ...args] = command;
      const log = openSync(logFile, "a");
      const stdin = plan.supervised ? "pipe" : "ignore";
      const env = { ...environment(), ...how.env, ...(plan.supervised ? { [SUPERVISED.name]: SUPERVISED.value } : {}) };
      const started = spawn(program, args, { stdio: [stdin, log, log], env });
      closeSync(log);
      child = started;
      isOurDoing = false;
      node.status = null;
      ended = new Promise((done) => {
        started.once("exit", (code, signal) => {
          node.status = null;
          if (!isOurDoing) plan.onExit(node, code, signal);
          done(null);
        });
      });
    },
    signal: (signal) => void child?.kill(signal),
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    wipe: () => rmSync(site.disk.data, { recursive: true, force: true }),
  };
  return node;
}

/** All flags of a node: what a later version demands (a secret, a certificate) is added here. */
function nodeArguments(site: Site, address: string, plan: NodePlan, how: Start): readonly string[] {
  const args = ["node", "--id", site.id, "--host", site.host, "--port", String(site.port), "--data", site.disk.data];
  if (!site.host.startsWith("127.")) args.push("--insecure");
  if (how.joinOnly !== true)
    return [...args, "--join", plan.founders.join(","), "--expect", String(plan.founders.length)];
  return [...args, "--join", plan.founders.filter((founder) => founder !== address).join(",")];
}

/** The variables of the person who runs the tests must not reach the binary. */
function environment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("RAFTQ_") && name !== "BUN_OPTIONS");
  return { ...(Object.fromEntries(kept) as Record<string, string>), NO_COLOR: "1" };
}

/** It serves: it is a voter, and nothing was done to it. */
export function isHealthy(node: TortureNode): boolean {
  if (!node.running() || node.flaws.size > 0 || node.standing !== "member") return false;
  const state = node.status?.state;
  return state === "leader" || state === "follower" || state === "candidate";
}
