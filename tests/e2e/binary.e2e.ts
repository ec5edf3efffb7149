// Is dist/raftq one file that needs nothing beside it, and that nothing beside it can change?
import { expect } from "bun:test";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY, ROOT, runStep } from "../scripts/project.ts";
import { freePortRow, freePorts } from "../kit/free-ports.ts";
import { waitFor, inWorld } from "./harness.ts";

inWorld(
  "the binary runs where neither the sources nor node_modules are, after its build folder is gone",
  async (world) => {
    const folder = join(world.directory, "build-folder");
    mkdirSync(join(folder, "tests"), { recursive: true });
    for (const name of ["src", "package.json", "bun.lock", "tsconfig.json", "bunfig.toml", "tests/scripts"]) {
      cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    }
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    const script = `import { build } from ${JSON.stringify(join(folder, "tests/scripts/build.ts"))}; build();`;
    expect(await runStep([process.execPath, "--eval", script], 60_000)).toMatchObject({ ok: true });
    const moved = join(world.directory, "raftq-moved");
    copyFileSync(join(folder, "dist/raftq"), moved);
    rmSync(folder, { recursive: true });

    // It does not even know where it was built, so it can open nothing there.
    expect(readFileSync(moved).includes(folder)).toBe(false);
    const [port = 0] = freePorts(1);
    expect(await world.raftq(["--version"], { program: moved })).toMatchObject({ code: 0 });
    const node = world.node({ id: "n1", port });
    await waitFor("the node to found a cluster", 5_000, () =>
      node.log().includes("FOUNDED new cluster") ? true : undefined,
    );
    const answer = await world.raftq(["client", "--addr", node.address], {
      program: moved,
      input: "enqueue(1)\ndequeue\n",
    });
    expect(answer.stdout).toMatch(/^ok id=1 index=\d+\n1\n$/);
    // What makes certificates is loaded late, and from the executable too.
    const secured = ["cluster", "up", "1", "--tls", "--detach", "--base-port", String(freePortRow(1))];
    expect(await world.raftq(secured, { program: moved })).toMatchObject({ code: 0 });
    expect(await world.raftq(["cluster", "down", "--purge", "--yes"], { program: moved })).toMatchObject({ code: 0 });
  },
  90_000,
);

inWorld("a bunfig.toml, a .env or a package.json in the user's directory changes nothing", async (world) => {
  writeFileSync(join(world.directory, "evil.ts"), `require("node:fs").writeFileSync("evil-ran", "");`);
  writeFileSync(join(world.directory, "bunfig.toml"), `preload = ["./evil.ts"]\n`);
  writeFileSync(join(world.directory, ".env"), "RAFTQ_ADDR=127.0.0.1:1\nRAFTQ_ID=from-dotenv\n");
  writeFileSync(join(world.directory, "package.json"), `{"type":"commonjs","main":"./evil.ts"}`);
  const [port = 0] = freePorts(1);
  const node = world.node({ id: "n1", port });
  await waitFor("the node to found a cluster", 5_000, () =>
    node.log().includes("FOUNDED new cluster") ? true : undefined,
  );
  expect(await world.raftq(["client", "enqueue", "1", "--addr", node.address])).toMatchObject({ code: 0 });
  expect(await Bun.file(join(world.directory, "evil-ran")).exists()).toBe(false);
});

inWorld("Bun's own switches in the environment reach neither the supervisor nor a node of a cluster", async (world) => {
  writeFileSync(join(world.directory, "evil.ts"), `require("node:fs").writeFileSync("evil-" + process.pid, "");`);
  const base = freePortRow(3);
  const hostile = { BUN_OPTIONS: "--preload=./evil.ts", RAFTQ_ID: "from-environment" };
  const up = await world.raftq(["cluster", "up", "3", "--detach", "--base-port", `${base}`], { env: hostile });
  expect(up.code).toBe(0);
  const { stdout } = await world.raftq(["cluster", "status", "--json"]);
  const { nodes } = JSON.parse(stdout) as { nodes: { id: string; pid: number }[] };
  const { pid } = JSON.parse(readFileSync(join(world.directory, ".raftq/default/cluster.json"), "utf8")) as {
    pid: number;
  };
  expect(nodes.map(({ id }) => id)).toEqual(["n1", "n2", "n3"]);
  for (const process of [pid, ...nodes.map((node) => node.pid)]) {
    expect(readFileSync(`/proc/${process}/environ`, "utf8")).not.toContain("BUN_OPTIONS");
    expect(existsSync(join(world.directory, `evil-${process}`))).toBe(false);
  }
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
});

inWorld("the version is the package's", async (world) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  expect(await world.raftq(["--version"], { program: BINARY })).toMatchObject({
    code: 0,
    stdout: `raftq ${version}\n`,
  });
});
