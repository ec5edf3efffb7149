// How is it kept from two terminals to start the same cluster at once? By a name that only one process can listen on and
// that the system gives back however that process ends: a socket in Linux' abstract namespace, named after the directory's inode.
import { statSync } from "node:fs";
import { createServer } from "node:net";
import type { Layout } from "./layout.ts";

export interface ClusterLock {
  release(): void;
}

/** Null when another process holds it. The cluster's directory must exist. */
export function lockCluster(layout: Layout): Promise<ClusterLock | null> {
  const { dev, ino } = statSync(layout.directory);
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      if ("code" in error && error.code === "EADDRINUSE") resolve(null);
      else reject(error);
    });
    server.listen(`\0raftq-cluster-${dev}-${ino}`, () => resolve({ release: () => server.close() }));
  });
}
