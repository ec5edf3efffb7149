// Which cluster does a client talk to? The one that was named; never a stranger's because its own is down.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveAddresses } from "../../src/cli/addresses.ts";
import { clusterLayout } from "../../src/cluster/layout.ts";
import { identify } from "../../src/cluster/processes.ts";
import { createClusterDirectory } from "../../src/cluster/state.ts";
import { type ExitCode, RaftqError } from "../../src/lib/errors.ts";
import { startFakeCluster } from "../client/fake-cluster.ts";
import { raftq } from "./run-client.ts";

let directory: string;
let root: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "raftq-client-"));
  root = join(directory, ".raftq");
});
afterEach(() => rmSync(directory, { recursive: true }));

const OWN = ["127.0.0.1:4001", "127.0.0.1:4002"];
const OTHER = ["127.0.0.1:5001"];
const FALLBACK = ["127.0.0.1:3000"];

/** What `up` leaves in a directory: with a supervisor that lives (this process), or with one that is gone. */
function writeCluster(name: string, state: "runs" | "down", addresses: readonly string[] = OWN): void {
  const startTime = identify(process.pid)?.startTime ?? "";
  createClusterDirectory(clusterLayout(root, name));
  const nodes = addresses.map((address, at) => ({ id: `n${at + 1}`, address, pid: null, startTime: null }));
  const supervisor = { pid: process.pid, startTime: state === "runs" ? startTime : "0 0" };
  const content = { name, ...supervisor, founders: addresses, nextNumber: 9, purging: false, nodes };
  writeFileSync(join(root, name, "cluster.json"), JSON.stringify(content));
}

interface Resolved {
  readonly addresses: readonly string[];
  readonly said: readonly string[];
}

function resolved(given: { readonly addr?: readonly string[]; readonly name?: string } = {}): Resolved {
  const said: string[] = [];
  const { addresses } = resolveAddresses(given, root, (text) => said.push(text));
  return { addresses, said };
}

/** Exit code and all lines. */
function refusal(given: { readonly name?: string } = {}): readonly [ExitCode, string] {
  try {
    resolved(given);
  } catch (error) {
    if (error instanceof RaftqError) return [error.exitCode, [error.message, ...error.details].join("\n")];
    throw error;
  }
  throw new Error("it was not refused");
}

describe("without a word about addresses, a client asks", () => {
  test("the one cluster that runs here, and says so", () => {
    writeCluster("default", "down");
    writeCluster("test", "runs", OTHER);
    expect(resolved()).toEqual({ addresses: OTHER, said: [`cluster test under .raftq/: ${OTHER.join(",")}`] });
  });

  test("nobody when the cluster of this directory is down: whoever has its ports now is a stranger", () => {
    writeCluster("default", "down");
    expect(refusal()).toEqual([3, "the cluster default of this directory is down: raftq cluster up"]);
    rmSync(join(root, "default"), { recursive: true });
    writeCluster("test", "down");
    expect(refusal()).toEqual([3, "the cluster test of this directory is down: raftq cluster up --name test"]);
  });

  test("nobody when several are down, or when several run: they are listed", () => {
    writeCluster("default", "down");
    writeCluster("test", "down");
    expect(refusal()).toEqual([
      3,
      "all clusters of this directory are down\n  default: raftq cluster up\n  test: raftq cluster up --name test",
    ]);
    writeCluster("default", "runs");
    writeCluster("test", "runs", OTHER);
    expect(refusal()).toEqual([
      2,
      `several clusters run under .raftq/: name one with --name.\n  --name default: ${OWN.join(",")}\n  --name test: ${OTHER.join(",")}`,
    ]);
  });

  test("127.0.0.1:3000 only where there is no cluster: no .raftq, data of single nodes, somebody's own files", () => {
    expect(resolved()).toEqual({ addresses: FALLBACK, said: [] });
    mkdirSync(join(root, "nodes", "3000"), { recursive: true });
    mkdirSync(join(root, "x".repeat(40)));
    mkdirSync(join(root, "notes"));
    mkdirSync(join(root, "Not A Name"));
    writeFileSync(join(root, "default"), "a file");
    expect(resolved()).toEqual({ addresses: FALLBACK, said: [] });
    rmSync(root, { recursive: true });
    writeFileSync(root, "a file");
    expect(resolved()).toEqual({ addresses: FALLBACK, said: [] });
  });

  test("nobody when a directory of `up` has no state, or one that cannot be read: what runs there is not known", () => {
    createClusterDirectory(clusterLayout(root, "default"));
    expect(refusal()).toEqual([3, "the cluster default of this directory is down: raftq cluster up"]);
    writeFileSync(join(root, "default", "cluster.json"), "{");
    writeCluster("test", "runs", OTHER);
    expect(refusal()).toEqual([1, expect.stringMatching(/cluster\.json is not what `cluster up` writes/)]);
    // Named, the other one is asked all the same.
    expect(resolved({ name: "test" }).addresses).toEqual(OTHER);
  });

  test("nobody when the cluster's directory is a link: somebody else may have chosen where it leads", () => {
    writeCluster("default", "runs");
    symlinkSync(join(root, "default"), join(root, "linked"));
    expect(refusal()).toEqual([6, expect.stringContaining("is a symbolic link")]);
  });
});

describe("--name", () => {
  test("chooses among several, and says which addresses those are", () => {
    writeCluster("default", "runs");
    writeCluster("test", "runs", OTHER);
    expect(resolved({ name: "test" })).toEqual({
      addresses: OTHER,
      said: [`cluster test under .raftq/: ${OTHER.join(",")}`],
    });
  });

  test("of a cluster that is down is refused, although another one runs", () => {
    writeCluster("default", "runs");
    writeCluster("test", "down");
    expect(refusal({ name: "test" })).toEqual([
      3,
      "the cluster test of this directory is down: raftq cluster up --name test",
    ]);
  });

  test("of a cluster that is not there is refused with those that are", () => {
    expect(refusal({ name: "tset" })).toEqual([3, `there is no cluster "tset" in this directory, and no other one`]);
    mkdirSync(join(root, "nodes"), { recursive: true });
    writeCluster("default", "runs");
    writeCluster("test", "down");
    expect(refusal({ name: "tset" })).toEqual([
      3,
      `there is no cluster "tset" in this directory; there is default, test. Did you mean test?`,
    ]);
    expect(refusal({ name: "nodes" })).toEqual([2, expect.stringContaining('"nodes" is reserved')]);
  });
});

test("addresses that were given count before any cluster of the directory", () => {
  writeCluster("default", "down");
  expect(resolved({ addr: OTHER })).toEqual({ addresses: OTHER, said: [] });
});

test("the program ends with 3 and sends nothing when its cluster is down; --name counts before RAFTQ_ADDR, never with --addr", async () => {
  const cluster = await startFakeCluster(3);
  try {
    writeCluster("default", "down");
    writeCluster("test", "runs", cluster.addresses());
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
    cluster.stop();
  }
});
