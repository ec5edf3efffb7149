// What becomes of a file that another version of raftq wrote? It is refused by its path, the version found in it and the one known here.
import { RaftqError } from "../lib/errors.ts";

export const newerThan = (found: number, known: number): string =>
  `format version ${found}, and this raftq knows format version ${known}`;

/** Throws NEWER_FORMAT and OLDER_FORMAT. There is no version but one that is read, since none was released. */
export function refuseOtherFormat(path: string, found: number, known: number): void {
  if (found === known) return;
  throw new RaftqError(found > known ? "NEWER_FORMAT" : "OLDER_FORMAT", `${path} has ${newerThan(found, known)}`);
}
