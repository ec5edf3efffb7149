// Do the README's commands do what the README states? Its marked blocks run as they stand, beside a cluster of five.
import { expect } from "bun:test";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, ROOT } from "../scripts/project.ts";
import { inWorld } from "./harness.ts";

const MARKED = /<!-- run in tests\/e2e\/readme\.e2e\.ts -->\s+```(sh|ts)\n([\s\S]*?)```/g;
const marked = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(MARKED)];
const blocksOf = (language: string): readonly string[] =>
  marked.filter((match) => match[1] === language).map((match) => match[2] as string);

function shell(script: string, directory: string): Promise<{ readonly code: number | null; readonly stdout: string }> {
  const child = spawn("bash", ["-c", script], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done({ code, stdout }));
  });
}

inWorld("one minute to a killed leader: 30000 acknowledged, none lost, none twice, in order", async (world) => {
  const blocks = blocksOf("sh");
  expect(blocks.length).toBe(2);
  const [enqueue = "", compare = ""] = blocks;
  mkdirSync(join(world.directory, "dist"));
  symlinkSync(BINARY, join(world.directory, "dist/raftq"));
  await world.up(5);
  const first = await shell(enqueue, world.directory);
  expect(first.stdout.trim().split("\n").at(-1)).toBe("30000");
  const second = await shell(compare, world.directory);
  expect(second.stdout).toContain("nothing lost, nothing twice, in order");
  expect(await world.raftq(["cluster", "down", "--purge", "--yes"])).toMatchObject({ code: 0 });
});

inWorld("the example of a program does what its comments state", async (world) => {
  const [example = ""] = blocksOf("ts");
  const { addresses } = await world.cluster(1);
  // A package finds itself by its own name from inside its folder only.
  const file = join(ROOT, "dist", `readme-example-${process.pid}.ts`);
  writeFileSync(file, example.replace("127.0.0.1:3000", addresses));
  try {
    const { code, stdout } = await shell(`"${process.execPath}" "${file}"`, world.directory);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `true {\n  any: "JSON",\n}\n1 3\n` });
  } finally {
    rmSync(file);
  }
});
