// How fast is raftq on this machine? The parts first (codec, log, apply), then the binary: pipes into one, three and five
// nodes. `--json` prints the same as JSON. Under two minutes; figures are medians of three rounds.
import { availableParallelism, cpus } from "node:os";
import { build, upToDate } from "../scripts/build.ts";
import { install, requirePinnedBun } from "../scripts/project.ts";
import { benchParts } from "./parts.ts";
import { benchPipes } from "./pipes.ts";

const shown = (value: number): string => Math.round(value).toLocaleString("en");

requirePinnedBun();
install();
if (!upToDate()) build();
const figures = [...(await benchParts()), ...(await benchPipes())];
if (process.argv.includes("--json")) {
  console.log(JSON.stringify({ bun: Bun.version, cpu: cpus()[0]?.model, cores: availableParallelism(), figures }));
} else {
  console.log(`Bun ${Bun.version}, ${availableParallelism()} cores of ${cpus()[0]?.model}`);
  for (const { what, rate, unit, range } of figures) {
    const numbers = `${shown(rate).padStart(11)} ${unit}/s`;
    console.log(`${what.padEnd(46)} ${numbers.padEnd(24)} (${shown(range[0])} to ${shown(range[1])})`);
  }
}
