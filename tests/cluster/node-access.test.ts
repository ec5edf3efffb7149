// What do cluster commands learn of a node that does not serve?
import { expect, test } from "bun:test";
import { createNodeAccess } from "../../src/cluster/node-access.ts";
import { askStatusAt, type NodeAccess } from "../../src/cluster/status.ts";
import { WIRE } from "../../src/config.ts";
import { failure } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";
import { startFakeCluster } from "../kit/scripted-cluster.ts";

const openAccess = (): NodeAccess =>
  createNodeAccess({ network: createTcpNetwork(WIRE), clock: createRealClock(), random: seededRandom(1) });

test("an address that speaks HTTP is named", async () => {
  const web = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
  const access = openAccess();
  try {
    const address = `127.0.0.1:${web.port}`;
    const why = await askStatusAt([address], access).then(() => "", String);
    expect(why).toBe(`RaftqError: ${address}: the other side speaks HTTP, not raftq.`);
  } finally {
    access.close();
    void web.stop(true);
  }
});

test("one that is down, one that stands still, one that starts and one that has lost its data are distinguished", async () => {
  const cluster = await startFakeCluster(5);
  const access = openAccess();
  try {
    // Its connection is open already when it stops.
    expect(await access.status(cluster.address(5))).toMatchObject({ node: { id: "n5" } });
    cluster.kill(1);
    for (const node of [2, 5]) cluster.nodes[node - 1]!.condition = "frozen";
    cluster.nodes[2]!.condition = failure("STARTING", "no member yet");
    cluster.nodes[3]!.condition = failure("REJOINING", "meta is damaged");
    expect(await Promise.all(cluster.addresses().map((address) => access.status(address)))).toEqual([
      null,
      { silent: true },
      { starting: "no member yet" },
      { rejoining: "meta is damaged" },
      { silent: true },
    ]);
  } finally {
    access.close();
    cluster.stop();
  }
});
