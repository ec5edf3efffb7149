// What if a port of another program is taken for a node's, or a node's for another program's? Both sides report what speaks there.
import { expect, test } from "bun:test";
import { createTestCluster, type TestNode, type TestCluster } from "../kit/test-cluster.ts";

const textsOf = ({ logged }: TestNode, event: string): readonly string[] =>
  logged.filter((line) => line.event === event).map(({ text }) => text);

/** A web server, as far as a node can see. */
function listenHttp(testCluster: TestCluster, port: number): void {
  testCluster.network.hostOf("web").listen(
    "127.0.0.1",
    port,
    (stream) => {
      stream.onData = () => {
        stream.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"));
        stream.close();
      };
    },
    () => {},
  );
}

function sendTo(testCluster: TestCluster, port: number, bytes: Uint8Array): void {
  testCluster.network.hostOf("browser").dial(`127.0.0.1:${port}`, 1_000, (result) => {
    if (result.ok) result.stream.write(bytes);
  });
  testCluster.pass(100);
}

test("a node logs who spoke HTTP or TLS to its port, once", () => {
  const testCluster = createTestCluster();
  const node = testCluster.start(3000);
  testCluster.until(() => node.node.status()?.state === "leader");
  for (let times = 0; times < 3; times++) {
    sendTo(testCluster, 3000, new TextEncoder().encode("GET /metrics HTTP/1.1\r\n\r\n"));
    sendTo(testCluster, 3000, Uint8Array.of(0x16, 3, 1, 0, 5, 1));
  }
  expect(textsOf(node, "refused").map((text) => text.replace(/^refused [^:]+: /, ""))).toEqual([
    "the other side speaks HTTP, not raftq",
    "the other side speaks TLS, and this one was started without --tls-cert",
  ]);
});

test("--join of a port that speaks HTTP ends with its name", () => {
  const testCluster = createTestCluster();
  listenHttp(testCluster, 3001);
  const node = testCluster.start(3000, [3001]);
  testCluster.until(() => node.stopped() !== undefined);
  expect(node.stopped()).toMatchObject({
    code: "USAGE",
    message: "127.0.0.1:3001 cannot let this node in: the other side speaks HTTP, not raftq",
  });
});

test("a founder that is given such a port reports it, once, and goes on", () => {
  const testCluster = createTestCluster();
  listenHttp(testCluster, 3001);
  const node = testCluster.start(3000, [3000, 3001], 2);
  testCluster.pass(5_000);
  expect(node.stopped()).toBeUndefined();
  expect(textsOf(node, "peer-refused")).toEqual(["no link to 127.0.0.1:3001: the other side speaks HTTP, not raftq"]);
});

test("a member whose address is another program's now is named", () => {
  const testCluster = createTestCluster();
  const [first, second] = [3000, 3001].map((port) => testCluster.start(port, [3000, 3001], 2));
  if (first === undefined || second === undefined) throw new Error("two nodes");
  testCluster.until(() => first.node.status()?.members.every(({ reachable }) => reachable) === true);
  testCluster.end(3001, "kill");
  listenHttp(testCluster, 3001);
  testCluster.pass(5_000);
  expect(textsOf(first, "peer-refused")).toEqual(["no link to 127.0.0.1:3001: the other side speaks HTTP, not raftq"]);
});
