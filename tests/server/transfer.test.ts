// How does a node hand over leadership while clients use it? Once for each request, and each request is answered.
import { expect, test } from "bun:test";
import { createClient } from "../../src/client/client.ts";
import { CLIENT } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createTestCluster, isLeader, type TestNode } from "../kit/test-cluster.ts";

const PORTS = [3000, 3001, 3002];
const WRITE_EVERY_MS = 2;

/** Three founders, and a client that has a request on its way at any time. */
function busy(seed: number) {
  const testCluster = createTestCluster(seed);
  const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3));
  testCluster.until(() => nodes.some(isLeader));
  const client = createClient(
    { network: testCluster.network.hostOf("client"), clock: testCluster.clock, random: seededRandom(seed) },
    {
      addresses: PORTS.map((port) => `127.0.0.1:${port}`),
      clientId: "writer",
      nonce: new Uint8Array(16).fill(7),
      timeoutMs: 10_000,
      follow: true,
      numbered: false,
      batch: false,
      acknowledge: { when: "delivered", earlier: "fetched", whenIdle: false },
      generated: false,
      closeOnLeave: true,
      limits: CLIENT.limits,
    },
    () => {},
  );
  const written = { acknowledged: 0, failed: 0 };
  const write = (): void => {
    const jobs = [{ encoding: 0, payload: new Uint8Array(16) }];
    client.submit({ type: "enqueue", queue: "default", jobs }, ({ ok }) => {
      if (ok) written.acknowledged++;
      else written.failed++;
    });
    testCluster.clock.after(WRITE_EVERY_MS, write);
  };
  write();
  testCluster.until(() => written.acknowledged > 20);
  return { testCluster, nodes, client, written };
}

const termOf = (nodes: readonly TestNode[]): number =>
  Math.max(...nodes.map(({ node }) => node.inspect()?.raft.currentTerm ?? 0));

for (const seed of [1, 2, 3]) {
  test(`seed ${seed}: asked once by a client that works meanwhile, leadership moves once`, () => {
    const { testCluster, nodes, client, written } = busy(seed);
    const before = termOf(nodes);
    const answers: string[] = [];
    client.ask({ type: "transfer", to: null }, (result) => {
      answers.push("type" in result ? result.type : result.code);
    });
    testCluster.pass(300);
    expect(answers).toEqual(["done"]);
    expect(termOf(nodes)).toBe(before + 1);
    expect(written.failed).toBe(0);
    const { acknowledged } = written;
    testCluster.pass(100);
    expect(written.acknowledged).toBeGreaterThan(acknowledged + 25);
  });
}
