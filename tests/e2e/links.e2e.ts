// What do slow and cut links do to real nodes? In network namespaces, with the kernel's own queues and retransmission timers.
import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { patience } from "../torture/shell.ts";

/** Of a network that is whole again. */
const SERVICE_MS = 2_000;

/** What `links-world.ts` prints, line by line; null: this machine allows no networks of our own. */
async function links(...args: readonly string[]): Promise<readonly Record<string, unknown>[] | null> {
  const program = join(import.meta.dir, "links-world.ts");
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((done) => child.once("close", done));
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.trim().split("\n");
  const left = lines.filter((line) => line.startsWith("LEFT OUT"));
  // What this machine does not allow is reported, not hidden.
  for (const line of left) console.log(line);
  if (left.length > 0 && lines.length === left.length) return null;
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Record<string, unknown>);
}

// They wait most of the time: each in a network of its own, beside each other.
test.concurrent.each([
  [512, 900_000],
  [64, 60_000],
])(
  "over links of %i kbit/s a job of %i bytes is committed under the leader that took it",
  async (kbit, bytes) => {
    const seen = await links("slow", String(kbit), String(bytes));
    if (seen === null) return;
    const [{ answer, ms, terms, stalled } = {}] = seen;
    console.log(`${bytes} bytes over ${kbit} kbit/s: ${Math.round(Number(ms))} ms`);
    const [before, after] = terms as readonly number[];
    expect({ answer, term: after, stalled }).toEqual({ answer: "ok", term: before, stalled: [] });
  },
  180_000,
);

test.concurrent(
  "service is back within 2 s of the end of a partition of 3 or 14 s, of all or of a client alone",
  async () => {
    const seen = await links("partition", "3", "14");
    if (seen === null) return;
    console.log(
      seen
        .map(({ who, seconds, backAfterMs }) => `${String(who)} ${Number(seconds)} s: ${Number(backAfterMs)} ms`)
        .join(", "),
    );
    expect(seen).toHaveLength(4);
    for (const { backAfterMs } of seen) expect(Number(backAfterMs)).toBeLessThan(patience(SERVICE_MS));
  },
  120_000,
);
