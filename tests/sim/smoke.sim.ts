// Does the product hold up in a short stretch of simulated faults, does each seed that once found a bug pass, and does the simulator
// still catch bugs? `bun run test` runs it (`bun test` alone does not find it); the long hunt is `bun run sim --seeds 2000`.
import { expect, test } from "bun:test";
import { join } from "node:path";
import { runSeed } from "./run.ts";

const SMOKE_SEEDS = 24;
const SMOKE_FROM = 100_000;
/** For a machine that is busy with other things. */
const TIMEOUT_MS = 60_000;

for (const [first, last] of [
  [0, SMOKE_SEEDS / 2],
  [SMOKE_SEEDS / 2, SMOKE_SEEDS],
] as const) {
  test(
    `short worlds ${SMOKE_FROM + first} to ${SMOKE_FROM + last - 1} keep every promise`,
    () => {
      for (let seed = SMOKE_FROM + first; seed < SMOKE_FROM + last; seed++) {
        const { failure } = runSeed(seed, { short: true });
        if (failure !== null) throw new Error(`bun run sim --short --seed ${seed}: ${failure}`);
      }
    },
    TIMEOUT_MS,
  );
}

test(
  "seeds that once found a bug pass",
  async () => {
    const lines = (await Bun.file(join(import.meta.dir, "seeds.txt")).text()).split("\n");
    expect(lines.some((line) => /^\d/.test(line))).toBe(true);
    for (const line of lines) {
      const [, digits, short] = /^(\d+)( short)?/.exec(line) ?? [];
      if (digits === undefined) continue;
      const { failure } = runSeed(Number(digits), { short: short !== undefined });
      if (failure !== null)
        throw new Error(`bun run sim --seed ${digits}${short === undefined ? "" : " --short"}: ${failure}`);
    }
  },
  TIMEOUT_MS,
);

/** One of each kind, caught by one of the first seeds; `bun run sim --mutants` hunts all. */
const SAMPLE = [
  "vote-before-durable",
  "forget-configuration",
  "snapshot-names-not-synced",
  "drop-unacknowledged-replies",
] as const;

test.each(SAMPLE)(
  "the simulator catches the mutant %s",
  async (name) => {
    const main = join(import.meta.dir, "main.ts");
    const child = Bun.spawn([process.execPath, main, "--mutant", name, "--seeds", "3"], { stdout: "pipe" });
    const output = await child.stdout.text();
    expect(output).toContain(`caught ${name}`);
    expect(await child.exited).toBe(0);
  },
  TIMEOUT_MS,
);
