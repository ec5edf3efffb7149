// Does a node whose disk is damaged come back by itself? The usual command, and nothing else; nothing acknowledged is lost.
import { expect } from "bun:test";
import {
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/lib/errors.ts";
import {
  type ClusterStatus,
  clusterStatus,
  inWorld,
  inWorldBesideOthers,
  type NodeProcess,
  waitFor,
  type World,
} from "./harness.ts";
import { drain, reckon, startWriter } from "./writers.ts";

const COMEBACK_MS = 60_000;
/** By then the log is closed behind its last frame. */
const QUIET_MS = 500;
/** A node looks once a second; a busy machine may need longer to end. */
const NOTICED_MS = 5_000;

function flip(path: string, at: number): void {
  const byte = readFileSync(path)[at] ?? 0;
  const file = openSync(path, "r+");
  writeSync(file, new Uint8Array([byte ^ 4]), 0, 1, at);
  closeSync(file);
}

function firstSegment(data: string): string {
  const [name = ""] = readdirSync(join(data, "g0/log"))
    .filter((file) => file.endsWith(".seg"))
    .toSorted();
  return join(data, "g0/log", name);
}

/** Its number: FORMAT.md, frames. */
function insideThirdFrame(segment: string): number {
  const bytes = readFileSync(segment);
  let at = 0;
  for (let frame = 1; frame <= 3; frame++) at = bytes.indexOf("rqF1", at + 4);
  return at + 28;
}

/** Waits until all these nodes are voters that have applied everything. */
function whole(world: World, addresses: string, size: number, look: (status: ClusterStatus) => void): Promise<true> {
  return waitFor(`${size} full members`, COMEBACK_MS, async () => {
    const status = await clusterStatus(world, addresses);
    if (status === null) return undefined;
    look(status);
    const voters = status.nodes.filter(({ state }) => state === "leader" || state === "follower");
    return voters.length === size && status.nodes.length === size ? true : undefined;
  });
}

inWorldBesideOthers(
  "five nodes, two damaged at different places and started as ever: both are full members again, nothing is lost",
  async (world) => {
    const { nodes, addresses } = await world.cluster(5);
    const writer = startWriter(world, { number: 1, addresses });
    await waitFor("some jobs", 20_000, () => (writer.acknowledged.length > 500 ? true : undefined));
    const [first, second] = nodes.slice(1, 3) as [NodeProcess, NodeProcess];
    await Bun.sleep(QUIET_MS);
    for (const node of [first, second]) await node.kill();
    flip(firstSegment(first.data), insideThirdFrame(firstSegment(first.data)));
    for (const slot of [0, 4096]) flip(join(second.data, "meta"), slot + 30);
    const damaged = readFileSync(firstSegment(first.data));
    for (const node of [first, second]) node.start();

    const seen = new Set<string>();
    await whole(world, addresses, 5, ({ nodes: lines }) => {
      for (const { id, state } of lines) seen.add(`${id} ${state}`);
    });
    expect([...seen]).toContain(`${first.id} rejoining`);
    expect([...seen]).toContain(`${second.id} rejoining`);
    for (const node of [first, second]) {
      expect(node.log()).toContain("damaged");
      expect(existsSync(join(node.data, "damaged-1", "meta"))).toBe(true);
      expect(node.running()).toBe(true);
    }
    // What was damaged is kept as it was found.
    expect(readFileSync(firstSegment(join(first.data, "damaged-1"))).equals(damaged)).toBe(true);

    // They count again: with both of them and one other there is a majority.
    const gone = nodes.filter((node) => node !== first && node !== second).slice(0, 2);
    for (const node of gone) await node.kill();
    const before = writer.acknowledged.length;
    await waitFor("acknowledgements by the two and one other", 20_000, () =>
      writer.acknowledged.length > before + 300 ? true : undefined,
    );
    for (const node of gone) node.start();
    await writer.stop();
    expect(writer.failed).toEqual([]);
    await whole(world, addresses, 5, () => undefined);
    expect(reckon([writer], await drain(world, addresses))).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
  },
  180_000,
);

inWorld(
  "without a majority damaged nodes wait, answer why when they are asked, and end cleanly",
  async (world) => {
    const { nodes, addresses } = await world.cluster(3);
    await Bun.sleep(QUIET_MS);
    const damaged = nodes.slice(0, 2);
    for (const node of damaged) {
      await node.kill();
      for (const slot of [0, 4096]) flip(join(node.data, "meta"), slot + 30);
    }
    for (const node of damaged) node.start();
    const [one] = damaged as [NodeProcess];
    await waitFor("the reason", 20_000, () => (one.log().includes("waiting to be let in") ? true : undefined));
    const status = await world.raftq(["cluster", "status", "--addr", addresses]);
    expect(status.stdout).toContain("rejoining");
    expect(status.stderr).toContain(`${one.id} has lost its data (both slots of meta are damaged`);
    const asked = await world.raftq(["client", "status", "--addr", one.address, "--timeout", "1s"]);
    expect(asked.code).toBe(EXIT.unreachable);
    expect(await one.stop()).toBe(EXIT.ok);
    expect(existsSync(join(one.data, "g0"))).toBe(true);
  },
  60_000,
);

inWorldBesideOthers(
  "a leader whose directory is deleted, or replaced by a copy, stops within seconds and comes back empty; nothing is lost",
  async (world) => {
    const cluster = await world.cluster(3);
    const writer = startWriter(world, { number: 1, addresses: cluster.addresses });
    for (const isReplaced of [false, true]) {
      const victim = await cluster.leader();
      const before = writer.acknowledged.length;
      await waitFor("some jobs", 20_000, () => (writer.acknowledged.length > before + 300 ? true : undefined));
      if (isReplaced) cpSync(victim.data, `${victim.data}.copy`, { recursive: true });
      const struckAt = performance.now();
      // At once: while `rm` is at work, the node may make another file.
      renameSync(victim.data, `${victim.data}.gone`);
      rmSync(`${victim.data}.gone`, { recursive: true });
      if (isReplaced) renameSync(`${victim.data}.copy`, victim.data);
      expect(await victim.ended()).toBe(EXIT.failed);
      expect(performance.now() - struckAt).toBeLessThan(NOTICED_MS);
      expect(victim.log()).toContain("the data directory was deleted or replaced while the node ran");
      rmSync(victim.data, { recursive: true, force: true });
      victim.start();
      await whole(world, cluster.addresses, 3, () => undefined);
    }
    await writer.stop();
    expect(writer.failed).toEqual([]);
    expect(reckon([writer], await drain(world, cluster.addresses))).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
  },
  180_000,
);

inWorld("swapped directories are refused on both nodes, and swapped back they serve", async (world) => {
  const { nodes, addresses } = await world.cluster(3);
  const [a, b] = nodes.slice(1) as [NodeProcess, NodeProcess];
  for (const node of [a, b]) await node.kill();
  const swap = (): void => {
    renameSync(a.data, `${a.data}.kept`);
    renameSync(b.data, a.data);
    renameSync(`${a.data}.kept`, b.data);
  };
  swap();
  for (const node of [a, b]) {
    node.start();
    expect(await node.ended()).toBe(EXIT.refused);
    expect(node.log()).toContain("the directory belongs to node");
  }
  swap();
  for (const node of [a, b]) node.start();
  await whole(world, addresses, 3, () => undefined);
});
