// What becomes of the jobs whose lines cannot be written: to a full device, to a full file system, to a reader that has gone?
// Nothing of it is a success, nothing is lost, and the command that the binary itself names brings back exactly the rest.
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../kit/free-ports.ts";
import { BINARY } from "../scripts/project.ts";
import { inWorld, type Output, waitFor, type World } from "./harness.ts";

/** README: so many commands may be asked for beyond the lines that were written. */
const AHEAD = 64;
const JOBS = 5_000;
/** Their lines are more than a pipe holds and `head` reads at once, so that the client meets the end of its reader. */
const MANY_JOBS = 40_000;

interface Queue {
  /** A line of bash in which `raftq` is the binary, which finds the node. */
  bash(line: string): Promise<Output>;
  /** The next value, and so how many were taken before. */
  oldest(): Promise<number>;
}

async function withJobs(world: World, jobs = JOBS): Promise<Queue> {
  const [port = 0] = freePorts(1);
  const node = world.node({ id: "n1", port });
  await waitFor("the node to found a cluster", 5_000, () =>
    node.log().includes("FOUNDED new cluster") ? true : undefined,
  );
  const addressed = { RAFTQ_ADDR: node.address };
  const bash = (line: string): Promise<Output> =>
    world.raftq(["-c", `raftq() { ${BINARY} "$@"; }; ${line}`], { program: "bash", env: addressed });
  await bash(`seq 1 ${jobs} | sed 's/.*/enqueue(&)/' | raftq client --id producer`);
  return { bash, oldest: async () => Number((await bash("raftq client peek")).stdout) };
}

/** The command line on stderr behind "not written: ". */
function namedCommand({ stderr }: Output): string {
  return /not written: (.* retry)$/m.exec(stderr)?.[1] ?? expect.unreachable(`no command is named: ${stderr}`);
}
const valuesIn = (text: string): number[] => text.split("\n").filter(Boolean).map(Number);
const upTo = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, at) => from + at);

inWorld("a dequeue to a full device ends with 1, and the command it names prints the job", async (world) => {
  const { bash } = await withJobs(world);
  for (const words of ["--id c1 dequeue", "dequeue", "--id c2 --json dequeue"]) {
    const ran = await bash(`raftq client ${words} > /dev/full`);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(/the answer to request 1 of client \S+ was not written: /);
    const again = await bash(namedCommand(ran));
    expect(again.code).toBe(0);
    expect(again.stdout).toMatch(/^(\d|\{.*"value":\d.*\})\n$/);
  }
  const batch = await bash("echo 'dequeue(10)' | raftq client --id c3 > /dev/full");
  expect(batch.code).toBe(1);
  expect(await bash(namedCommand(batch))).toMatchObject({ code: 0, stdout: "[4,5,6,7,8,9,10,11,12,13]\n" });
});

inWorld("a pipe into a full file system loses no job: what is not in the file comes by retry", async (world) => {
  const small = join(world.directory, "small");
  mkdirSync(small);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=8k", "tmpfs", small]).status !== 0)
    return console.log("LEFT OUT: a full file system; this machine lets nobody mount a tmpfs here");
  try {
    const { bash, oldest } = await withJobs(world);
    const ran = await bash(`yes dequeue | head -n ${JOBS} | raftq client --id c1 > ${small}/out`);
    expect(ran.code).toBe(1);
    // The last line may be cut off: it is not a line.
    const written = valuesIn(readFileSync(join(small, "out"), "latin1").replace(/[^\n]*$/, ""));
    const taken = (await oldest()) - 1;
    expect(written).toEqual(upTo(1, written.length));
    expect(taken - written.length).toBeLessThanOrEqual(AHEAD);
    expect(ran.stderr).toContain(`the answers to requests ${written.length + 1} to ${taken} of client c1`);
    const rest = await bash(namedCommand(ran));
    expect([rest.code, valuesIn(rest.stdout)]).toEqual([0, upTo(written.length + 1, taken)]);
    expect((await bash("raftq client --id c1 dequeue")).stdout).toBe(`${taken + 1}\n`);
  } finally {
    spawnSync("umount", [small]);
  }
});

inWorld(
  "a reader that goes after two lines costs none of the jobs whose lines it had not been given",
  async (world) => {
    const { bash, oldest } = await withJobs(world, MANY_JOBS);
    const ran = await bash(
      `yes dequeue | head -n ${MANY_JOBS} | raftq client --id c1 | head -n 2; exit "\${PIPESTATUS[2]}"`,
    );
    expect([ran.code, ran.stdout]).toEqual([1, "1\n2\n"]);
    const taken = (await oldest()) - 1;
    const rest = await bash(namedCommand(ran));
    const values = valuesIn(rest.stdout);
    expect(values).toEqual(upTo(values[0] ?? 0, taken));
    expect(values.length).toBeGreaterThan(0);
    expect(values.length).toBeLessThanOrEqual(AHEAD);
    expect((await bash("raftq client --id c1 retry")).code).toBe(4);
  },
);

inWorld("a reader that wants no more and lacks nothing is no failure", async (world) => {
  const { bash } = await withJobs(world);
  const whole = await bash(`raftq client --id c1 dequeue | head -n 1; exit "\${PIPESTATUS[0]}"`);
  expect(whole).toMatchObject({ code: 0, stdout: "1\n" });
  const log = await bash(`raftq client log | head -n 1; exit "\${PIPESTATUS[0]}"`);
  expect([log.code, log.stderr]).toEqual([0, ""]);
  const full = await bash("raftq cluster status --addr $RAFTQ_ADDR > /dev/full");
  expect([full.code, full.stderr]).toEqual([1, expect.stringContaining("stdout cannot be written: ENOSPC")]);
});
