// `bun run fuzz`: which bytes make raftq throw, hang, grow, or take one thing for another?
//   --minutes N     how long (default 1), shared by the targets
//   --seed N        another seed, other inputs (default: from the clock; printed)
//   --target NAME   one target only
//   --input BASE64  runs that one input of the target, as a finding's line states
//   --evidence      appends the run to tests/EVIDENCE.md; refused (exit code 2) where the tree is no commit's
// Each target runs in a process of its own, which is ended when one input takes too long.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openEvidence } from "../evidence.ts";
import { growCorpus, readCorpus } from "./corpus.ts";
import { fuzz, type Outcome } from "./engine.ts";
import { findTarget, TARGETS } from "./targets.ts";

/** An input that takes so long never ends. */
const HANG_MS = 60_000;
const MAX_SHOWN_INPUT = 8 * 1024 * 1024;
const LENGTH_BYTES = 4;
/** Of an input in a row of evidence, in Base64; for a longer one the row has the line that repeats the run. */
const MAX_ROW_INPUT = 200;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    target: { type: "string" },
    input: { type: "string" },
    evidence: { type: "boolean", default: false },
    /** For the processes only: where the present input is shown. */
    show: { type: "string" },
    ms: { type: "string" },
  },
});

interface TargetReport {
  readonly inputs: number;
  readonly words: number;
  readonly kept: number;
  readonly slowestMs: number;
  readonly highestBytes: number;
  readonly crash: { readonly input: string; readonly why: string } | null;
}

const evidence = values.evidence ? openEvidence({ input: values.input }) : null;
if (values.target !== undefined && values.input !== undefined) await replay(values.target, values.input);
else if (values.target !== undefined && values.show !== undefined) await work(values.target, values.show);
else process.exitCode = await runAll();

async function replay(name: string, input: string): Promise<void> {
  const target = findTarget(name);
  console.log(await target.run(Uint8Array.fromBase64(input)));
  target.end?.();
}

/** One target in this process; the present input lies in a mapped file, where it survives whatever happens here. */
async function work(name: string, show: string): Promise<void> {
  const shown = Bun.mmap(show, { shared: true });
  const length = new DataView(shown.buffer, shown.byteOffset, LENGTH_BYTES);
  const ends = performance.now() + Number(values.ms);
  const outcome = await fuzz(findTarget(name), {
    seed: Number(values.seed),
    corpus: readCorpus(name),
    goOn: () => performance.now() < ends,
    peakBytes: () => process.resourceUsage().maxRSS * 1024,
    before: (input) => {
      length.setUint32(0, input.length);
      shown.set(input.subarray(0, shown.length - LENGTH_BYTES), LENGTH_BYTES);
    },
  });
  console.log(JSON.stringify(reportOf(name, outcome)));
  process.exit(0);
}

function reportOf(name: string, { crash, grown, ...figures }: Outcome): TargetReport {
  const kept = crash === null ? growCorpus(name, grown) : 0;
  const { inputs, words, slowestMs, highestBytes } = figures;
  const found = crash === null ? null : { input: crash.input.toBase64(), why: crash.why };
  return { inputs, words, kept, slowestMs, highestBytes, crash: found };
}

async function runAll(): Promise<number> {
  const targets = values.target === undefined ? TARGETS : [findTarget(values.target)];
  const seed = values.seed === undefined ? Date.now() % 1_000_000 : Number(values.seed);
  const ms = (Number(values.minutes) * 60_000) / targets.length;
  const directory = mkdtempSync(join(tmpdir(), "raftq-fuzz-"));
  console.log(`seed ${seed}, ${(ms / 1_000).toFixed(1)} s for each of ${targets.length} targets`);
  const results: (TargetReport & { readonly name: string })[] = [];
  for (const { name } of targets) {
    const result = await runOne(name, seed, ms, join(directory, name));
    results.push({ name, ...result });
    const { inputs, words, kept, slowestMs, highestBytes, crash } = result;
    const figures = `${inputs} inputs, ${words} outcomes, ${kept} kept, slowest ${slowestMs.toFixed(1)} ms, highest memory ${mebibytes(highestBytes)} MiB`;
    console.log(`${name.padEnd(14)}${figures}`);
    if (crash === null) continue;
    console.log(`FOUND by ${name} with --seed ${seed}: ${crash.why}`);
    console.log(`Repeat it: ${inputLine(name, crash.input)}`);
  }
  rmSync(directory, { recursive: true });
  const inputs = results.reduce((sum, result) => sum + result.inputs, 0);
  const crashes = results.filter((result) => result.crash !== null).length;
  const highest = Math.max(...results.map((result) => result.highestBytes));
  console.log(`${inputs} inputs, ${crashes} findings, highest memory ${mebibytes(highest)} MiB`);
  const again = `bun run fuzz --minutes ${values.minutes} --seed ${seed}`;
  const lineOf = (name: string, input: string): string =>
    input.length > MAX_ROW_INPUT ? `${again} --target ${name}` : inputLine(name, input);
  evidence?.({
    kind: "fuzz",
    minutes: Number(values.minutes),
    seed,
    only: values.target ?? null,
    targets: results.map(({ name, inputs: tried, crash }) => {
      return { name, inputs: tried, finding: crash === null ? null : lineOf(name, crash.input) };
    }),
    highestMebibytes: mebibytes(highest),
  });
  return crashes === 0 ? 0 : 1;
}

function inputLine(name: string, input: string): string {
  return `bun run fuzz --target ${name} --input ${input}`;
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}

async function runOne(name: string, seed: number, ms: number, show: string): Promise<TargetReport> {
  writeFileSync(show, new Uint8Array(MAX_SHOWN_INPUT));
  const args = ["--target", name, "--show", show, "--seed", String(seed), "--ms", String(Math.round(ms))];
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...args], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), ms + HANG_MS);
  const [output, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  await child.exited;
  clearTimeout(timer);
  const last = output.trim().split("\n").at(-1) ?? "";
  if (last.startsWith("{")) return JSON.parse(last) as TargetReport;
  const how =
    child.signalCode === "SIGKILL"
      ? `no end within ${HANG_MS} ms, or ended by the system`
      : `ended with ${child.exitCode ?? child.signalCode}`;
  const bytes = readFileSync(show);
  const input = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + bytes.readUInt32BE(0));
  const crash = { input: new Uint8Array(input).toBase64(), why: `${how}\n${errors.slice(-2_000)}` };
  return { inputs: 0, words: 0, kept: 0, slowestMs: 0, highestBytes: 0, crash };
}
