// How are the servers started, ended and accounted for? By process id only, children included; none outlives this program.
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";

/** utime and stime in /proc count hundredths of a second. */
const MICROS_PER_TICK = 10_000;
/** Characters of a log that show why a process died. */
const LAST_WORDS = 300;

export interface ServerProcess {
  readonly directory: string;
  start(): void;
  /** SIGKILL to it and all that it started; resolves when it is gone. */
  kill(): Promise<void>;
  /** Its processes that live now, parents first; none: it ended, or did not start. */
  pids(): readonly number[];
  /** The end of what it wrote. */
  lastWords(): string;
}

const running = new Set<ServerProcess>();

/** For the end of this program, which waits for nothing. */
export function killEverything(): void {
  for (const server of running) killPids(server.pids());
}

export function serverProcess(
  command: readonly string[],
  directory: string,
  environment: Readonly<Record<string, string>> = {},
): ServerProcess {
  mkdirSync(directory, { recursive: true });
  const [program = "", ...args] = command;
  const logFile = `${directory}.log`;
  let child: ChildProcess | null = null;
  let ended: Promise<void> = Promise.resolve();
  const isAlive = (): boolean => child !== null && child.exitCode === null && child.signalCode === null;
  const server: ServerProcess = {
    directory,
    start: () => {
      const log = openSync(logFile, "a");
      const env = { PATH: process.env["PATH"] ?? "", HOME: directory, LANG: "C.UTF-8", ...environment };
      const started = spawn(program, args, { cwd: directory, env, stdio: ["ignore", log, log] });
      closeSync(log);
      child = started;
      ended = new Promise((done) => {
        started.once("exit", () => done());
        started.once("error", () => done());
      });
      running.add(server);
    },
    kill: async () => {
      if (isAlive()) killPids(server.pids());
      await ended;
      running.delete(server);
    },
    lastWords: () => readFileSync(logFile, "utf8").slice(-LAST_WORDS).trim(),
    pids: () => (isAlive() && child?.pid !== undefined ? family(child.pid) : []),
  };
  return server;
}

/** A process and its descendants; any thread may have started some. */
function family(pid: number): readonly number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8").trim();
      return text === "" ? [] : text.split(" ").map(Number);
    });
    return [pid, ...children.flatMap(family)];
  } catch {
    return []; // gone meanwhile
  }
}

/** Children first, so that none is adopted by another process and lost to us. */
function killPids(pids: readonly number[]): void {
  for (const pid of pids.toReversed()) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // gone meanwhile
    }
  }
}

/** User and system time of all of them so far, in microseconds. */
export function cpuMicros(servers: readonly ServerProcess[]): number {
  let ticks = 0;
  for (const pid of servers.flatMap((server) => server.pids())) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // gone meanwhile
    }
  }
  return ticks * MICROS_PER_TICK;
}

/** Busy time of all cores so far, in microseconds: waiting for disks is not counted. */
export function machineMicros(): number {
  const [first = ""] = readFileSync("/proc/stat", "latin1").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = first.trim().split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softIrq) * MICROS_PER_TICK;
}
