// How does raftq compare with what one would take instead? The same work on each system that is on this machine, one after
// the other, each with the machine to itself: `bun run bench --peers`.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeStderr } from "../../scripts/project.ts";
import { startCeiling } from "./ceiling.ts";
import { fill, measureWindow, type Task, type Window } from "./closed-loop.ts";
import { type Durability, Late, type Peer, pause, type System, within } from "./peer.ts";
import type { Plan } from "./plan.ts";
import { killEverything } from "./processes.ts";
import { measureSilence, type Silence } from "./silence.ts";
import { coldStart, stopAll } from "./start.ts";
import { CEILING, CEILING_SETTING, missing, SYSTEMS, versionOf } from "./systems.ts";

export interface Measured {
  readonly name: string;
  readonly version: string;
  /** null: the ceiling, which is no system. */
  readonly durability: Durability | null;
  readonly setting: string;
  readonly windows: readonly Window[];
  readonly silences: readonly Silence[];
}

export interface Comparison {
  readonly measured: readonly Measured[];
  /** What was not measured, and why. */
  readonly leftOut: readonly string[];
}

/** Each step has its limit, so that a system that hangs costs a minute and not the run. */
const STEP_LIMIT_MS = 60_000;
const SILENCE_LIMIT_MS = 180_000;
const SETTLE_MS = 2_000;
/** Half of the systems compile while they run: ZooKeeper is four times as fast after ten seconds of work as after two. */
const WARM_UP: Task = { work: "pairs", inFlight: 256, size: 16, seconds: 10 };
/** Messages that a dequeue window needs beyond those it is expected to take. */
const SPARE = 1.3;
const MOST_STORED = 400_000;
const LEAST_RATE = 2_000;

/** `only`: names of systems, the ceiling among them; null: all. */
export async function compare(plan: Plan, only: readonly string[] | null): Promise<Comparison> {
  if (!existsSync("/proc/self/stat")) throw new Error("bench --peers reads CPU times from /proc: it needs Linux.");
  const directory = mkdtempSync(join(tmpdir(), "raftq-peers-"));
  const cleanUp = (): void => {
    killEverything();
    rmSync(directory, { recursive: true, force: true });
  };
  const interrupted = (): void => process.exit(130);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  process.on("exit", cleanUp);
  for (const signal of signals) process.on(signal, interrupted);
  try {
    return await compareIn(directory, plan, only);
  } finally {
    for (const signal of signals) process.off(signal, interrupted);
    process.off("exit", cleanUp);
    cleanUp();
  }
}

async function compareIn(directory: string, plan: Plan, only: readonly string[] | null): Promise<Comparison> {
  const isWanted = (name: string): boolean => only === null || only.includes(name);
  const measured: Measured[] = [];
  const leftOut: string[] = [];
  const leave = (what: string, why: unknown): void => {
    leftOut.push(`${what}: ${why instanceof Error ? why.message : String(why)}`);
    writeStderr(`LEFT OUT ${leftOut.at(-1)}`);
  };
  if (isWanted(CEILING)) measured.push(await ceiling(join(directory, CEILING), plan, leave));
  for (const system of SYSTEMS.filter(({ name }) => isWanted(name))) {
    const packageName = missing(system);
    if (packageName === null) measured.push(await measure(system, join(directory, system.name), plan, leave));
    else leave(system.name, `not installed; on Debian: apt-get install ${packageName}`);
    rmSync(join(directory, system.name), { recursive: true, force: true });
  }
  return { measured, leftOut };
}

type Leave = (what: string, why: unknown) => void;
const nameOf = ({ work, size, inFlight }: Task): string => `${work}, ${size} B, ${inFlight} in flight`;

async function ceiling(directory: string, plan: Plan, leave: Leave): Promise<Measured> {
  const version = `Bun ${Bun.version}`;
  writeStderr(`${CEILING} ${version}`);
  const windows: Window[] = [];
  try {
    const { measure: measureTask, stop } = await startCeiling(directory);
    try {
      await within(STEP_LIMIT_MS, "warming up", measureTask(WARM_UP));
      for (const task of plan.tasks.filter(({ work }) => work === "enqueue")) {
        windows.push(reported(CEILING, await within(STEP_LIMIT_MS, nameOf(task), measureTask(task))));
      }
    } finally {
      await stop();
    }
  } catch (error) {
    leave(CEILING, error);
  }
  return { name: CEILING, version, durability: null, setting: CEILING_SETTING, windows, silences: [] };
}

async function measure(system: System, directory: string, plan: Plan, leave: Leave): Promise<Measured> {
  const { name, durability, setting } = system;
  const version = versionOf(system);
  writeStderr(`${name} ${version}`);
  const silences: Silence[] = [];
  const windows: Window[] = [];
  try {
    const { peer } = await coldStart(system, directory);
    try {
      await pause(SETTLE_MS);
      await within(STEP_LIMIT_MS, "warming up", measureWindow(peer, WARM_UP));
      await measureWindows(name, peer, plan.tasks, windows, leave);
    } finally {
      await stopAll(peer);
    }
    // A system of one node has nobody who takes over.
    const kills = peer.nodes.length > 1 ? plan.kills : 0;
    for (let i = 0; i < kills; i++) {
      const silence = await within(SILENCE_LIMIT_MS, "kill of the leader", measureSilence(system, directory));
      silences.push(silence);
      writeStderr(`  ${JSON.stringify(silence)}`);
    }
  } catch (error) {
    leave(name, error);
  }
  return { name, version, durability, setting, windows, silences };
}

async function measureWindows(
  name: string,
  peer: Peer,
  tasks: readonly Task[],
  windows: Window[],
  leave: Leave,
): Promise<void> {
  let enqueueRate = LEAST_RATE;
  for (const task of tasks) {
    try {
      if (task.work !== "dequeue") await within(STEP_LIMIT_MS, "emptying the queue", peer.clear());
      else await within(STEP_LIMIT_MS, "filling the queue", fillFor(peer, task, enqueueRate));
      const window = await within(STEP_LIMIT_MS, nameOf(task), measureWindow(peer, task));
      if (task.work === "enqueue") enqueueRate = Math.max(LEAST_RATE, window.rate);
      windows.push(reported(name, window));
    } catch (error) {
      // What hangs would hang again, and its leftovers would disturb the next window.
      if (error instanceof Late) throw error;
      leave(`${name}, ${nameOf(task)}`, error);
    }
  }
}

async function fillFor(peer: Peer, { seconds, size }: Task, expectedRate: number): Promise<void> {
  const wanted = Math.min(MOST_STORED, Math.ceil(expectedRate * (seconds + 0.5) * SPARE));
  const stored = await peer.depth();
  if (stored < wanted) await fill(peer, wanted - stored, size);
}

function reported(name: string, window: Window): Window {
  const { rate, p50Ms, p99Ms, serverMicros, failures, otherCores } = window;
  const figures = `${rate.toFixed(0)}/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, servers ${serverMicros.toFixed(1)} µs/op`;
  writeStderr(
    `  ${name}, ${nameOf(window)}: ${figures}, ${failures} failures, others used ${otherCores.toFixed(2)} cores`,
  );
  return window;
}
