// Is a directory ours alone? Somebody else who owns it, or may look into it, could change or read the jobs that we keep there.
import fs from "node:fs";
import { resolve } from "node:path";
import { RaftqError } from "../lib/errors.ts";

export const PRIVATE_DIRECTORY_MODE = 0o700;
const OTHERS = 0o077;
const ROOT = 0;

/**
 * Throws NOT_PRIVATE. `directory` must exist. One that holds nothing of ours yet (a fresh mount, made with the usual 0755) is
 * closed to others; one that does hold our data and stood open is refused, because nobody knows what happened to it meanwhile.
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
  // A link would let somebody else choose where the data goes.
  if (found.isSymbolicLink())
    throw new RaftqError("NOT_PRIVATE", `${directory} is a symbolic link; give the directory itself.`);
  if (!found.isDirectory()) throw new RaftqError("UNWRITABLE", `${directory} is not a directory`);
  if (ownUser === undefined || found.uid === ownUser || found.uid === ROOT) return;
  throw new RaftqError(
    "NOT_PRIVATE",
    `${directory} belongs to user ${found.uid}, and this process runs as user ${ownUser}: its owner can change what is in it.`,
  );
}
