// Do the three commands work as a newcomer types them: a node, a client, a cluster?
import { expect } from "bun:test";
import { freePorts } from "../kit/free-ports.ts";
import { waitFor, inWorld } from "./harness.ts";

inWorld("one node and one client: what was enqueued is dequeued, in order", async (world) => {
  const [port = 0] = freePorts(1);
  const node = world.node({ id: "n1", port });
  await waitFor("the node to found a cluster", 5_000, () =>
    node.log().includes("FOUNDED new cluster") ? true : undefined,
  );
  const input = "enqueue(42)\nenqueue 43\n\n# a remark\nDEQUEUE\n dequeue \ndequeue\n-1\nenqueue(44)\n";
  const answer = await world.raftq(["client", "--id", "c1", "--addr", `127.0.0.1:${port}`], { input });
  expect(answer.stdout.split("\n")).toEqual([
    expect.stringMatching(/^ok id=1 index=\d+$/),
    expect.stringMatching(/^ok id=2 index=\d+$/),
    "42",
    "43",
    "(empty)",
    "",
  ]);
  expect(answer.code).toBe(0);
  expect(await node.stop()).toBe(0);
});

inWorld("localhost, an IPv4 and an IPv6 address all reach a node that listens there", async (world) => {
  const [four = 0, six = 0] = freePorts(2);
  const node = world.node({ id: "n1", port: four });
  const onSix = world.node({ id: "n6", port: six, flags: ["--host", "::1"] });
  for (const [address, of] of [
    [`localhost:${four}`, node],
    [`127.0.0.1:${four}`, node],
    [`[::1]:${six}`, onSix],
  ] as const) {
    await waitFor("the node to found a cluster", 5_000, () =>
      of.log().includes("FOUNDED new cluster") ? true : undefined,
    );
    const answer = await world.raftq(["client", "enqueue", "1", "--addr", address]);
    expect({ address, code: answer.code, stderr: answer.stderr.includes("cannot reach") }).toEqual({
      address,
      code: 0,
      stderr: false,
    });
  }
});

inWorld("five nodes, the leader killed: everything is still there, and nothing is left running", async (world) => {
  await world.up(5);
  const lines = Array.from({ length: 100 }, (_, i) => `enqueue(${i + 1})`).join("\n");
  const enqueued = await world.raftq(["client", "--id", "c1"], { input: lines });
  expect(enqueued.code).toBe(0);
  expect(enqueued.stdout.trim().split("\n").length).toBe(100);
  expect(await world.raftq(["cluster", "kill", "leader"])).toMatchObject({ code: 0 });
  const dequeued = await world.raftq(["client", "--id", "c2"], { input: "dequeue\n".repeat(101) });
  expect(dequeued.stdout.trim().split("\n")).toEqual([
    ...Array.from({ length: 100 }, (_, i) => String(i + 1)),
    "(empty)",
  ]);
  expect(await world.raftq(["cluster", "down"])).toMatchObject({ code: 0 });
});
