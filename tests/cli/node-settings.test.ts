// Do a node's flags do what their names promise, and is every combination that cannot work refused with what to type?
import { expect, test } from "bun:test";
import { parseArgs } from "citty";
import { checked, valuesOf } from "../../src/cli/arguments.ts";
import { NODE_ARGUMENTS, nodeStart } from "../../src/cli/node-settings.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { NodeId } from "../../src/raft/types.ts";
import type { Owner } from "../../src/storage/owner.ts";

const NEW: Owner = { nodeId: null, isNew: true };

function start(line: string, environment: Record<string, string> = {}, owner = NEW) {
  const rawArgs = [...checked(NODE_ARGUMENTS, line === "" ? [] : line.split(" "))];
  const values = valuesOf(NODE_ARGUMENTS, { args: parseArgs(rawArgs, NODE_ARGUMENTS), rawArgs }, environment);
  return nodeStart(values, () => owner);
}

function refusal(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    if (error instanceof RaftqError && error.code === "USAGE") return error.message;
    throw error;
  }
  return "not refused";
}

test("without flags a node is n3000 on 127.0.0.1:3000 with its data under .raftq/nodes", () => {
  const { settings, dataDirectory, logLevel, logFormat } = start("");
  expect(settings).toMatchObject({
    id: "n3000",
    host: "127.0.0.1",
    port: 3000,
    advertise: "127.0.0.1:3000",
    join: [],
    expect: null,
    heartbeatMs: 50,
    electionMinMs: 300,
    electionMaxMs: 600,
  });
  expect({ dataDirectory, logLevel, logFormat }).toEqual({
    dataDirectory: ".raftq/nodes/3000",
    logLevel: "info",
    logFormat: "text",
  });
});

test("id and data directory follow the port unless they are given", () => {
  expect(start("--port 4007")).toMatchObject({ settings: { id: "n4007" }, dataDirectory: ".raftq/nodes/4007" });
  expect(start("--port 4007 --id n1 --data /tmp/x")).toMatchObject({ settings: { id: "n1" }, dataDirectory: "/tmp/x" });
});

test("every flag has a variable, and the flag wins over it", () => {
  const environment = {
    RAFTQ_PORT: "4000",
    RAFTQ_HOST: "127.0.0.2",
    RAFTQ_ID: "blue",
    RAFTQ_DATA: "data",
    RAFTQ_JOIN: "a:1,b:2",
    RAFTQ_EXPECT: "3",
    RAFTQ_ADVERTISE: "c:3",
    RAFTQ_HEARTBEAT: "20ms",
    RAFTQ_ELECTION: "100ms-200ms",
    RAFTQ_LOG_LEVEL: "warn",
    RAFTQ_LOG_FORMAT: "json",
  };
  const settings = {
    id: "blue",
    host: "127.0.0.2",
    port: 4000,
    advertise: "c:3",
    join: ["a:1", "b:2"],
    expect: 3,
    heartbeatMs: 20,
    electionMinMs: 100,
    electionMaxMs: 200,
  };
  const meant = { settings, dataDirectory: "data", logLevel: "warn", logFormat: "json" };
  expect(start("", environment)).toMatchObject(meant);
  expect(start("--port 5000 --log-level debug", environment)).toMatchObject({
    ...meant,
    settings: { ...settings, port: 5000 },
    logLevel: "debug",
  });
  const named = Object.values(NODE_ARGUMENTS).map(({ environment: name }) => name);
  expect(named.every((name) => name.startsWith("RAFTQ_"))).toBe(true);
});

test("localhost, IPv4 and IPv6 addresses can be bound and are advertised as they must be dialled", () => {
  expect(start("--host localhost").settings.advertise).toBe("localhost:3000");
  expect(start("--host ::1").settings).toMatchObject({ host: "::1", advertise: "[::1]:3000" });
  expect(start("--host [::1]").settings).toMatchObject({ host: "::1", advertise: "[::1]:3000" });
});

test("a disk that other machines may use is accepted only when a flag allows it", () => {
  expect(start("--port 3000").allowNetworkDisk).toBe(false);
  expect(start("--port 3000 --allow-network-disk").allowNetworkDisk).toBe(true);
});

test("an address that other machines reach is refused unless --insecure is given", () => {
  for (const host of ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7", "fe80::1%lo", "example.org", "1270.0.0.1"]) {
    expect(refusal(() => start(`--host ${host} --advertise a:1`))).toContain("--insecure");
  }
  for (const host of ["127.8.9.10", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]) {
    expect(start(`--host ${host}`).settings.host).toBe(host);
  }
  expect(start("--host 10.0.0.7 --insecure").settings.advertise).toBe("10.0.0.7:3000");
  for (const host of ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"]) {
    expect(refusal(() => start(`--host ${host} --insecure`))).toContain("--advertise host:port");
  }
  // Only this machine knows what eth0 is.
  expect(refusal(() => start("--host fe80::1%eth0 --insecure"))).toContain("is not an address");
  expect(start("--host 0.0.0.0 --insecure --advertise db1:3000").settings.advertise).toBe("db1:3000");
});

test("times that cannot work together are refused with the bound that they break", () => {
  expect(refusal(() => start("--heartbeat 200ms"))).toContain("twice --heartbeat");
  expect(refusal(() => start("--election 300ms-400ms"))).toContain("1.5 x");
  expect(refusal(() => start("--election 600ms-300ms"))).toContain("--election");
  expect(refusal(() => start("--heartbeat 0"))).toContain("at least 1ms");
  for (const wrong of ["300ms", "300ms-", "300-600", "1s-2s-3s", "a-b"]) {
    expect(refusal(() => start(`--election ${wrong}`))).toContain("range of two durations such as 300ms-600ms");
  }
  expect(start("--heartbeat 100ms --election 1s-2s").settings.electionMaxMs).toBe(2_000);
});

test("founders must be as many as --expect states, this node included", () => {
  const three = "127.0.0.1:3000,127.0.0.1:3001,127.0.0.1:3002";
  expect(start(`--join ${three} --expect 3`).settings.expect).toBe(3);
  expect(start("--join 127.0.0.1:3001,127.0.0.1:3002 --expect 3").settings.expect).toBe(3);
  expect(start("--expect 1").settings.expect).toBe(1);
  expect(refusal(() => start(`--join ${three} --expect 5`))).toContain(
    "all 5 founders in --join; with this node they are 3",
  );
  expect(refusal(() => start("--port 4000 --expect 3 --join " + three))).toContain("they are 4");
  expect(refusal(() => start("--expect 3"))).toContain("they are 1: 127.0.0.1:3000");
});

test("a directory that a node has used gives it its id, whatever the port is; one that is given must be the same", () => {
  const used: Owner = { nodeId: "n1" as NodeId, isNew: false };
  expect(start("--port 4007 --data x", {}, used).settings.id).toBe("n1" as NodeId);
  // Storage refuses it, under the lock, by name.
  expect(start("--port 4007 --data x --id n2", {}, used).settings.id).toBe("n2" as NodeId);
  expect(start("--port 4007 --data x", { RAFTQ_ID: "n2" }, used).settings.id).toBe("n2" as NodeId);
  expect(start("--port 4007 --data x", {}, { nodeId: null, isNew: false }).settings.id).toBe("n4007" as NodeId);
});

test("a directory that a node has used resumes, whatever --expect and --join name", () => {
  const used: Owner = { nodeId: "n1" as NodeId, isNew: false };
  for (const line of ["--expect 3", "--expect 5 --join a:1,b:2", "--port 4000 --expect 2 --join a:1,b:2"])
    expect(start(line, {}, used).settings.expect).toBe(Number(/\d/.exec(line.slice(line.indexOf("--expect")))?.[0]));
});

test("an address that nobody can dial is not advertised, wherever it was given", () => {
  for (const address of ["0.0.0.0:3000", "[::]:3000", "[0:0:0:0:0:0:0:0]:3000", "[::ffff:0.0.0.0]:3000"]) {
    const why = `${address} stands for every address of a machine: nobody can dial it.`;
    expect(refusal(() => start(`--advertise ${address}`))).toStartWith(`--advertise ${why}`);
    expect(refusal(() => start("", { RAFTQ_ADVERTISE: address }))).toContain(why);
    expect(refusal(() => start(`--join a:1,${address}`))).toStartWith(`--join ${why}`);
  }
});

test("an address is written one way only, so that the founders' sets can be compared", () => {
  expect(start("--join LOCALHOST:3001,localhost:3001,[::1]:3002").settings.join).toEqual([
    "localhost:3001",
    "[::1]:3002",
  ]);
  for (const wrong of ["localhost", "a:0", "a:70000", ":1", "::1:3000"]) {
    expect(refusal(() => start(`--join ${wrong}`))).toContain("is not an address");
  }
});

test("an id that could not be a directory or a name is refused", () => {
  for (const id of ["N1", "a/b", "..", "x".repeat(33)])
    expect(refusal(() => start(`--id ${id}`))).toContain("is no node id");
});
