// Which exit codes do commands end with, and what do they print? The binary against scripted nodes.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failure } from "../../src/lib/errors.ts";
import { writeClusterIn } from "../cli/written-cluster.ts";
import { type FakeCluster, startFakeCluster } from "../kit/scripted-cluster.ts";
import { raftq } from "./run-command.ts";

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

test("what another machine reports about a failure is escaped, placeholders and all, by every command", async () => {
  const hostile = "goodbye \u001b[31m %s %d %o\nINFO faked";
  cluster.fate = ({ type }) => (type === "open" || type === "transfer" ? failure("BAD_REQUEST", hostile) : "pass");
  const shown = "raftq: goodbye \\u001b[31m %s %d %o\\u000aINFO faked. Correct the request.\n";
  for (const words of [
    ["client", "enqueue", "1", "--id", "c1"],
    ["cluster", "transfer", "n2"],
  ]) {
    const ran = await raftq([...words, "--addr", cluster.addresses().join(",")]);
    expect(ran).toEqual({ exit: 2, out: [], error: shown });
  }
});

test("without a terminal there is no colour, whatever the environment asks for", async () => {
  const ran = await raftq(["cluster", "nonsense"], { environment: { FORCE_COLOR: "3", TERM: "xterm-256color" } });
  expect(ran.error).toStartWith('raftq: unknown command "nonsense"');
  expect(ran.error).not.toContain("\u001b");
});

test("the program ends with 3 and sends nothing when its cluster is down; --name counts before RAFTQ_ADDR, never with --addr", async () => {
  const directory = mkdtempSync(join(tmpdir(), "raftq-commands-"));
  const root = join(directory, ".raftq");
  try {
    writeClusterIn(root, "default", "down", ["127.0.0.1:4001"]);
    writeClusterIn(root, "test", "runs", cluster.addresses());
    const environment = { RAFTQ_ADDR: "127.0.0.1:1" };
    const named = ["client", "--id", "c1", "--name"];
    const [down, chosen, both] = await Promise.all([
      raftq([...named, "default", "enqueue", "1"], { directory, environment }),
      raftq([...named, "test", "enqueue", "2"], { directory, environment }),
      raftq([...named, "test", "--addr", cluster.address(1), "enqueue", "3"], { directory }),
    ]);
    expect(down).toMatchObject({ exit: 3, out: [] });
    expect(down.error).toBe(
      "raftq: the cluster default of this directory is down: raftq cluster up. Start it, or choose another cluster with --name or --addr.\n",
    );
    expect(chosen).toMatchObject({ exit: 0, out: ["ok id=1 index=2"] });
    expect(both).toMatchObject({ exit: 2, out: [] });
    expect(both.error).toContain("--name is instead of --addr: leave out one of the two.");
    expect(cluster.queue.map(({ payload }) => new TextDecoder().decode(payload))).toEqual(["2"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
