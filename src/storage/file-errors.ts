// Names what is wrong with a file: it is damaged, or another version of raftq wrote it.
import { RaftqError } from "../lib/errors.ts";

export function corruptAt(path: string, offset: number, what: string): RaftqError {
  return corrupt(`${path} is damaged at byte ${offset}: ${what}`);
}

export function corrupt(what: string): RaftqError {
  return new RaftqError("CORRUPT", what);
}

export const newerThan = (found: number, known: number): string =>
  `format version ${found}, and this raftq knows format version ${known}`;

/** Throws NEWER_FORMAT and OLDER_FORMAT. There is no version but one that is read, since none was released. */
export function refuseOtherFormat(path: string, found: number, known: number): void {
  if (found === known) return;
  throw new RaftqError(found > known ? "NEWER_FORMAT" : "OLDER_FORMAT", `${path} has ${newerThan(found, known)}`);
}
