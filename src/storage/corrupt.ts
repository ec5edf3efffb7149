// How does storage report that a file is damaged? File, offset, and what is wrong there.
import { RaftqError } from "../lib/errors.ts";

export function corrupt(path: string, offset: number, what: string): RaftqError {
  return new RaftqError("CORRUPT", `${path} is damaged at byte ${offset}: ${what}`);
}

export function missing(what: string): RaftqError {
  return new RaftqError("CORRUPT", what);
}
