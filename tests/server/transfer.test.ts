// How does a node hand over leadership while it is worked with? Once for each time it is asked, and whoever asked is told.
import { expect, test } from "bun:test";
import { createClient } from "../../src/client/client.ts";
import { CLIENT } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createTown, type Settled } from "./town.ts";

const PORTS = [3000, 3001, 3002];
const WRITE_EVERY_MS = 2;

const isLeader = ({ node }: Settled): boolean => node.status()?.state === "leader";

/** Three founders, and a client that has a request on its way at any time. */
function busy(seed: number) {
  const town = createTown(seed);
  const nodes = PORTS.map((port) => town.start(port, PORTS, 3));
  town.until(() => nodes.some(isLeader));
  const client = createClient(
    { network: town.network.hostOf("guest"), clock: town.clock, random: seededRandom(seed) },
    {
      addresses: PORTS.map((port) => `127.0.0.1:${port}`),
      clientId: "writer",
      nonce: new Uint8Array(16).fill(7),
      timeoutMs: 10_000,
      follow: true,
      numbered: false,
      gather: false,
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
    town.clock.after(WRITE_EVERY_MS, write);
  };
  write();
  town.until(() => written.acknowledged > 20);
  return { town, nodes, client, written };
}

const termOf = (nodes: readonly Settled[]): number =>
  Math.max(...nodes.map(({ node }) => node.inspect()?.raft.currentTerm ?? 0));

for (const seed of [1, 2, 3]) {
  test(`seed ${seed}: asked once by a client that works meanwhile, leadership moves once`, () => {
    const { town, nodes, client, written } = busy(seed);
    const before = termOf(nodes);
    const answers: string[] = [];
    client.ask({ type: "transfer", to: null }, (result) => {
      answers.push("type" in result ? result.type : result.code);
    });
    town.pass(300);
    expect(answers).toEqual(["done"]);
    expect(termOf(nodes)).toBe(before + 1);
    expect(written.failed).toBe(0);
    const { acknowledged } = written;
    town.pass(100);
    expect(written.acknowledged).toBeGreaterThan(acknowledged + 25);
  });
}
