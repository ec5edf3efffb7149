// Who may use a data directory? One process. Each claimant first puts its own name into LOCK/, then looks who else is there:
// of two that come at once, the one that looks later sees both, so never do both get it (at worst both are refused).
import fs from "node:fs";
import { join } from "node:path";
import { RaftqError } from "../lib/errors.ts";

const LOCK_DIRECTORY = "LOCK";
/** Process id, start time, and the boot that the start time counts from. */
const CLAIM = /^(\d+)-(\d+-[0-9a-f]+)$/;
const BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id";
const BOOT_DIGITS = 8;
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** Takes the lock and gives its release. Throws LOCKED, naming the holder's process id. */
export function takeLock(directory: string, ownPid: number): () => void {
  const claims = join(directory, LOCK_DIRECTORY);
  const claim = `${ownPid}-${startOf(ownPid) ?? `0-${bootId()}`}`;
  const path = join(claims, claim);
  fs.mkdirSync(claims, { recursive: true, mode: DIRECTORY_MODE });
  try {
    fs.closeSync(fs.openSync(path, "wx", FILE_MODE));
  } catch (error) {
    // A name is never used twice: the start time tells a reused process id apart.
    if (fs.existsSync(path)) throw lockedBy(directory, ownPid);
    throw error;
  }
  for (const other of fs.readdirSync(claims)) {
    const pid = other === claim ? null : holderOf(other);
    if (pid !== null) {
      fs.unlinkSync(path);
      throw lockedBy(directory, pid);
    }
    if (other !== claim) fs.rmSync(join(claims, other), { force: true });
  }
  return () => leave(path);
}

/** A claim that a failed disk does not let go of may stay: it counts only as long as its process lives. */
function leave(path: string): void {
  try {
    fs.unlinkSync(path);
  } catch {
    // What made the node stop is the news, not this.
  }
}

function lockedBy(directory: string, pid: number): RaftqError {
  return new RaftqError("LOCKED", `${directory} is in use by process ${pid}`);
}

/** The process id of a claim whose process still runs; null when it ended, also if another process has its id now. */
function holderOf(claim: string): number | null {
  const match = CLAIM.exec(claim);
  if (match === null) return null;
  const pid = Number(match[1]);
  return startOf(pid) === match[2] ? pid : null;
}

/** Which boot, and clock ticks from it to the start of a process; null when it does not run (any more). */
function startOf(pid: number): string | null {
  let stat: string;
  try {
    stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The second field is the program's name in parentheses and may hold anything: the rest begins behind the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  // A zombie holds nothing once all its threads are gone; until then one of them may still be writing.
  if (state === "X" || (state === "Z" && threadsOf(pid) <= 1)) return null;
  return `${fields[19]}-${bootId()}`;
}

function bootId(): string {
  return fs.readFileSync(BOOT_ID_PATH, "utf8").slice(0, BOOT_DIGITS);
}

function threadsOf(pid: number): number {
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}
