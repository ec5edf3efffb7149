// How does one disk become slow, or fail? strace holds the node's own system calls: what makes bytes or names durable is delayed, or
// answers EIO.
import { spawn } from "node:child_process";

/** A write to a file that is open with O_DSYNC, the sync of a directory; mutants and earlier builds write first, and sync then. */
export const DURABLE_CALLS = "pwrite64,fsync,fdatasync";

/** Attaches to a running process; the undo detaches. */
export async function inject(pid: number, what: string): Promise<() => Promise<void>> {
  const args = [
    "-f",
    "-q",
    "-o",
    "/dev/null",
    "-p",
    String(pid),
    "-e",
    `trace=${DURABLE_CALLS}`,
    "-e",
    `inject=${DURABLE_CALLS}:${what}`,
  ];
  const tracer = spawn("strace", args, { stdio: "ignore" });
  const ended = new Promise((done) => {
    tracer.once("exit", done);
    tracer.once("error", done);
  });
  await Bun.sleep(50);
  return async () => {
    tracer.kill("SIGINT");
    // Killed, it lets go of the node as well: the kernel detaches for it.
    const timer = setTimeout(() => tracer.kill("SIGKILL"), 3_000);
    await ended;
    clearTimeout(timer);
  };
}
