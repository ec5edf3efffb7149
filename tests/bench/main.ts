// How fast is raftq on this machine? The parts first (codec, log, apply), then one, three and five nodes; with `--peers`
// the same work on the systems that one would take instead. `--json` gives the same as JSON. README.md states what takes how long.
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { build, upToDate } from "../scripts/build.ts";
import { install, requirePinnedBun, writeStderr } from "../scripts/project.ts";
import { HELP, type Options, parseOptions } from "./arguments.ts";
import { benchCluster } from "./cluster.ts";
import { figureLine } from "./measure.ts";
import { benchParts } from "./parts.ts";
import { compare } from "./peers/compare.ts";
import { FULL, QUICK } from "./peers/plan.ts";
import { comparisonText } from "./peers/table.ts";
import { benchPipes } from "./pipes.ts";
import { benchSteady, steadyText } from "./steady.ts";

const machine = { bun: Bun.version, cpu: cpus()[0]?.model, cores: availableParallelism() };

requirePinnedBun();
const options = optionsOrExit();
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
install();
if (!upToDate()) build();
if (options.peers) {
  const comparison = await compare(options.quick ? QUICK : FULL, options.only);
  report(comparisonText(comparison), { at: new Date().toISOString(), quick: options.quick, ...comparison });
} else if (options.steady !== null) {
  const { minutes, load } = options.steady;
  const measured = await benchSteady(minutes, load);
  report(steadyText(measured), { load: load ?? 1, minutes: measured });
} else {
  const figures = [...(await benchParts()), ...(await benchPipes()), ...(await benchCluster())];
  report(figures.map(figureLine).join("\n"), { figures });
}
process.exit();

function optionsOrExit(): Options {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    writeStderr(error instanceof Error ? error.message : String(error));
    process.exit(2);
  }
}

function report(text: string, figures: object): void {
  const { json } = options;
  const asJson = JSON.stringify({ ...machine, ...figures });
  if (json !== null && json.file === null) return console.log(asJson);
  console.log(`Bun ${machine.bun}, ${machine.cores} cores of ${machine.cpu}\n\n${text}`);
  if (json !== null && json.file !== null) writeFileSync(json.file, `${asJson}\n`);
}
