// How does storage report that a file is damaged? File, offset, and what is wrong there.
import { RaftqError } from "../lib/errors.ts";

export function corruptAt(path: string, offset: number, what: string): RaftqError {
  return new RaftqError("CORRUPT", `${path} is damaged at byte ${offset}: ${what}`);
}

export function corrupt(what: string): RaftqError {
  return new RaftqError("CORRUPT", what);
}
