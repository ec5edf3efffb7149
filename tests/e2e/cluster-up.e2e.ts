// Does a cluster come up once, whatever a former supervisor left, and does nothing outlive a supervisor however it dies?
import { expect, setDefaultTimeout, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { clusterLayout, nodeDirectory, nodeLog } from "../../src/cluster/layout.ts";
import { lockCluster } from "../../src/cluster/lock.ts";
import { identify } from "../../src/cluster/processes.ts";
import { createClusterDirectory, purgeCluster, readClusterState, writeClusterState } from "../../src/cluster/state.ts";
import type { Supervisor } from "../../src/cluster/supervisor.ts";
import { bringUp, findRunning } from "../../src/cluster/up.ts";
import { FAKE_PROGRAM, inPlace, isAlive, listening, type Place, refusal, waitFor } from "./place.ts";
import { occupy } from "../kit/free-ports.ts";

/** Processes start slowly on a machine that is busy with other tests. */
setDefaultTimeout(20_000);

/** A supervisor that a test may kill, its nodes listening. */
async function supervisorProcess(place: Place, size: number): Promise<ChildProcess> {
  const script = join(import.meta.dir, "fake-up.ts");
  const child = spawn(process.execPath, [script, place.root, String(size), String(place.basePort)], {
    stdio: "ignore",
  });
  place.atEnd(() => child.kill("SIGKILL"));
  const facts = await waitFor("the supervisor", async () => {
    const running = existsSync(place.layout.controlSocket) ? await findRunning(place.layout).catch(() => null) : null;
    return running?.nodes.every((node) => node.pid !== null) === true ? running : undefined;
  });
  await listening(facts);
  return child;
}

async function killSupervisor(child: ChildProcess): Promise<void> {
  const ended = new Promise((done) => child.once("exit", done));
  child.kill("SIGKILL");
  await ended;
}

const pidsOf = (place: Place): readonly number[] =>
  readClusterState(place.layout)?.nodes.flatMap(({ pid }) => pid ?? []) ?? [];

async function stopped(supervisor: Supervisor): Promise<void> {
  await supervisor.stop();
  await supervisor.stopped;
}

test("the nodes of a supervisor that was killed with -9 stop by themselves, cleanly", () =>
  inPlace(async (place) => {
    const child = await supervisorProcess(place, 3);
    const pids = pidsOf(place);
    expect(pids.filter(isAlive)).toHaveLength(3);
    await killSupervisor(child);
    await waitFor("the nodes to end", () => pids.every((pid) => !isAlive(pid)) || undefined);
    expect(readFileSync(nodeLog(place.layout, "n1"), "utf8")).toContain("stopping: the supervisor has ended");
  }));

test("after kill -9 of the supervisor the next up resumes, with stale socket and pids in the way", () =>
  inPlace(async (place) => {
    await killSupervisor(await supervisorProcess(place, 3));
    expect(existsSync(place.layout.controlSocket)).toBe(true);
    const supervisor = await place.started(null);
    expect(supervisor.facts().nodes.map(({ process }) => process)).toEqual(["running", "running", "running"]);
  }));

test("a node that was left paused is named and ended by the next up", () =>
  inPlace(async (place) => {
    const child = await supervisorProcess(place, 2);
    const [, paused = 0] = pidsOf(place);
    process.kill(paused, "SIGSTOP");
    await killSupervisor(child);
    const result = await place.up(null);
    expect(result).toMatchObject({ kind: "started", leftovers: [{ id: "n2", pid: paused, was: "paused" }] });
    expect(isAlive(paused)).toBe(false);
  }));

test("a stranger that has the pid of a dead node is left alone", () =>
  inPlace(async (place) => {
    await (await place.started(2)).stop();
    const stranger = spawn("sleep", ["60"]);
    try {
      const state = readClusterState(place.layout);
      if (state === null || stranger.pid === undefined) throw new Error("nothing to forge");
      const startTime = identify(process.pid)?.startTime.replace(/\d+$/, "1") ?? "";
      const nodes = state.nodes.map((node) => ({ ...node, pid: stranger.pid ?? 0, startTime }));
      writeClusterState(place.layout, { ...state, pid: stranger.pid, startTime, nodes });
      const result = await place.up(null);
      expect(result).toMatchObject({ kind: "started", leftovers: [] });
      expect(isAlive(stranger.pid)).toBe(true);
    } finally {
      stranger.kill("SIGKILL");
    }
  }));

test("of two terminals that come up at once, one starts the nodes and the other finds them running", () =>
  inPlace(async (place) => {
    const results = await Promise.all([place.up(3), place.up(3)]);
    expect(results.map(({ kind }) => kind).toSorted()).toEqual(["running", "started"]);
    expect(new Set(pidsOf(place)).size).toBe(3);
  }));

test("up beside a running cluster finds it, and refuses another size or another port", () =>
  inPlace(async (place) => {
    await place.started(3);
    expect(await place.up(3)).toMatchObject({ kind: "running", facts: { pid: process.pid } });
    expect(await place.up(null, null)).toMatchObject({ kind: "running" });
    expect(await refusal(place.up(5))).toContain("has 3 nodes, not 5");
    expect(await refusal(place.up(3, place.basePort + 1))).toContain("--base-port");
  }));

test("every port in use is named before anything starts, when a cluster begins or its ports were asked for", () =>
  inPlace(async (place) => {
    const why = `port ${place.basePort + 1} for n2 is in use; nothing was started`;
    {
      using _stranger = occupy(place.basePort + 1);
      expect(await refusal(place.up(3))).toContain(why);
    }
    expect(readdirSync(place.root)).toEqual([]);
    await stopped(await place.started(3));
    using _stranger = occupy(place.basePort + 1);
    expect(await refusal(place.up(3))).toContain(why);
  }));

test("an up that is refused leaves nothing behind, not even the directory above its own, and touches nothing that was there", () =>
  inPlace(async (place) => {
    const layout = clusterLayout(join(place.root, "deep", ".raftq"), "default");
    const up = (size: number, tls = false): Promise<unknown> =>
      bringUp({
        layout,
        request: { name: "default", size, basePort: place.basePort },
        program: FAKE_PROGRAM,
        nodeFlags: [],
        tls,
        onNodeDied: () => {},
      });
    using _stranger = occupy(place.basePort);
    expect(await refusal(up(1, true))).toContain("is in use");
    expect(readdirSync(place.root)).toEqual([]);
    mkdirSync(join(layout.directory, "../nodes/3000"), { recursive: true });
    expect(await refusal(up(1))).toContain("is in use");
    expect(readdirSync(join(layout.directory, ".."))).toEqual(["nodes"]);
    // What an interrupted up left is not this one's.
    createClusterDirectory(layout);
    expect(await refusal(up(1))).toContain("is in use");
    expect(existsSync(layout.marker)).toBe(true);
  }));

test("a refusal for ports names others that are free, where those of a new cluster may be chosen", () =>
  inPlace(async (place) => {
    const { basePort } = place;
    {
      using _stranger = occupy(basePort + 1);
      const why = await refusal(place.up(3));
      const suggested = Number(/; others are free: --base-port (\d+)$/.exec(why)?.[1]);
      expect(suggested).toBeGreaterThan(basePort);
      expect(suggested + 2).toBeLessThanOrEqual(65_535);
      for (const port of [suggested, suggested + 1, suggested + 2]) occupy(port)[Symbol.dispose]();
    }
    await stopped(await place.started(3));
    using _stranger = occupy(basePort + 1);
    expect(await refusal(place.up(3))).not.toContain("--base-port");
  }));

test("a cluster that is resumed gives a node that lost its port the next free one, and keeps it", () =>
  inPlace(async (place) => {
    await stopped(await place.started(3));
    const from = `127.0.0.1:${place.basePort + 1}`;
    const to = `127.0.0.1:${place.basePort + 3}`;
    {
      using _stranger = occupy(place.basePort + 1);
      const result = await place.up(null, null);
      if (result.kind !== "started") throw new Error("it was running already");
      expect(result.moved).toEqual([{ id: "n2", from, to }]);
      await stopped(result.supervisor);
    }
    expect(await place.up(null, null)).toMatchObject({ kind: "started", moved: [] });
    expect(readClusterState(place.layout)?.nodes[1]?.address).toBe(to);
  }));

test("a cluster whose majority lost its ports is not resumed at ports where the members would not find each other", () =>
  inPlace(async (place) => {
    await stopped(await place.started(3));
    using _second = occupy(place.basePort + 1);
    using _third = occupy(place.basePort + 2);
    expect(await refusal(place.up(null, null))).toContain(
      `port ${place.basePort + 1} for n2 is in use; port ${place.basePort + 2} for n3 is in use`,
    );
    expect(readClusterState(place.layout)?.nodes[1]?.address).toBe(`127.0.0.1:${place.basePort + 1}`);
  }));

test("a directory that up did not create is neither used nor deleted", () =>
  inPlace(async (place) => {
    mkdirSync(place.layout.directory, { recursive: true });
    writeFileSync(join(place.layout.directory, "thesis.txt"), "years of work");
    expect(await refusal(place.up(3))).toContain("was not made by `raftq cluster up`");
    expect(() => purgeCluster(place.layout, null)).toThrow("is not deleted");
    expect(readdirSync(place.layout.directory)).toEqual(["thesis.txt"]);
  }));

test("a purge deletes what up created, and leaves and names what somebody else put there", () =>
  inPlace(async (place) => {
    await stopped(await place.started(2));
    writeFileSync(join(place.layout.directory, "notes.txt"), "mine");
    expect(purgeCluster(place.layout, readClusterState(place.layout))).toEqual(["notes.txt"]);
    expect(readdirSync(place.layout.directory)).toEqual(["notes.txt"]);
  }));

test("a purge that was interrupted is finished by the next up, which then founds anew", () =>
  inPlace(async (place) => {
    await stopped(await place.started(3));
    const state = readClusterState(place.layout);
    if (state === null) throw new Error("no state");
    writeClusterState(place.layout, { ...state, purging: true });
    const stale = join(nodeDirectory(place.layout, "n3"), "stale");
    writeFileSync(stale, "");
    expect(await place.up(2)).toMatchObject({
      kind: "started",
      founded: true,
    });
    expect(existsSync(stale)).toBe(false);
    expect(readClusterState(place.layout)).toMatchObject({ purging: false, nodes: [{ id: "n1" }, { id: "n2" }] });
  }));

test("a supervisor that was killed before its first state leaves a directory that the next up uses", () =>
  inPlace(async (place) => {
    mkdirSync(place.layout.directory, { recursive: true });
    createClusterDirectory(place.layout);
    expect(await place.up(1)).toMatchObject({ kind: "started", founded: true });
  }));

test("the lock of a cluster has one holder, and is free again when that one lets go", () =>
  inPlace(async (place) => {
    createClusterDirectory(place.layout);
    const first = lockCluster(place.layout);
    expect(first).not.toBeNull();
    expect(lockCluster(place.layout)).toBeNull();
    first?.release();
    const second = await waitFor("the lock", async () => lockCluster(place.layout) ?? undefined);
    second.release();
  }));
