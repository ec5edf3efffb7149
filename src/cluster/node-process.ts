// Starts, watches and ends one node process. It runs in its own session, writes to its own log file, and its
// standard input is a pipe that the supervisor holds: when the supervisor ends, however it ends, the node reads the end of that pipe and
// stops gracefully.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import { CLUSTER } from "../config.ts";
import { childEnvironment, SUPERVISED } from "./program.ts";
import { identify, type ProcessIdentity, type ProcessState, processState, signalProcess } from "./processes.ts";

/** How a process ended, and what it last wrote: for a person who asks why. The control socket reports it as it stands here. */
export const NODE_END = v.pipe(
  v.strictObject({
    code: v.nullable(v.number()),
    signal: v.nullable(v.string()),
    // Unix milliseconds.
    at: v.number(),
    lastLines: v.pipe(v.array(v.string()), v.readonly()),
  }),
  v.readonly(),
);
export type NodeEnd = v.InferOutput<typeof NODE_END>;

export interface NodeProcess {
  readonly identity: ProcessIdentity;
  state(): ProcessState;
  /** SIGTERM, to be called `timeoutMs` before SIGKILL; resolves when the process has ended. A paused process is woken to obey. */
  stop(timeoutMs: number): Promise<void>;
  /** SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
}

export interface NodeLaunch {
  readonly program: readonly string[];
  readonly arguments: readonly string[];
  readonly logFile: string;
  /** Called once, after `stop` or `kill` too. `expected`: we ended it. */
  readonly onEnd: (end: NodeEnd, expected: boolean) => void;
}

/** Throws when the program cannot be started at all. */
export function launchNode(launch: NodeLaunch): NodeProcess {
  const [command = "", ...programArguments] = launch.program;
  const log = openLog(launch.logFile);
  const startOfLog = fstatSync(log).size;
  const child = spawn(command, [...programArguments, ...launch.arguments], {
    detached: true,
    stdio: ["pipe", log, log],
    env: childEnvironment(process.env, { [SUPERVISED.name]: SUPERVISED.value }),
  });
  closeSync(log);
  let expected = false;
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      launch.onEnd({ code: null, signal: null, at: Date.now(), lastLines: [error.message] }, expected);
      resolve();
    });
    child.once("exit", (code, signal) => {
      const lastLines = lastLogLines(launch.logFile, startOfLog);
      launch.onEnd({ code, signal, at: Date.now(), lastLines }, expected);
      resolve();
    });
  });
  const identity = identityOf(child);
  const state = (): ProcessState => (hasEnded(child) ? "gone" : processState(identity));
  const isAlive = (): boolean => state() !== "gone";

  return {
    identity,
    state,
    stop: async (timeoutMs) => {
      // What had ended before it was asked to did so by itself, even if that was not reported yet.
      expected ||= isAlive();
      signalProcess(identity, "SIGTERM");
      signalProcess(identity, "SIGCONT");
      const timer = setTimeout(() => signalProcess(identity, "SIGKILL"), timeoutMs);
      await ended;
      clearTimeout(timer);
    },
    kill: () => {
      expected ||= isAlive();
      signalProcess(identity, "SIGKILL");
      return ended;
    },
    signal: (signal) => {
      signalProcess(identity, signal);
    },
  };
}

/** The last lines that a process wrote to `file`, none of an earlier process that ended before byte `from`. */
export function lastLogLines(file: string, from = 0): readonly string[] {
  let log: number;
  try {
    log = openSync(file, "r");
  } catch {
    return [];
  }
  const { size } = fstatSync(log);
  const start = Math.max(from, size - CLUSTER.lastLogBytes);
  const bytes = new Uint8Array(Math.max(0, size - start));
  const length = readSync(log, bytes, 0, bytes.length, start);
  closeSync(log);
  const lines = new TextDecoder().decode(bytes.subarray(0, length)).split("\n");
  return lines.filter((line) => line.trim() !== "").slice(-CLUSTER.lastLogLines);
}

function openLog(file: string): number {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const log = openSync(file, "a", 0o600);
  if (fstatSync(log).size <= CLUSTER.maxLogFileBytes) return log;
  closeSync(log);
  renameSync(file, `${file}.1`);
  return openSync(file, "a", 0o600);
}

/** A process that ended within this very moment has no start time any more; its pid alone then identifies no process. */
function identityOf(child: ChildProcess): ProcessIdentity {
  const pid = child.pid ?? 0;
  return (pid > 0 ? identify(pid) : null) ?? { pid, startTime: "" };
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
