// What does `raftq cluster status` end with? The real program against scripted nodes.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { type FakeCluster, startFakeCluster } from "../client/fake-cluster.ts";
import { raftq } from "./run-client.ts";

let cluster: FakeCluster;
beforeEach(async () => {
  cluster = await startFakeCluster(3);
});
afterEach(() => cluster.stop());

test("status ends with 0 while a node leads, with 3 when none does although all answer, and shows the nodes both times", async () => {
  const status = ["cluster", "status", "--addr", cluster.addresses().join(",")];
  const both = () => Promise.all([raftq(status), raftq([...status, "--json"])]);
  const leaders = ({ out }: { readonly out: readonly string[] }): unknown =>
    (JSON.parse(out.join("\n")) as { readonly leader: unknown }).leader;
  const [led, ledJson] = await both();
  expect([led.exit, ledJson.exit, leaders(ledJson)]).toEqual([0, 0, "n1"]);
  cluster.lead(0);
  const [none, noneJson] = await both();
  expect([none.exit, noneJson.exit, leaders(noneJson)]).toEqual([3, 3, null]);
  expect(none.out.join("\n")).toMatch(/no leader[^]*n1[^]*n2[^]*n3/);
});
