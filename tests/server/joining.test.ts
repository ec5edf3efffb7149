// Whom does a node ask to be let in, how often, and whose answer counts? Two nodes that redirect it to each other must not keep it busy.
import { expect, test } from "bun:test";
import { SERVER } from "../../src/config.ts";
import { failure } from "../../src/lib/errors.ts";
import { type Message } from "../../src/wire/connection.ts";
import type { ClusterId } from "../../src/raft/types.ts";
import { HELLO_ANSWER, member } from "../kit/messages.ts";
import { createCheckedCluster } from "./checked-cluster.ts";
import { createTestCluster, type TestCluster } from "../kit/test-cluster.ts";
import { listenInPlaceOfNode } from "../kit/test-client.ts";

type Asked = Extract<Message, { type: "join" }>;

/** A listener at that port that accepts every hello as a client's, and answers every request to join. */
function answering(testCluster: TestCluster, port: number, answer: (asked: Asked) => Message): void {
  const { clock } = testCluster;
  listenInPlaceOfNode({ network: testCluster.network.hostOf(`client${port}`), clock }, port, (message) => {
    if (message.type === "hello") return { ...HELLO_ANSWER, node: member(2) };
    return message.type === "join" ? answer(message) : null;
  });
}

test("two nodes that each name the other as the leader are asked once a round, both of them", () => {
  const testCluster = createTestCluster();
  const [first, second] = [3008, 3009];
  const asked: number[] = [];
  for (const [port, other] of [
    [first, second],
    [second, first],
  ] as const) {
    answering(testCluster, port, ({ frameId }) => {
      asked.push(port);
      const why = failure("NOT_LEADER", "another one leads", { leader: `127.0.0.1:${other}` });
      return { type: "failure", frameId, failure: why };
    });
  }
  const node = testCluster.start(3000, [first]);
  const rounds = 20;
  testCluster.pass(rounds * SERVER.joinRetryMs);
  expect(asked.length).toBeGreaterThan(rounds);
  expect(asked.length).toBeLessThanOrEqual(2 * rounds);
  expect(asked.slice(0, 4)).toEqual([first, second, first, second]);
  expect(node.stopped()).toBeUndefined();
});

test("a node that has lost its data is not let in by another cluster than its own, whatever that one answers", () => {
  const cluster = createCheckedCluster(3, 61);
  const [port = 0, ...others] = cluster.ports;
  const own = cluster.at(port).node.clusterId();
  for (const one of cluster.ports) cluster.end(one, "kill");
  // At the addresses of its neighbours another cluster lets it in at once.
  let asked = 0;
  for (const other of others)
    answering(cluster.testCluster, other, ({ frameId }) => {
      asked++;
      return { type: "done", frameId, index: 1, clusterId: "00112233445566ff" as ClusterId };
    });
  const { testCluster } = cluster;
  const files = (): readonly string[] => testCluster.diskOf(port).files();
  testCluster.diskOf(port).delete(files().find((file) => file.endsWith("/manifest"))!);
  const before = files();
  const back = cluster.start(port, true);
  cluster.until("both are asked, and again", () => asked > 4);
  expect([back.stopped(), back.node.status(), cluster.quarantined(port)]).toEqual([undefined, null, []]);
  expect(back.logged.map(({ text }) => text).join("\n")).toContain(`this is cluster 00112233445566ff, not ${own}`);
  expect(files().filter((file) => file !== "rejoin")).toEqual([...before]);
});
