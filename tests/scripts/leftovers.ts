// Did the tests leave a process behind? Every process they start inherits the id of the run in its environment (not as RAFTQ_*: those are not handed on to nodes).
import { readdirSync, readFileSync } from "node:fs";

/** Names what is still there, and ends it. */
export function leftovers(run: string): { readonly ok: boolean; readonly why: string } {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const environment = read(`/proc/${pid}/environ`).split("\0");
    if (!environment.includes(`TEST_RUN_ID=${run}`)) continue;
    found.push(`${pid} ${read(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`);
    process.kill(Number(pid), "SIGKILL");
  }
  return { ok: found.length === 0, why: `still running: ${found.join("; ")}` };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // gone meanwhile, or somebody else's
  }
}
