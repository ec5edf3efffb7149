// Finds out whether a process is still the one that was started. Linux reuses process ids; a pid together with its start time is never reused,
// so nothing is signalled, waited for or called running unless both agree.
import { readFileSync, readlinkSync } from "node:fs";

export interface ProcessIdentity {
  readonly pid: number;
  /** Boot id and clock ticks since boot, from /proc. */
  readonly startTime: string;
}

export type ProcessState = "running" | "paused" | "gone";

interface ProcessFacts {
  readonly name: string;
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly startTime: string;
}

/** The identity of a living process; null when there is none with this pid. */
export function identify(pid: number): ProcessIdentity | null {
  const facts = inspect(pid);
  return facts === null ? null : { pid, startTime: facts.startTime };
}

export function processState(process: ProcessIdentity): ProcessState {
  const facts = inspect(process.pid);
  if (facts === null || facts.startTime !== process.startTime) return "gone";
  return facts.state === "T" || facts.state === "t" ? "paused" : "running";
}

/** Sends `signal` to exactly this process; false when it has ended. */
export function signalProcess(target: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (processState(target) === "gone") return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    // It ended between the look and the signal.
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

/**
 * The processes above this one that belong to the same job (process group): npx, a shell that runs one line, `bun run`. An
 * interactive shell has a group of its own. A script's shell has not; when it put the job into the background (which gives it
 * /dev/null to read) it may end before the job does, so it is left out then.
 */
export function ancestorsInJob(): readonly ProcessIdentity[] {
  const own = inspect(process.pid);
  const ancestors: (ProcessIdentity & { readonly name: string })[] = [];
  for (let pid = own?.parent ?? 0; pid > 1;) {
    const facts = inspect(pid);
    if (facts === null || facts.group !== own?.group) break;
    ancestors.push({ pid, startTime: facts.startTime, name: facts.name });
    pid = facts.parent;
  }
  const isBackground = readsNothing();
  while (isBackground && SHELLS.has(ancestors.at(-1)?.name ?? "")) ancestors.pop();
  return ancestors;
}

const SHELLS: ReadonlySet<string> = new Set(["sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "zsh"]);

function readsNothing(): boolean {
  try {
    return readlinkSync("/proc/self/fd/0") === "/dev/null";
  } catch {
    // Closed: nothing to read either.
    return true;
  }
}

/** Calls `gone` once when one of the processes that this one runs under has ended; the answer stops the watch. */
export function watchAncestors(everyMs: number, gone: (pid: number) => void): () => void {
  const ancestors = ancestorsInJob();
  const timer = setInterval(() => {
    const ended = ancestors.find((ancestor) => processState(ancestor) === "gone");
    if (ended === undefined) return;
    clearInterval(timer);
    gone(ended.pid);
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

function inspect(pid: number): ProcessFacts | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    // No such process (or no /proc, where raftq does not supervise).
    return null;
  }
  // The name in parentheses may itself hold spaces and parentheses; the fields of proc(5) go on after the last one.
  const nameEnd = text.lastIndexOf(")");
  const name = text.slice(text.indexOf("(") + 1, nameEnd);
  const fields = text.slice(nameEnd + 2).split(" ");
  const [state = "", parent = "", group = ""] = fields;
  // A zombie has ended; only its parent has not looked yet.
  if (state === "Z" || state === "X") return null;
  return { name, state, parent: Number(parent), group: Number(group), startTime: `${bootId()}:${fields[19] ?? ""}` };
}

let knownBootId: string | null = null;
function bootId(): string {
  knownBootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim().slice(0, 8);
  return knownBootId;
}
