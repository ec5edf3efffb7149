// `bun run torture`: does raftq, as real processes, keep its promise while everything around it breaks?
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEvidence, type Run } from "../evidence.ts";
import { build, upToDate } from "../scripts/build.ts";
import { BINARY, install, requirePinnedBun } from "../scripts/project.ts";
import { findMutant } from "../sim/mutants.ts";
import { probe } from "./abilities.ts";
import { NEMESES } from "./episodes.ts";
import { historyText } from "./finale.ts";
import { buildMutant } from "./mutant-build.ts";
import { HELP, type Options, parseOptions, repeatLine } from "./options.ts";
import { enterRoom, type Room } from "./namespaces.ts";
import { type Outcome, torture } from "./run.ts";
import { createTimeline, type Timeline } from "./timeline.ts";

/** Without service while a majority was healthy and connected. */
const GOAL_MS = 2_000;

requirePinnedBun();
install();
const options = parseOptions(process.argv.slice(2));
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
if (options.list) {
  for (const { name, needs } of NEMESES) console.log(`${name.padEnd(16)} ${needs.join(" ")}`);
  process.exit(0);
}
const evidence = options.evidence ? openEvidence({ mutant: options.mutant }) : null;
// The seed is fixed before the namespaces are entered, because that starts this program again.
const again = [process.execPath, import.meta.path, ...process.argv.slice(2), "--seed", String(options.seed)];
if (!upToDate()) build();
const room = enterRoom(again);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // In namespaces of our own, our end is the end of everything in them.
    room.leave();
    process.exit(130);
  });
}
process.exitCode = await main(options, room);
room.leave();
process.exit();

async function main(wanted: Options, where: Room): Promise<number> {
  const timeline = createTimeline((line) => console.log(line));
  const abilities = probe(where, wanted);
  for (const line of abilities.missing) console.log(`LEFT OUT: ${line}`);
  const mutant = wanted.mutant === null ? null : findMutant(wanted.mutant);
  const binary = mutant === null ? BINARY : await buildMutant(mutant, where.directory);
  console.log(`seed ${wanted.seed}; repeat: ${repeatLine(wanted)}`);
  const outcome = await torture({ room: where, abilities, options: wanted, binary, timeline });
  const { blamed } = outcome.world;
  if (blamed.length > 0 && mutant === null) keep(where, outcome, timeline, wanted);
  report(outcome, wanted);
  evidence?.(runOf(outcome, wanted));
  if (mutant === null) return blamed.length === 0 ? 0 : 1;
  console.log(
    blamed.length > 0 ? `caught ${mutant.name}: ${blamed.join("; ")}` : `SURVIVED ${mutant.name} (${mutant.what})`,
  );
  return blamed.length > 0 ? 0 : 1;
}

/** All that is needed to understand a failure, outside of the namespaces. */
function keep(where: Room, { world }: Outcome, timeline: Timeline, { seed }: Options): void {
  const folder = mkdtempSync(join(tmpdir(), `raftq-torture-failed-${seed}-`));
  writeFileSync(join(folder, "timeline.txt"), timeline.text());
  writeFileSync(join(folder, "history.jsonl"), historyText(world));
  cpSync(join(where.directory, "logs"), join(folder, "logs"), { recursive: true });
  for (const { id, disk } of world.nodes) {
    rmSync(join(disk.data, "LOCK"), { recursive: true, force: true });
    mkdirSync(join(folder, "data"), { recursive: true });
    cpSync(disk.data, join(folder, "data", id), { recursive: true });
  }
  console.log(`kept in ${folder}: timeline, history, logs and data directories`);
}

function report({ world, struck, reckoning, silence, peaks, lateness }: Outcome, wanted: Options): void {
  const { enqueued, dequeued, empty, lost, duplicated, misordered } = reckoning;
  const { unknown, again: opened } = world.clients.counts();
  const kinds = [...struck].toSorted(([a], [b]) => a.localeCompare(b)).map(([name, times]) => `${name} ${times}`);
  console.log(`\nnemeses: ${kinds.join(", ") || "none"}`);
  const goal = silence.ms <= GOAL_MS ? "within the goal" : "MISSED the goal";
  console.log(
    `longest time without service while a majority was healthy and connected: ${Math.round(silence.ms)} ms, ${goal} of ${GOAL_MS} ms (at ${world.timeline.at(silence.at)}, during ${silence.during}; the harness itself was late by ${Math.round(lateness)} ms at most)`,
  );
  console.log(
    `peaks of a node: ${peaks.residentMiB} MiB of memory, ${peaks.descriptors} descriptors (${peaks.sockets} of them sockets), ${peaks.diskMiB} MiB of disk`,
  );
  for (const problem of world.blamed) console.log(`WRONG: ${problem}`);
  const totals = [
    `${world.clients.history.length} operations (${enqueued} enqueued, ${dequeued} dequeued, ${empty} empty; ${unknown} unknown, ${opened} opened again)`,
    `${[...struck.values()].reduce((sum, times) => sum + times, 0)} strikes`,
    `lost ${lost}, duplicated ${duplicated}, misordered ${misordered}`,
    `silence ${Math.round(silence.ms)} ms`,
    world.blamed.length === 0 ? "passed" : `FAILED (${world.blamed.length})`,
  ];
  console.log(`${totals.join("; ")}; repeat: ${repeatLine(wanted)}`);
}

function runOf({ world, struck, minutes, reckoning, silence }: Outcome, wanted: Options): Run {
  const { rounds, seed, only, previous } = wanted;
  const { lost, duplicated, misordered } = reckoning;
  return {
    kind: "torture",
    // A full run's last strikes end after its time: what was asked for counts.
    extent: rounds === null ? { minutes: Math.min(minutes, wanted.minutes) } : { rounds },
    seed,
    only,
    hasOlderBuild: previous !== null,
    struck,
    operations: world.clients.history.length,
    silenceMs: silence.ms,
    failure: world.blamed.length === 0 ? null : { count: world.blamed.length, repeat: repeatLine(wanted) },
    lost,
    duplicated,
    misordered,
  };
}
