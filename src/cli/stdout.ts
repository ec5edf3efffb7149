// Writes answers to stdout. Every write returns how much of it the system took: only what was written is acknowledged to the cluster,
// so that the rest can be fetched again.
import { write } from "node:fs";
import { CLIENT } from "../config.ts";
import type { Clock } from "../lib/clock.ts";

export interface Output {
  /** Null: all of it was written. Else so many bytes of it were, and nothing will be any more. One at a time. */
  write(text: string): Promise<number | null>;
  /** Why nothing can be written any more; null: it can. */
  problem(): OutputProblem | null;
}

export interface OutputProblem {
  /** The reader has all it wanted, or has died. */
  readonly isReaderGone: boolean;
  readonly message: string;
}

/** Resolves with how many of the bytes from `at` on were written. */
export type WriteSome = (bytes: Uint8Array, at: number) => Promise<number>;

const utf8 = new TextEncoder();

export function createOutput(writeSome: WriteSome, clock: Pick<Clock, "after">): Output {
  let problem: OutputProblem | null = null;

  async function writeAll(text: string): Promise<number | null> {
    if (problem !== null) return 0;
    const bytes = utf8.encode(text);
    for (let at = 0; at < bytes.length;) {
      try {
        at += await writeSome(bytes, at);
      } catch (error) {
        const code = codeOf(error);
        if (code === "EAGAIN") await new Promise<void>((resolve) => void clock.after(CLIENT.fullPipeMs, resolve));
        else if (code !== "EINTR") {
          problem = { isReaderGone: code === "EPIPE", message: error instanceof Error ? error.message : code };
          return at;
        }
      }
    }
    return null;
  }

  return { write: writeAll, problem: () => problem };
}

/** Not by `process.stdout`, which does not report how much of a chunk was written before the disk was full. */
export const stdout: WriteSome = (bytes, at) =>
  new Promise((resolve, reject) => {
    write(STDOUT, bytes, at, bytes.length - at, null, (error, written) => {
      if (error === null) resolve(written);
      else reject(error);
    });
  });
const STDOUT = 1;

/** By the stream that readline writes its prompt to, so that the order stays. */
export const shellStdout: WriteSome = (bytes, at) =>
  new Promise((resolve, reject) => {
    process.stdout.write(bytes.subarray(at), (error) => {
      if (error === null || error === undefined) resolve(bytes.length - at);
      else reject(error);
    });
  });

/** What cannot be written is no end of the program any more (main.ts): who calls this reports it. */
export function ownStdoutErrors(): void {
  process.stdout.removeAllListeners("error").on("error", () => {});
}

export function codeOf(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown error";
}
