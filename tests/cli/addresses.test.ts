// Which cluster does a client talk to? The one that was named; never a stranger's because its own is down.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { resolveAddresses } from "../../src/cli/addresses.ts";
import { clusterLayout } from "../../src/cluster/layout.ts";
import { createClusterDirectory } from "../../src/cluster/state.ts";
import { type ExitCode, RaftqError } from "../../src/lib/errors.ts";
import { writeClusterIn } from "./written-cluster.ts";

let directory: string;
let root: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "raftq-client-"));
  root = join(directory, ".raftq");
});
afterEach(() => rmSync(directory, { recursive: true }));

const OWN: readonly string[] = ["127.0.0.1:4001", "127.0.0.1:4002"];
const OTHER = ["127.0.0.1:5001"];
const FALLBACK = ["127.0.0.1:3000"];

const writeCluster = (name: string, state: "runs" | "down", addresses = OWN): void =>
  writeClusterIn(root, name, state, addresses);

interface Resolved {
  readonly addresses: readonly string[];
  readonly output: readonly string[];
}

function resolved(given: { readonly addr?: readonly string[]; readonly name?: string } = {}): Resolved {
  const output: string[] = [];
  const { addresses } = resolveAddresses(given, root, (text) => output.push(text));
  return { addresses, output };
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
  test("the one cluster that runs here, and reports it", () => {
    writeCluster("default", "down");
    writeCluster("test", "runs", OTHER);
    expect(resolved()).toEqual({ addresses: OTHER, output: [`cluster test under .raftq/: ${OTHER.join(",")}`] });
  });

  test("nobody when the cluster of this directory is down: a process that has its ports now is a stranger", () => {
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
    expect(resolved()).toEqual({ addresses: FALLBACK, output: [] });
    mkdirSync(join(root, "nodes", "3000"), { recursive: true });
    mkdirSync(join(root, "x".repeat(40)));
    mkdirSync(join(root, "notes"));
    mkdirSync(join(root, "Not A Name"));
    writeFileSync(join(root, "default"), "a file");
    expect(resolved()).toEqual({ addresses: FALLBACK, output: [] });
    rmSync(root, { recursive: true });
    writeFileSync(root, "a file");
    expect(resolved()).toEqual({ addresses: FALLBACK, output: [] });
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
  test("chooses among several, and reports which addresses those are", () => {
    writeCluster("default", "runs");
    writeCluster("test", "runs", OTHER);
    expect(resolved({ name: "test" })).toEqual({
      addresses: OTHER,
      output: [`cluster test under .raftq/: ${OTHER.join(",")}`],
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
  expect(resolved({ addr: OTHER })).toEqual({ addresses: OTHER, output: [] });
});
