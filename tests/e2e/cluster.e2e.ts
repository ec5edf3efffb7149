// Does `raftq cluster` do what its commands promise, with real nodes, and does nothing outlive it however it is ended?
import { expect } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { identify } from "../../src/cluster/processes.ts";
import { CLUSTER } from "../../src/config.ts";
import { BINARY } from "../scripts/project.ts";
import { freePortRow, occupy } from "../kit/free-ports.ts";
import { inWorld, waitFor, type World } from "./harness.ts";

interface Status {
  readonly leader: string | null;
  readonly nodes: readonly {
    readonly id: string;
    readonly address: string;
    readonly pid: number | null;
    readonly state: string;
  }[];
}

async function status(world: World): Promise<Status> {
  const { stdout } = await world.raftq(["cluster", "status", "--json"]);
  return JSON.parse(stdout) as Status;
}

async function ids(world: World): Promise<readonly string[]> {
  return (await status(world)).nodes.map(({ id }) => id);
}

/** Process ids of the nodes, and of the supervisor first, as cluster.json has them; none before it is there. */
function recordedPids(world: World): readonly number[] {
  const file = join(world.directory, ".raftq/default/cluster.json");
  if (!existsSync(file)) return [];
  const state = JSON.parse(readFileSync(file, "utf8")) as { pid: number | null; nodes: { pid: number | null }[] };
  return [state.pid, ...state.nodes.map(({ pid }) => pid)].flatMap((pid) => pid ?? []);
}

const isAlive = (pid: number): boolean => identify(pid) !== null;

/** `up` in the foreground, in a process group of its own as a terminal gives each job. */
function foreground(world: World, command: readonly string[]): ChildProcess {
  const [program = "", ...words] = command;
  // Something to read: /dev/null would mean that a script put it into the background.
  return spawn(program, words, { cwd: world.directory, stdio: ["pipe", "ignore", "ignore"], detached: true });
}

/** All living processes whose working directory is the world's: what a cluster started, whatever their parent is by now. */
function processesIn(world: World): readonly number[] {
  const pids = readdirSync("/proc").map(Number).filter(Number.isInteger);
  return pids.filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === world.directory && isAlive(pid);
    } catch {
      return false; // gone meanwhile, or somebody else's
    }
  });
}

const nothingLeft = (world: World): Promise<boolean> =>
  waitFor("everything to end", 10_000, () => (processesIn(world).length === 0 ? true : undefined));

inWorld("TERM, INT and HUP to the supervisor at any moment, and kill -9, leave no process behind", async (world) => {
  const port = freePortRow(3);
  for (const [i, signal] of (["SIGINT", "SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGKILL"] as const).entries()) {
    const up = foreground(world, [BINARY, "cluster", "up", "3", "--base-port", String(port)]);
    const ended = new Promise<number | null>((done) => up.once("exit", done));
    // From "has hardly begun" over "has started the first node" to "serves".
    if (i > 0) await waitFor("the first node", 10_000, () => (processesIn(world).length > 1 ? true : undefined));
    await Bun.sleep(Math.max(0, i - 1) * 200);
    up.kill(signal);
    const code = await ended;
    await nothingLeft(world);
    // Before the first line of the program runs, the system's own action is all there is.
    if (signal !== "SIGKILL" && i > 0) expect({ signal, code }).toEqual({ signal, code: 0 });
  }
});

inWorld("TERM, INT and HUP to the shell that runs `up` leave no process behind", async (world) => {
  const port = freePortRow(3);
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const) {
    const script = `'${BINARY}' cluster up 3 --base-port ${port}; true`;
    const shell = foreground(world, ["sh", "-c", script]);
    // The shell, the supervisor and three nodes.
    await waitFor("the nodes", 10_000, () => (processesIn(world).length === 5 ? true : undefined));
    shell.kill(signal);
    // A shell that waits for its child ignores SIGINT: a terminal would have sent it to the whole group.
    if (signal === "SIGINT") process.kill(-(shell.pid ?? 0), signal);
    await nothingLeft(world);
  }
});

inWorld("a cluster that a script started in the background outlives the script", async (world) => {
  const port = freePortRow(3);
  const script = `'${BINARY}' cluster up 3 --base-port ${port} & sleep 0.3`;
  const shell = foreground(world, ["sh", "-c", script]);
  await new Promise((done) => shell.once("exit", done));
  await Bun.sleep(2 * CLUSTER.ancestorPollMs);
  expect((await status(world)).nodes.map(({ state }) => state)).not.toContain("down");
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
  await nothingLeft(world);
});

inWorld("the first signal often comes twice: a second one within a second changes nothing", async (world) => {
  const port = freePortRow(1);
  const node = world.node({ id: "n1", port });
  await waitFor("the leader", 5_000, () => (node.log().includes("leader in term") ? true : undefined));
  node.signal("SIGINT");
  node.signal("SIGTERM");
  expect(await node.ended()).toBe(0);
  expect(node.log()).toContain("stopping gracefully");
  expect(node.log()).not.toContain("again: ending now");
});

inWorld("up whose directory is deleted ends with its nodes, reports why, and leaves nothing behind", async (world) => {
  const port = freePortRow(3);
  const up = world.raftq(["cluster", "up", "3", "--base-port", String(port)]);
  await waitFor("a leader", 15_000, async () => {
    if (recordedPids(world).length < 4) return undefined;
    return (await status(world)).leader ?? undefined;
  });
  const addresses = [0, 1, 2].map((i) => `127.0.0.1:${port + i}`).join(",");
  renameSync(join(world.directory, ".raftq"), join(world.directory, "gone"));
  rmSync(join(world.directory, "gone"), { recursive: true });
  const { code, stderr } = await up;
  expect(code).toBe(1);
  expect(stderr).toMatch(/\.raftq\/default was deleted or replaced while cluster "default" ran.*raftq cluster up/);
  await nothingLeft(world);
  expect((await world.raftq(["client", "--addr", addresses, "enqueue", "1"])).code).not.toBe(0);
  expect(existsSync(join(world.directory, ".raftq"))).toBe(false);
});

inWorld("a paused node of a killed supervisor is named and ended by the next status", async (world) => {
  await world.up(3);
  const [supervisor = 0, ...nodes] = recordedPids(world);
  expect(await world.raftq(["cluster", "pause", "n2"])).toMatchObject({ code: 0 });
  process.kill(supervisor, "SIGKILL");
  await waitFor("the others to stop", 10_000, () => (nodes.filter(isAlive).length === 1 ? true : undefined));
  const { stderr, stdout, code } = await world.raftq(["cluster", "status"]);
  expect(stderr).toContain(`n2 (pid ${nodes[1]}) was left paused by a supervisor that was killed: ended it.`);
  expect(stdout).toContain('cluster "default" is down');
  expect(code).toBe(3);
  expect(nodes.filter(isAlive)).toEqual([]);
  expect(await world.raftq(["cluster", "up", "--detach"])).toMatchObject({ code: 0 });
});

inWorld("up names what stands in its way: ports in use, another size; a running cluster is shown", async (world) => {
  const port = freePortRow(3);
  {
    using _stranger = occupy(port + 1);
    for (const detach of [[], ["--detach"]]) {
      const refused = await world.raftq(["cluster", "up", "3", "--base-port", String(port), ...detach]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain(`port ${port + 1} for n2 is in use; nothing was started`);
      expect(refused.stderr).toMatch(/others are free: --base-port \d+/);
      expect(existsSync(join(world.directory, ".raftq"))).toBe(false);
    }
  }
  const base = await world.up(3);
  const again = await world.raftq(["cluster", "up", "3"]);
  expect(again).toMatchObject({ code: 0 });
  expect(again.stdout).toContain(`export RAFTQ_ADDR=127.0.0.1:${base},127.0.0.1:${base + 1},127.0.0.1:${base + 2}`);
  const five = await world.raftq(["cluster", "up", "5"]);
  expect(five.code).toBe(2);
  expect(five.stderr).toMatch(/has 3 nodes, not 5.*cluster add.*cluster down --purge/);
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
  expect((await world.raftq(["cluster", "up", "5"])).code).toBe(2);
});

inWorld(
  "nodes that lose their ports while they are down come back at the next free ones, and the members log it",
  async (world) => {
    const addresses = async (): Promise<readonly string[]> => {
      const { stdout } = await world.raftq(["client", "status", "--json"]);
      const { members } = JSON.parse(stdout) as { members: readonly { address: string }[] };
      return members.map(({ address }) => address).toSorted();
    };
    const at = (port: number): string => `127.0.0.1:${port}`;
    const base = await world.up(3);
    expect(await world.raftq(["client", "enqueue", "42"])).toMatchObject({ code: 0 });
    expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
    using _first = occupy(base);
    const up = await world.raftq(["cluster", "up", "--detach"]);
    expect(up.stderr).toContain(`${at(base)} is in use by another program: n1 listens on ${at(base + 3)} from now on.`);
    await waitFor("the members to log n1's address", 10_000, async () =>
      (await addresses()).join() === [base + 1, base + 2, base + 3].map(at).join() ? true : undefined,
    );
    expect(await world.raftq(["cluster", "kill", "n3"])).toMatchObject({ code: 0 });
    using _third = occupy(base + 2);
    const start = await world.raftq(["cluster", "start", "n3"]);
    expect(start.stderr).toContain(`n3 listens on ${at(base + 4)} from now on.`);
    await waitFor("the members to log n3's address", 10_000, async () =>
      (await addresses()).join() === [base + 1, base + 3, base + 4].map(at).join() ? true : undefined,
    );
    expect((await world.raftq(["client", "dequeue"])).stdout).toBe("42\n");
  },
);

inWorld("a single node that lost its port serves what it held at another one", async (world) => {
  const base = await world.up(1);
  expect(await world.raftq(["client", "enqueue", "42"])).toMatchObject({ code: 0 });
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
  using _first = occupy(base);
  expect(await world.raftq(["cluster", "up", "--detach"])).toMatchObject({ code: 0 });
  expect((await world.raftq(["client", "dequeue"])).stdout).toBe("42\n");
  const added = await world.raftq(["cluster", "add"]);
  expect(added).toMatchObject({ code: 0 });
  expect(added.stdout).toContain(`127.0.0.1:${base + 2}`);
});

inWorld("kill leader reports for how long no client could be served, and start brings the node back", async (world) => {
  await world.up(3);
  const before = await status(world);
  const killed = await world.raftq(["cluster", "kill", "leader", "--json"]);
  expect(killed.code).toBe(0);
  const report = JSON.parse(killed.stdout) as { node: string; unservedMs: number; leader: string };
  expect(report.node).toBe(before.leader ?? "");
  expect(report.unservedMs).toBeGreaterThan(0);
  const after = await status(world);
  expect(after.leader).toBe(report.leader);
  expect(after.nodes.find(({ id }) => id === report.node)).toMatchObject({ pid: null, state: "down" });
  expect(await world.raftq(["cluster", "start", report.node])).toMatchObject({ code: 0 });
  await waitFor("the node to follow", 5_000, async () =>
    (await status(world)).nodes.every(({ state }) => state === "leader" || state === "follower") ? true : undefined,
  );
  // Without a majority nobody waits for a leader that cannot come.
  const { leader, nodes } = await status(world);
  const [down, last] = nodes.filter(({ id }) => id !== leader);
  expect((await world.raftq(["cluster", "kill", down?.id ?? ""])).stdout).toContain("Start it again: ");
  const begun = performance.now();
  const paused = await world.raftq(["cluster", "pause", "leader"]);
  expect(performance.now() - begun).toBeLessThan(5_000);
  expect(paused).toMatchObject({ code: 3 });
  expect(paused.stdout).toStartWith(
    `Paused ${leader}. It led. 1 of 3 members is left, 2 needed: no leader until one goes on: `,
  );
  const asked = await world.raftq(["client", "--timeout", "2500ms", "enqueue", "1"]);
  expect(asked).toMatchObject({ code: 3 });
  const addressOf = (id: string | null): string => nodes.find((node) => node.id === id)?.address ?? "";
  expect(asked.stderr).toContain(
    `No Leader: 1 of 3 members reachable, 2 needed. ${leader} (${addressOf(leader)}) does not answer: it is paused or cut off. Start ${down?.id} (${addressOf(down?.id ?? null)}).`,
  );
  const shown = (await status(world)).nodes.map(({ id, state }) => [id, state]);
  expect(Object.fromEntries(shown)).toMatchObject({ [leader ?? ""]: "paused", [down?.id ?? ""]: "down" });
  expect(await world.raftq(["cluster", "kill", last?.id ?? ""])).toMatchObject({ code: 0 });
});

inWorld("a node that dies by itself is shown with its last lines and stays down", async (world) => {
  await world.up(3);
  const victim = (await status(world)).nodes.find(({ state }) => state === "follower");
  process.kill(victim?.pid ?? 0, "SIGSEGV");
  const { stderr } = await waitFor("the report", 5_000, async () => {
    const answer = await world.raftq(["cluster", "status"]);
    return answer.stderr === "" ? undefined : answer;
  });
  expect(stderr).toContain(`${victim?.id} ended by itself`);
  expect((await status(world)).nodes.find(({ id }) => id === victim?.id)?.state).toBe("down");
});

inWorld("nodes are added and removed, leadership is handed over, and up resumes exactly the members", async (world) => {
  const port = await world.up(3);
  expect(await world.raftq(["client", "enqueue", "42"])).toMatchObject({ code: 0 });
  const added = await world.raftq(["cluster", "add", "--json"]);
  expect(JSON.parse(added.stdout)).toMatchObject({ node: "n4", address: `127.0.0.1:${port + 3}`, role: "voter" });
  const { leader } = await status(world);
  const target = leader === "n4" ? "n3" : "n4";
  const nobody = await world.raftq(["cluster", "transfer", "leader"]);
  expect(nobody).toMatchObject({ code: 2, stdout: "" });
  expect(nobody.stderr).toContain(`${leader ?? ""} is the leader: name the node that is to lead next`);
  const handed = await world.raftq(["cluster", "transfer", target, "--json"]);
  expect(JSON.parse(handed.stdout)).toEqual({ from: leader, leader: target });
  const removed = await world.raftq(["cluster", "remove", "leader", "--json"]);
  expect(JSON.parse(removed.stdout)).toEqual({ node: target, removed: true, stopped: true });
  expect(existsSync(join(world.directory, ".raftq/default", target, "meta"))).toBe(true);
  const members = ["n1", "n2", "n3", "n4"].filter((id) => id !== target);
  expect(await ids(world)).toEqual(members);
  const unknown = await world.raftq(["cluster", "remove", "n9"]);
  expect(unknown).toMatchObject({ code: 2, stdout: "" });
  for (const verb of ["remove", "start", "transfer"]) {
    const gone = await world.raftq(["cluster", verb, target]);
    expect(gone).toMatchObject({ code: 2, stdout: "" });
    expect(gone.stderr).toContain(`${target} was removed from cluster "default"`);
  }
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
  expect(await world.raftq(["cluster", "up", "--detach"])).toMatchObject({ code: 0 });
  expect(await ids(world)).toEqual(members);
  expect(await world.raftq(["client", "dequeue"])).toMatchObject({ code: 0, stdout: "42\n" });
});

inWorld("a cluster that `up` did not start is shown, handed over and shrunk by its addresses", async (world) => {
  const { addresses, nodes } = await world.cluster(3);
  const shown = await world.raftq(["cluster", "status", "--addr", nodes[0]?.address ?? "", "--json"]);
  const first = JSON.parse(shown.stdout) as Status & { readonly name: null };
  expect(first.name).toBeNull();
  expect(first.nodes.map(({ id }) => id)).toEqual(["n1", "n2", "n3"]);
  const line = await world.raftq(["cluster", "add", "--addr", addresses]);
  expect(line.stdout).toMatch(
    /^raftq node --port \d+ --id n4 --join 127\.0\.0\.1:\d+,127\.0\.0\.1:\d+,127\.0\.0\.1:\d+\n$/,
  );
  const handed = await world.raftq(["cluster", "transfer", "--addr", addresses, "--json"]);
  const { from, leader } = JSON.parse(handed.stdout) as { from: string; leader: string };
  expect(from).toBe(first.leader ?? "");
  expect(leader).not.toBe(from);
  expect(await world.raftq(["cluster", "remove", from, "--addr", addresses])).toMatchObject({ code: 0 });
  const last = await world.raftq(["cluster", "status", "--addr", addresses, "--json"]);
  expect((JSON.parse(last.stdout) as Status).nodes.map(({ id }) => id)).not.toContain(from);
});

inWorld("logs shows what each node wrote, and a purge leaves nothing of the cluster", async (world) => {
  await world.up(3);
  const { leader } = await status(world);
  const all = await world.raftq(["cluster", "logs"]);
  for (const id of ["n1", "n2", "n3"]) expect(all.stdout).toMatch(new RegExp(`^${id}  .*node ${id} at 127`, "m"));
  const one = await world.raftq(["cluster", "logs", leader ?? ""]);
  expect(one.stdout).toMatch(/leader in term \d+/);
  expect(await world.raftq(["cluster", "logs", "n9"])).toMatchObject({ code: 2 });
  const unasked = await world.raftq(["cluster", "down", "--purge"], { input: "yes\n" });
  expect(unasked).toMatchObject({ code: 2, stderr: expect.stringContaining("give --yes as well") });
  expect(await status(world)).toMatchObject({ leader });
  expect(await world.raftq(["cluster", "down", "--purge", "--yes"])).toMatchObject({ code: 0 });
  expect(existsSync(join(world.directory, ".raftq/default"))).toBe(false);
  expect((await world.raftq(["cluster", "status"])).stderr).toContain('there is no cluster "default"');
});
