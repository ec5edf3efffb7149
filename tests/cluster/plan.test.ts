// Is what `up` and `add` will do decided right, and is a state file read only when it is one?
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterLayout } from "../../src/cluster/layout.ts";
import { evenSizeHint, planAdd, planUp } from "../../src/cluster/plan.ts";
import { childEnvironment } from "../../src/cluster/program.ts";
import { createClusterDirectory, readClusterState, writeClusterState } from "../../src/cluster/state.ts";

const request = (size: number | null, basePort: number | null = null, name = "default") => ({ name, size, basePort });
const founded = (size: number | null, basePort: number | null = null) => planUp(request(size, basePort), null).state;

test("a fresh cluster has three nodes on 3000 and on, unless the flags name others", () => {
  expect(founded(null).nodes.map(({ id, address }) => `${id} ${address}`)).toEqual([
    "n1 127.0.0.1:3000",
    "n2 127.0.0.1:3001",
    "n3 127.0.0.1:3002",
  ]);
  expect(founded(1, 4100).founders).toEqual(["127.0.0.1:4100"]);
});

test("without a number the size of the data is resumed", () => {
  const plan = planUp(request(null), founded(5));
  expect(plan.kind).toBe("resume");
  expect(plan.state.nodes).toHaveLength(5);
});

test("another size than the data names both ways out, for this cluster's name", () => {
  expect(() => planUp(request(5), founded(3))).toThrow(/has 3 nodes, not 5.*cluster add`.*down --purge`/);
  expect(() => planUp(request(3, null, "blue"), founded(5))).toThrow(
    /remove <node> --name blue`.*down --purge --name blue`/,
  );
});

test("ports beyond the last one are refused", () => {
  expect(() => founded(3, 65_534)).toThrow("leaves no room for 3 ports");
  expect(founded(2, 65_534).nodes[1]?.address).toBe("127.0.0.1:65535");
});

test("a new node gets a number that no node ever had, and the port that goes with it", () => {
  const state = { ...founded(3, 4000), nextNumber: 6 };
  expect(planAdd(state)).toMatchObject({ id: "n6", address: "127.0.0.1:4005" });
  const withoutFirst = { ...state, nodes: state.nodes.slice(1) };
  expect(planAdd(withoutFirst)).toMatchObject({ id: "n6", address: "127.0.0.1:4005" });
  expect(() => planAdd(founded(9))).toThrow("at most 9 nodes");
});

test("only even sizes get a hint", () => {
  expect([1, 3, 5, 7, 9].map(evenSizeHint)).toEqual([null, null, null, null, null]);
  expect(evenSizeHint(4)).toBe("Hint: 4 nodes survive as many failures as 3 do (1); 5 survive 2.");
});

test("a cluster's name is a plain directory name, and `nodes` is taken", () => {
  for (const name of ["", "nodes", "..", "a/b", "A", "-a", "x".repeat(33), "a\n"]) {
    expect(() => clusterLayout(".raftq", name)).toThrow();
  }
  expect(clusterLayout(".raftq", "x".repeat(32)).directory).toBe(`.raftq/${"x".repeat(32)}`);
});

test("the control socket's path stays below what a socket address can hold", () => {
  const deep = join(process.cwd(), "d".repeat(200), "..", ".raftq");
  expect(clusterLayout(deep, "x".repeat(32)).controlSocket.length).toBeLessThan(100);
});

test("children inherit neither Bun's switches nor this shell's RAFTQ_ settings", () => {
  const environment = {
    PATH: "/bin",
    BUN_OPTIONS: "--preload=x",
    BUN_BE_BUN: "1",
    RAFTQ_PORT: "1",
    RAFTQ_LOG_LEVEL: "debug",
  };
  expect(childEnvironment(environment, { RAFTQ_SUPERVISED: "stdin" })).toEqual({
    PATH: "/bin",
    RAFTQ_LOG_LEVEL: "debug",
    RAFTQ_SUPERVISED: "stdin",
  });
});

test("the state comes back as it was written, and what is no state is refused with advice", () => {
  const root = mkdtempSync(join(tmpdir(), "raftq-state-"));
  try {
    const layout = clusterLayout(root, "default");
    createClusterDirectory(layout);
    expect(readClusterState(layout)).toBeNull();
    const state = { ...founded(3), pid: 12, startTime: "boot:1" };
    writeClusterState(layout, state);
    expect(readClusterState(layout)).toEqual(state);
    const text = JSON.stringify(state);
    const spoiled = [
      [text.slice(0, -5), "it is no JSON"],
      ["[]", "name is missing"],
      ["null", "the whole should be Object"],
      ["{}", "name is missing"],
      [text.replace('"pid":12', '"pid":"12"'), "pid should be number"],
      [text.replace('"pid":12', '"pid":-12'), "pid should be >=1"],
      [text.replace('"pid":12', '"pid":1e30'), "pid should be a whole number"],
      [text.replace('"pid":12', '"pid":null'), "the whole should be a process with both pid and startTime"],
      [text.replace('"n2"', "2"), "nodes.1.id should be string"],
      [text.replace('"n2"', '"../.."'), "nodes.1.id should be a node id"],
      [text.replaceAll("127.0.0.1:3001", "--evil"), "founders.1 should be an address"],
      [text.replace('"purging":', '"\\u001b[2J":1,"purging":'), "the whole has a field that is not known here"],
      [text.replace('"id":"n2"', '"id":"n2","__proto__":{}'), "nodes.1 has a field that is not known here"],
    ] as const;
    for (const [wrong, why] of spoiled) {
      writeFileSync(layout.stateFile, wrong);
      expect(() => readClusterState(layout)).toThrow(`cluster.json is not what \`cluster up\` writes (${why}`);
      expect(() => readClusterState(layout)).toThrow(/: restore it, use the raftq that wrote it, or move .* aside$/);
    }
  } finally {
    rmSync(root, { recursive: true });
  }
});
