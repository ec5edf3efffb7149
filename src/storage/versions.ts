// How is a file named that a newer raftq wrote? By its path, the version found in it and the one known here.
import { RaftqError } from "../lib/errors.ts";

export const newerThan = (found: number, known: number): string =>
  `format version ${found}, and this raftq knows format version ${known}`;

export function newerFormat(path: string, found: number, known: number): RaftqError {
  return new RaftqError("NEWER_FORMAT", `${path} has ${newerThan(found, known)}`);
}
