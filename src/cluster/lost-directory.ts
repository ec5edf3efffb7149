// Checks that the cluster's directory is still the one that its supervisor began with. A person may delete it under a running cluster, or put
// another one in its place; that leaves nodes that cannot be reached, and the other one must not be overwritten.
import { closeSync, existsSync, fstatSync, openSync, statSync } from "node:fs";
import { RaftqError } from "../lib/errors.ts";
import type { Layout } from "./layout.ts";
import { nameFlag } from "./plan.ts";

export interface DirectoryWatch {
  /** null: it is in place. Once lost it stays so. */
  readonly lost: () => RaftqError | null;
  readonly close: () => void;
}

/** The directory must exist, and hold the cluster's state from now on. */
export function watchDirectory(layout: Layout): DirectoryWatch {
  // Open, so that its inode does not become that of a directory which is made in its place.
  const directory = openSync(layout.directory, "r");
  const { dev, ino } = fstatSync(directory, { bigint: true });
  let lost: RaftqError | null = null;
  const isInPlace = (): boolean => {
    try {
      const found = statSync(layout.directory, { bigint: true, throwIfNoEntry: false });
      return found?.dev === dev && found.ino === ino && existsSync(layout.stateFile);
    } catch {
      // A failed look shows nothing about the directory.
      return true;
    }
  };
  return {
    lost: () => {
      if (lost === null && !isInPlace()) lost = deleted(layout);
      return lost;
    },
    close: () => closeSync(directory),
  };
}

function deleted(layout: Layout): RaftqError {
  const what = `${layout.directory} was deleted or replaced while cluster "${layout.name}" ran, so its nodes were stopped`;
  const next = `put it back as it was, or begin anew with \`raftq cluster up${nameFlag(layout.name)}\``;
  return new RaftqError("DISK_FAILED", `${what}; ${next}.`);
}
