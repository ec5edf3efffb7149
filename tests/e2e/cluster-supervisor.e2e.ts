// Does the supervisor own its processes, and only those?
import { expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { askSupervisor, type ControlRequest } from "../../src/cluster/control.ts";
import { nodeDirectory, nodeLog } from "../../src/cluster/layout.ts";
import { readClusterState } from "../../src/cluster/state.ts";
import { inPlace, isAlive, listening, type Place, refusal, waitFor } from "./place.ts";
import { occupy } from "../kit/free-ports.ts";

/** Processes start slowly on a machine that is busy with other tests. */
setDefaultTimeout(20_000);

const ask = (place: Place, request: ControlRequest) => askSupervisor(place.layout.controlSocket, request, 8_000);

test("up starts every node with the founders' addresses, and writes down whose processes they are", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(3);
    const { nodes } = supervisor.facts();
    const addresses = [0, 1, 2].map((i) => `127.0.0.1:${place.basePort + i}`);
    expect(nodes.map(({ id, address, process }) => ({ id, address, process }))).toEqual(
      addresses.map((address, i) => ({ id: `n${i + 1}`, address, process: "running" })),
    );
    for (const { id } of nodes) {
      expect(readFileSync(nodeLog(place.layout, id), "utf8")).toContain(`--join ${addresses.join(",")} --expect 3`);
    }
    const state = readClusterState(place.layout);
    expect(state?.pid).toBe(process.pid);
    expect(state?.nodes.map((node) => node.pid)).toEqual(nodes.map((node) => node.pid));
  }));

test("each node runs in a session of its own, so that Ctrl-C reaches the supervisor alone", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    for (const { pid } of supervisor.facts().nodes) {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
      expect(Number(fields[3])).toBe(pid ?? 0);
    }
  }));

test("stop ends all nodes cleanly, removes the control socket, and reports that nothing runs", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(3);
    const pids = supervisor.facts().nodes.map((node) => node.pid ?? 0);
    await supervisor.stop();
    await supervisor.stopped;
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(place.layout.controlSocket)).toBe(false);
    expect(readFileSync(nodeLog(place.layout, "n2"), "utf8")).toContain("stopping: SIGTERM");
    const state = readClusterState(place.layout);
    expect([state?.pid, ...(state?.nodes.map((node) => node.pid) ?? [])]).toEqual([null, null, null, null]);
    expect(place.deaths).toEqual([]);
  }));

/** What somebody may do to `.raftq/default` while its cluster runs, and what must be as it is then. */
const DELETIONS: readonly (readonly [string, (place: Place) => readonly string[]])[] = [
  [
    "deleted",
    ({ layout }) => {
      rmSync(layout.directory, { recursive: true });
      return [];
    },
  ],
  [
    "emptied",
    ({ layout }) => {
      for (const name of readdirSync(layout.directory)) rmSync(join(layout.directory, name), { recursive: true });
      return [];
    },
  ],
  [
    "replaced",
    ({ layout }) => {
      const other = `${layout.directory}-other`;
      cpSync(layout.directory, other, { recursive: true, filter: (path) => !path.endsWith(".sock") });
      writeFileSync(join(other, "control.sock"), "another supervisor's");
      renameSync(layout.directory, `${layout.directory}-moved`);
      renameSync(other, layout.directory);
      return [layout.stateFile, layout.controlSocket];
    },
  ],
];

test.each(DELETIONS)(
  "a supervisor whose directory is %s stops all nodes, reports why, and changes nothing there",
  (_, strike) =>
    inPlace(async (place) => {
      const supervisor = await place.started(3);
      const pids = supervisor.facts().nodes.map((node) => node.pid ?? 0);
      const ended = refusal(supervisor.stopped);
      const others = strike(place);
      const before = others.map((path) => readFileSync(path, "utf8"));
      expect(await ended).toContain(`${place.layout.directory} was deleted or replaced while cluster "default" ran`);
      expect(pids.filter(isAlive)).toEqual([]);
      expect(others.map((path) => readFileSync(path, "utf8"))).toEqual(before);
      if (others.length === 0) expect(existsSync(place.layout.stateFile)).toBe(false);
    }),
);

test("a supervisor is not misled by a node that ends at the moment when the directory goes", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    const ended = refusal(supervisor.stopped);
    rmSync(place.layout.directory, { recursive: true });
    process.kill(supervisor.facts().nodes[1]?.pid ?? 0, "SIGUSR2");
    expect(await ended).toContain("was deleted or replaced");
  }));

test("a node that dies by itself is reported with its last lines and is not started again", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(3);
    process.kill(supervisor.facts().nodes[1]?.pid ?? 0, "SIGUSR2");
    const death = await waitFor("the report", () => place.deaths[0]);
    expect(death.id).toBe("n2");
    expect(death.end.code).toBe(8);
    expect(death.end.lastLines.at(-1)).toBe("the disk is on fire");
    const { cluster } = await ask(place, { command: "describe" });
    expect(cluster.nodes[1]).toMatchObject({ id: "n2", pid: null, process: "down", ended: { code: 8 } });
  }));

test("a node that was killed on purpose is no report, and start brings it back under another pid", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    const before = supervisor.facts().nodes[0]?.pid ?? 0;
    expect(await ask(place, { command: "kill", node: "n1" })).toMatchObject({ node: "n1", changed: true });
    expect(isAlive(before)).toBe(false);
    expect(await ask(place, { command: "kill", node: "n1" })).toMatchObject({ changed: false });
    expect(await ask(place, { command: "start", node: "n1" })).toMatchObject({ changed: true });
    expect(await ask(place, { command: "start", node: "n1" })).toMatchObject({ changed: false });
    const after = supervisor.facts().nodes[0]?.pid ?? 0;
    expect(isAlive(after)).toBe(true);
    expect(readClusterState(place.layout)?.nodes[0]?.pid).toBe(after);
    expect(place.deaths).toEqual([]);
  }));

test("a paused node is shown as paused, and stop ends it too", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    const pid = supervisor.facts().nodes[1]?.pid ?? 0;
    await ask(place, { command: "pause", node: "n2" });
    await waitFor("the pause", () => supervisor.facts().nodes[1]?.process === "paused" || undefined);
    expect(await ask(place, { command: "resume", node: "n2" })).toMatchObject({ changed: true });
    await waitFor("the end of the pause", () => supervisor.facts().nodes[1]?.process === "running" || undefined);
    await ask(place, { command: "pause", node: "n2" });
    await supervisor.stop();
    expect(isAlive(pid)).toBe(false);
  }));

test("a node that is asked for and does not exist is refused with the names that do", () =>
  inPlace(async (place) => {
    await place.started(2);
    expect(await refusal(ask(place, { command: "kill", node: "n7" }))).toContain('no node "n7"; it has n1, n2');
  }));

test("a node that was removed is refused with where its data are and how to add another", () =>
  inPlace(async (place) => {
    await place.started(2);
    mkdirSync(nodeDirectory(place.layout, "n2"), { recursive: true });
    await ask(place, { command: "retire", node: "n2" });
    const reason = await refusal(ask(place, { command: "start", node: "n2" }));
    expect(reason).toContain("n2 was removed from cluster");
    expect(reason).toContain(`its data stay in ${nodeDirectory(place.layout, "n2")}. \`raftq cluster add`);
  }));

test("a node that is down is not paused, and the refusal states how to start it", () =>
  inPlace(async (place) => {
    await place.started(2);
    await ask(place, { command: "kill", node: "n2" });
    expect(await refusal(ask(place, { command: "pause", node: "n2" }))).toMatch(
      /n2 is down\. Start it: raftq cluster start n2( --name [a-z]+)?\./,
    );
  }));

test("an added node takes the next number and port, and a retired number is never used again", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    expect(await ask(place, { command: "add" })).toMatchObject({ node: "n3" });
    await listening(supervisor.facts());
    expect(readFileSync(nodeLog(place.layout, "n3"), "utf8")).not.toContain("--expect");
    await ask(place, { command: "retire", node: "n3" });
    expect(await ask(place, { command: "add" })).toMatchObject({ node: "n4" });
    await supervisor.stop();
    await supervisor.stopped;
    const again = await place.started(null);
    expect(again.facts().nodes.map(({ id, address }) => `${id} ${address}`)).toEqual(
      [1, 2, 4].map((number) => `n${number} 127.0.0.1:${place.basePort + number - 1}`),
    );
  }));

test("two terminals that add at once get two different nodes", () =>
  inPlace(async (place) => {
    await place.started(1);
    using _second = occupy(place.basePort + 1);
    const added = await Promise.all([ask(place, { command: "add" }), ask(place, { command: "add" })]);
    expect(new Set(added.map(({ node }) => node))).toEqual(new Set(["n2", "n3"]));
    const addresses = added.flatMap(({ cluster }) => cluster.nodes.map(({ address }) => address));
    expect(new Set(addresses).size).toBe(3);
  }));

test("a node that is added, or started again, takes the next free port when its own is taken", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(3);
    const addressOf = (id: string): string | undefined =>
      supervisor.facts().nodes.find((node) => node.id === id)?.address;
    using _fourth = occupy(place.basePort + 3);
    expect(await ask(place, { command: "add" })).toMatchObject({ node: "n4" });
    expect(addressOf("n4")).toBe(`127.0.0.1:${place.basePort + 4}`);
    await ask(place, { command: "kill", node: "n2" });
    using _second = occupy(place.basePort + 1);
    expect(await ask(place, { command: "start", node: "n2" })).toMatchObject({ changed: true });
    expect(addressOf("n2")).toBe(`127.0.0.1:${place.basePort + 5}`);
    await listening(supervisor.facts());
    const written = readClusterState(place.layout)?.nodes.map(({ address }) => address);
    expect(written).toEqual(supervisor.facts().nodes.map(({ address }) => address));
  }));

test("one of two nodes is not started at a port where the other one would not find it", () =>
  inPlace(async (place) => {
    await place.started(2);
    await ask(place, { command: "kill", node: "n2" });
    {
      using _second = occupy(place.basePort + 1);
      const why = await refusal(ask(place, { command: "start", node: "n2" }));
      expect(why).toContain(`port ${place.basePort + 1} for n2 is in use; nothing was started`);
    }
    expect(await ask(place, { command: "start", node: "n2" })).toMatchObject({ changed: true });
  }));

test("what is no request is refused, and the supervisor goes on", () =>
  inPlace(async (place) => {
    await place.started(1);
    for (const line of ["", "{", '"kill"', '{"command":"kill"}', '{"command":"reboot","node":"n1"}', "[]"]) {
      expect(await sendRaw(place, `${line}\n`)).toContain('"code":"BAD_REQUEST"');
    }
    expect(await sendRaw(place, "x".repeat(100_000))).toBe("");
    expect(await ask(place, { command: "describe" })).toMatchObject({ cluster: { name: "default" } });
  }));

test("down is answered after the last node has ended", () =>
  inPlace(async (place) => {
    const supervisor = await place.started(2);
    // A terminal that connects and sends nothing must not hold up the end.
    const silent = connect(place.layout.controlSocket);
    silent.on("error", () => {});
    const { cluster } = await ask(place, { command: "down" });
    expect(cluster.nodes.map((node) => node.process)).toEqual(["down", "down"]);
    await supervisor.stopped;
    silent.destroy();
  }));

function sendRaw(place: Place, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(place.layout.controlSocket, () => socket.write(text));
    socket.on("data", (bytes) => (answer += bytes.toString()));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
}
