// Can a cluster grow, shrink and replace a wiped node while it serves, and does it stay one cluster?
import { expect } from "bun:test";
import { rmSync } from "node:fs";
import { freePorts } from "../kit/free-ports.ts";
import {
  type Cluster,
  type ClusterStatus,
  clusterStatus,
  type NodeProcess,
  waitFor,
  type World,
  inWorld,
  type Output,
} from "./harness.ts";
import { drain, reckon, startWriter, STEADY_MS } from "./writers.ts";

const CHANGE_MS = 20_000;

/** Waits until exactly these nodes take part, all of them as voters that follow one leader. */
function votersAre(world: World, addresses: string, ids: readonly string[]): Promise<ClusterStatus> {
  const wanted = ids.toSorted().join(" ");
  return waitFor(`the voters to be ${wanted}`, CHANGE_MS, async () => {
    const status = await clusterStatus(world, addresses);
    const voters = status?.nodes.filter(({ state }) => state === "leader" || state === "follower") ?? [];
    const present = status?.nodes
      .map(({ id }) => id)
      .toSorted()
      .join(" ");
    return status !== null && voters.length === ids.length && present === wanted ? status : undefined;
  });
}

const addressesOf = (nodes: readonly NodeProcess[]): string => nodes.map((node) => node.address).join(",");

inWorld(
  "a cluster grows 1 -> 3 -> 5 -> 7 under load and shrinks to 3 with its leader among the removed",
  async (world) => {
    const ports = freePorts(7);
    const [founderPort = 0] = ports;
    const nodes = [world.node({ id: "n1", port: founderPort })];
    const addresses = ports.map((port) => `127.0.0.1:${port}`).join(",");
    await votersAre(world, addresses, ["n1"]);
    const writers = [1, 2].map((number) => startWriter(world, { number, addresses, everyMs: STEADY_MS }));
    for (const size of [3, 5, 7]) {
      while (nodes.length < size) {
        nodes.push(
          world.node({
            id: `n${nodes.length + 1}`,
            port: ports[nodes.length] as number,
            join: [`127.0.0.1:${founderPort}`],
          }),
        );
      }
      await votersAre(
        world,
        addresses,
        nodes.map((node) => node.id),
      );
    }
    const { leader } = await votersAre(
      world,
      addresses,
      nodes.map((node) => node.id),
    );
    const others = nodes.filter((node) => node.id !== leader).map((node) => node.id);
    const removed = [leader as string, ...others.slice(0, 3)];
    for (const id of removed)
      expect(await world.raftq(["cluster", "remove", id, "--addr", addresses])).toMatchObject({ code: 0 });
    const kept = nodes.filter((node) => !removed.includes(node.id));
    const settled = await votersAre(
      world,
      addressesOf(kept),
      kept.map((node) => node.id),
    );

    // The removed nodes still run, and must not disturb those that stay: no election, no lost request.
    await Bun.sleep(2_000);
    const later = await votersAre(
      world,
      addressesOf(kept),
      kept.map((node) => node.id),
    );
    expect({ leader: later.leader, term: later.term }).toEqual({ leader: settled.leader, term: settled.term });
    await Promise.all(writers.map((writer) => writer.stop()));
    expect(writers.flatMap((writer) => writer.failed)).toEqual([]);
    expect(reckon(writers, await drain(world, addressesOf(kept)))).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
  },
  120_000,
);

inWorld(
  "a wiped node under its old id comes back as a learner and is swapped in",
  async (world) => {
    const cluster: Cluster = await world.cluster(3);
    const { addresses, nodes } = cluster;
    const writer = startWriter(world, { number: 1, addresses, everyMs: STEADY_MS });
    const victim = nodes.find((node) => node.id !== "n1") as NodeProcess;
    const survivors = nodes.filter((node) => node !== victim);
    await victim.kill();
    rmSync(victim.data, { recursive: true });
    victim.start({ join: survivors.map((node) => node.address) });
    const founded = (await clusterStatus(world, addressesOf(survivors)))?.clusterId;
    await votersAre(world, addresses, ["n1", "n2", "n3"]);

    // It counts again: with it and one other a majority is there.
    const [gone, stays] = survivors as [NodeProcess, NodeProcess];
    await gone.kill();
    const before = writer.acknowledged.length;
    await waitFor("an acknowledgement by the wiped node and one other", 10_000, () =>
      writer.acknowledged.length > before + 500 ? true : undefined,
    );
    expect((await clusterStatus(world, `${stays.address},${victim.address}`))?.clusterId).toBe(founded as string);
    gone.start();
    await writer.stop();
    expect(writer.failed).toEqual([]);
    expect(reckon([writer], await drain(world, addresses))).toEqual({ lost: 0, duplicated: 0, misordered: 0 });
  },
  90_000,
);

inWorld(
  "fresh founders that were given the address of a living member refuse, found nothing, and leave it as it is",
  async (world) => {
    const ports = freePorts(3);
    const [livingPort = 0, ...others] = ports;
    const living = world.node({ id: "n1", port: livingPort });
    const { clusterId } = await votersAre(world, living.address, ["n1"]);
    const join = ports.map((port) => `127.0.0.1:${port}`).join(",");
    const founding = (port: number): Promise<Output> =>
      world.raftq(["node", "--port", String(port), "--join", join, "--expect", "3"]);
    for (const { code, stderr } of await Promise.all(others.map(founding))) {
      expect(code).toBe(6);
      expect(stderr).toContain(`${living.address} belongs to cluster ${clusterId} already`);
      expect(stderr).toContain("to join the one that is there, leave out --expect");
      expect(stderr).not.toMatch(/of the new cluster|FOUNDED/);
    }
    expect((await votersAre(world, living.address, ["n1"])).clusterId).toBe(clusterId);
  },
);

/** How often the node has become a member of a cluster that was founded at that moment. */
const foundings = (node: NodeProcess): number => node.log().match(/new cluster/g)?.length ?? 0;

/** The wiped nodes start as they did the first time. No majority is left to let them in: the honest state is no leader. */
async function expectNoSecondCluster(world: World, wiped: readonly NodeProcess[], living: NodeProcess): Promise<void> {
  const before = (await clusterStatus(world, living.address))?.clusterId;
  await Promise.all(wiped.map((node) => node.kill()));
  for (const node of wiped) {
    rmSync(node.data, { recursive: true });
    node.start();
  }
  await Bun.sleep(4_000);
  for (const node of wiped) {
    expect({ id: node.id, running: node.running(), foundings: foundings(node) }).toEqual({
      id: node.id,
      running: true,
      foundings: 1,
    });
    expect((await clusterStatus(world, node.address))?.clusterId ?? null).toBeNull();
  }
  expect((await clusterStatus(world, living.address))?.clusterId).toBe(before as string);
  const addresses = addressesOf([...wiped, living]);
  expect((await world.raftq(["client", "enqueue", "1", "--addr", addresses, "--timeout", "1s"])).code).toBe(3);
}

inWorld("two of three founders wiped beside the third never found a second cluster", async (world) => {
  const { nodes } = await world.cluster(3);
  const [living, ...wiped] = nodes as [NodeProcess, ...NodeProcess[]];
  await expectNoSecondCluster(world, wiped, living);
});

inWorld("all three founders wiped beside a member that joined later never found a second cluster", async (world) => {
  const { nodes, addresses } = await world.cluster(3);
  const [port = 0] = freePorts(1);
  const living = world.node({ id: "n4", port, join: addresses.split(",") });
  await votersAre(world, `${addresses},${living.address}`, ["n1", "n2", "n3", "n4"]);
  await expectNoSecondCluster(world, nodes, living);
});
