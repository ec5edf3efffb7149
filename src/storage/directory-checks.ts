// Makes a directory and checks that it can be used: writable, private to this user, on a disk of this machine.
import fs from "node:fs";
import { dirname, join, resolve } from "node:path";
import { RaftqError } from "../lib/errors.ts";

export const PRIVATE_DIRECTORY_MODE = 0o700;
export const PRIVATE_FILE_MODE = 0o600;
const OTHERS = 0o077;
const ROOT = 0;
/** Any of these in it, and the directory holds a node's data. */
const OUR_NAMES = ["meta", "g0"] as const;

/** Makes the directory, unless it exists, with all above it. Throws UNWRITABLE, NOT_PRIVATE or NOT_A_DIRECTORY. */
export function prepareDirectory(directory: string, ownUser: number | undefined): void {
  try {
    const firstCreated = fs.mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
    if (firstCreated !== undefined) syncNames(resolve(directory), dirname(resolve(firstCreated)));
    requirePrivate(
      directory,
      ownUser,
      OUR_NAMES.some((name) => fs.existsSync(join(directory, name))),
    );
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    if (error instanceof RaftqError) throw error;
    const file = fileOnTheWayTo(directory);
    if (file !== null) throw new RaftqError("NOT_A_DIRECTORY", notADirectory(directory, file), error);
    const what = error instanceof Error ? error.message : String(error);
    throw new RaftqError("UNWRITABLE", `the data directory ${directory} cannot be written: ${what}`, error);
  }
}

/** The file that stands where `directory`, or a directory above it, should be. */
function fileOnTheWayTo(directory: string): string | null {
  const found = isDirectory(directory);
  if (found !== null) return found ? null : directory;
  return dirname(directory) === directory ? null : fileOnTheWayTo(dirname(directory));
}

/** null: it is not there, or cannot be seen. */
function isDirectory(path: string): boolean | null {
  try {
    return fs.statSync(path).isDirectory();
  } catch {
    return null;
  }
}

const notADirectory = (directory: string, file: string): string =>
  file === directory
    ? `--data ${directory} is a file, not a directory`
    : `--data ${directory} cannot be made, because ${file} is a file, not a directory`;

/** Makes the names of new directories durable, from `directory` up to the one that was there before. */
function syncNames(directory: string, existing: string): void {
  for (let at = directory; at !== existing;) {
    at = dirname(at);
    const descriptor = fs.openSync(at, "r");
    fs.fsyncSync(descriptor);
    fs.closeSync(descriptor);
  }
}

/**
 * Throws NOT_PRIVATE: another user who owns the directory, or may look into it, could change or read the jobs in it. It must exist. One
 * that holds nothing of ours yet (a fresh mount, made with the usual 0755) is closed to others; one that does hold our data and stood
 * open is refused, because it is not known what happened to it meanwhile.
 */
export function requirePrivate(directory: string, ownUser: number | undefined, holdsOurs: boolean): void {
  requireOwn(directory, ownUser);
  const mode = fs.statSync(directory).mode & 0o777;
  if ((mode & OTHERS) === 0) return;
  if (!holdsOurs) return fs.chmodSync(directory, PRIVATE_DIRECTORY_MODE);
  throw new RaftqError(
    "NOT_PRIVATE",
    `${directory} is open to other users (mode ${mode.toString(8)}); if nobody else used that, close it: chmod 700 ${directory}.`,
  );
}

/** Throws NOT_PRIVATE for a symbolic link, and for a directory of another user. `ownUser`: undefined where users have no number. */
export function requireOwn(directory: string, ownUser: number | undefined): void {
  // Without a slash at its end, which would look behind the link.
  const found = fs.lstatSync(resolve(directory));
  // A link would let another user choose where the data goes.
  if (found.isSymbolicLink())
    throw new RaftqError("NOT_PRIVATE", `${directory} is a symbolic link; give the directory itself.`);
  if (!found.isDirectory()) throw new RaftqError("UNWRITABLE", `${directory} is not a directory`);
  if (ownUser === undefined || found.uid === ownUser || found.uid === ROOT) return;
  throw new RaftqError(
    "NOT_PRIVATE",
    `${directory} belongs to user ${found.uid}, and this process runs as user ${ownUser}: its owner can change what is in it.`,
  );
}

/**
 * File systems that other machines may have mounted too, by their numbers in statfs(2): their locks may not reach those machines, and
 * what is written there may be durable only on the other side. FUSE and 9P count: what is behind them cannot be known.
 */
const REMOTE_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xfe534d42, "SMB"],
  [0xff534d42, "CIFS"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x00c36400, "Ceph"],
  [0x01021997, "9P"],
  [0x65735546, "FUSE"],
  [0x0bd00bd0, "Lustre"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
  [0x19830326, "BeeGFS"],
  [0x47504653, "GPFS"],
  [0x20030528, "OrangeFS"],
  [0x786f4256, "VirtualBox shared folder"],
  [0xbacbacbc, "VMware shared folder"],
]);

/** Throws NETWORK_DISK for a directory on one of them, unless that was allowed: a lock may not reach every machine that could use it. */
export function requireLocal(directory: string, allowed: boolean): void {
  const name = allowed ? null : remoteFileSystem(fs.statfsSync(directory).type);
  if (name === null) return;
  throw new RaftqError(
    "NETWORK_DISK",
    `${directory} is on a file system that other machines may use too (${name}): two nodes could use it at once, and what is written there may not be durable`,
  );
}

/** By its number in statfs(2); null for one that only this machine uses. */
export function remoteFileSystem(type: number): string | null {
  // Some runtimes give numbers from 2^31 on as negative ones.
  return REMOTE_FILE_SYSTEMS.get(type >>> 0) ?? null;
}
