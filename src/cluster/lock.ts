// Keeps two terminals from starting the same cluster at once: a lock of its directory, which the system releases however its holder ends.
import { type DirectoryLock, tryLock } from "../storage/lock.ts";
import type { Layout } from "./layout.ts";

/** Null when another process holds it. The cluster's directory must exist. */
export function lockCluster(layout: Layout): DirectoryLock | null {
  const result = tryLock(layout.directory);
  return result.type === "acquired" ? result.lock : null;
}
