// Does a person see the cluster as it is, and can nothing that a node wrote reach the terminal?
import { expect, test } from "bun:test";
import {
  deathNotice,
  headline,
  nextSteps,
  processTable,
  recoveryNotices,
  statusTable,
} from "../../src/cli/cluster-view.ts";
import type { NodeFacts } from "../../src/cluster/control.ts";
import { reportOf } from "../../src/cli/cluster-nodes.ts";
import {
  type Answer,
  askStatus,
  askStatusAt,
  joinStatus,
  majorityWithout,
  type NodeAccess,
} from "../../src/cluster/status.ts";
import { failure } from "../../src/lib/errors.ts";
import { isClusterId, isIncarnation, isNodeId } from "../../src/raft/types.ts";
import type { MemberStatus, NodeStatus } from "../../src/wire/protocol.ts";

function brand<T, U extends T>(value: T, is: (value: T) => value is U): U {
  if (!is(value)) throw new Error(`${String(value)} is malformed`);
  return value;
}
const id = (text: string) => brand(text, isNodeId);
const incarnation = brand("0123456789abcdef", isIncarnation);
const addressOf = (name: string): string => `127.0.0.1:${3000 + Number(name.slice(1)) - 1}`;

function answer(name: string, state: NodeStatus["state"], term: number, members: readonly string[] = []): NodeStatus {
  return {
    node: { id: id(name), incarnation, address: addressOf(name) },
    clusterId: brand("00000000000000aa", isClusterId),
    state,
    term,
    leader: null,
    leaderAddress: null,
    commitIndex: 9,
    appliedIndex: 8,
    firstIndex: 1,
    lastIndex: 10,
    snapshotIndex: 0,
    members: members.map((member): MemberStatus => ({
      id: id(member),
      incarnation,
      address: addressOf(member),
      role: "voter",
      reachable: true,
      matchIndex: 0,
      diskLow: false,
    })),
    ready: 0,
    readyBytes: 0,
    sessions: 0,
    dormantSessions: 0,
    uptimeMs: 1,
    residentBytes: 1,
    logBytes: 1,
    checkpoint: null,
    times: null,
  };
}

function facts(name: string, process: NodeFacts["process"]): NodeFacts {
  return { id: name, address: addressOf(name), pid: process === "down" ? null : 100, process, ended: null };
}

function accessTo(answers: readonly NodeStatus[]): NodeAccess & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    status: (address) => {
      asked.push(address);
      return Promise.resolve(answers.find(({ node }) => node.address === address) ?? null);
    },
    serves: () => Promise.resolve(false),
    remove: () => Promise.resolve(null),
    readmit: () => Promise.resolve(null),
    transfer: () => Promise.resolve(null),
    refusal: () => null,
    close: () => {},
  };
}

test("the status has the fields of each node in the promised order, and null where a node could not be asked", async () => {
  const access = accessTo([answer("n1", "follower", 2, ["n1"]), answer("n2", "leader", 2, ["n2"])]);
  const nodes = [facts("n1", "running"), facts("n2", "running"), facts("n3", "down")];
  expect(JSON.stringify(await askStatus("default", nodes, access))).toBe(
    '{"name":"default","clusterId":"00000000000000aa","leader":"n2","term":2,"nodes":[' +
      '{"id":"n1","address":"127.0.0.1:3000","pid":100,"state":"follower","term":2,"commitIndex":9,"appliedIndex":8,"lastIndex":10,"snapshotIndex":0,"diskLow":false},' +
      '{"id":"n2","address":"127.0.0.1:3001","pid":100,"state":"leader","term":2,"commitIndex":9,"appliedIndex":8,"lastIndex":10,"snapshotIndex":0,"diskLow":false},' +
      '{"id":"n3","address":"127.0.0.1:3002","pid":null,"state":"down","term":null,"commitIndex":null,"appliedIndex":null,"lastIndex":null,"snapshotIndex":null,"diskLow":null}],' +
      '"members":[{"id":"n2","role":"voter","reachable":true}]}',
  );
});

test("a node that has lost its data is rejoining, and the reason is shown, without anything that could move the cursor", async () => {
  const why = "n3 has lost its data (g0/log/\u001b[2J is damaged); waiting to be let in";
  const access: NodeAccess = {
    ...accessTo([answer("n1", "leader", 2)]),
    status: (address) => Promise.resolve(address === addressOf("n3") ? { rejoining: why } : answer("n1", "leader", 2)),
  };
  const status = await askStatus("default", [facts("n1", "running"), facts("n3", "running")], access);
  expect(status.nodes.map(({ state }) => state)).toEqual(["leader", "rejoining"]);
  expect(status.nodes[1]).toMatchObject({ term: null, why });
  expect(statusTable(status)).toContain("rejoining");
  expect(recoveryNotices(status)).toEqual([
    "n3 has lost its data (g0/log/\\u001b[2J is damaged); waiting to be let in",
  ]);
  expect(status.term).toBe(2);
});

test("a node that is down or paused is not asked, and one that does not answer is starting", async () => {
  const access = accessTo([answer("n1", "leader", 2), answer("n2", "leader", 2), answer("n3", "leader", 2)]);
  const status = await askStatus(
    "default",
    [facts("n1", "paused"), facts("n2", "down"), facts("n4", "running")],
    access,
  );
  expect(access.asked).toEqual([addressOf("n4")]);
  expect(status.nodes.map(({ state }) => state)).toEqual(["paused", "down", "starting"]);
  expect(status.leader).toBeNull();
});

test("a node that accepts connections and answers nothing is unreachable, one that is no member yet starts, at remote addresses too", async () => {
  const answers = new Map<string, Answer>([
    [addressOf("n1"), answer("n1", "leader", 2, ["n1", "n2", "n3", "n4"])],
    [addressOf("n2"), { silent: true }],
    [addressOf("n3"), { starting: "not a member of a cluster yet" }],
  ]);
  const access: NodeAccess = { ...accessTo([]), status: (address) => Promise.resolve(answers.get(address) ?? null) };
  const remote = await askStatusAt([addressOf("n1")], access);
  expect(remote.nodes.map(({ state }) => state)).toEqual(["leader", "unreachable", "starting", "down"]);
  const nodes = ["n1", "n2", "n3", "n4"].map((name) => facts(name, "running"));
  const local = await askStatus("default", nodes, access);
  expect(local.nodes.map(({ state }) => state)).toEqual(["leader", "unreachable", "starting", "starting"]);
});

test("a node that answers here and not the leader is marked", async () => {
  const leading = answer("n1", "leader", 2, ["n1", "n2", "n3"]);
  const members = leading.members.map((member) => ({ ...member, reachable: member.id !== "n3" }));
  const access = accessTo([{ ...leading, members }, answer("n2", "follower", 2), answer("n3", "candidate", 1)]);
  const table = statusTable(await askStatusAt([addressOf("n1")], access)).split("\n");
  expect(table.filter((row) => row.includes("does not answer n1"))).toEqual([table[4] ?? ""]);
  expect(table[4]).toStartWith("n3 ");
});

test("what is left without a node counts voters that run, here or elsewhere", async () => {
  const leading = answer("n1", "leader", 2, ["n1", "n2", "n3", "n4", "n5"]);
  const members = leading.members.map((member) => ({ ...member, reachable: member.id !== "n5" }));
  const access: NodeAccess = { ...accessTo([{ ...leading, members }]) };
  // n4 and n5 run elsewhere, one of them cannot be reached.
  const nodes = [facts("n1", "running"), facts("n2", "running"), facts("n3", "down")];
  const status = await askStatus("default", nodes, access);
  expect(majorityWithout("n1", status)).toEqual({ voters: 5, left: 2, needed: 3 });
  expect(majorityWithout("n3", status)).toEqual({ voters: 5, left: 3, needed: 3 });
  expect(majorityWithout("n3", await askStatus("default", nodes, accessTo([])))).toBeNull();
});

test("killing or pausing the node that a majority needed is reported as such", () => {
  const done = { node: "n3", changed: true, led: false, unservedMs: null, leader: null };
  const lost = { voters: 5, left: 2, needed: 3 };
  const enough = { voters: 5, left: 3, needed: 3 };
  const end = (text: string): string => text.slice(0, text.indexOf(": ", text.indexOf("until")));
  expect(end(reportOf({ ...done, verb: "kill", majority: lost }, ""))).toBe(
    "Killed n3. 2 of 5 members are left, 3 needed: no leader until one is started",
  );
  expect(reportOf({ ...done, verb: "kill", majority: lost }, " --name x")).toEndWith(" cluster start n3 --name x");
  expect(end(reportOf({ ...done, verb: "pause", led: true, majority: { ...lost, left: 1 } }, ""))).toBe(
    "Paused n3. It led. 1 of 5 members is left, 3 needed: no leader until 2 go on",
  );
  expect(reportOf({ ...done, verb: "pause", majority: lost }, "")).toEndWith(" cluster resume n3");
  expect(reportOf({ ...done, verb: "kill", majority: enough }, "")).toStartWith("Killed n3. Start it again: ");
  expect(reportOf({ ...done, verb: "kill", majority: null }, "")).toStartWith("Killed n3. Start it again: ");
});

test("of two nodes that report themselves as leader, only the one of the newer term is shown as leader", () => {
  const nodes = [
    { ...facts("n1", "running"), answer: answer("n1", "leader", 4) },
    { ...facts("n2", "running"), answer: answer("n2", "leader", 5) },
  ];
  const status = joinStatus("default", nodes);
  expect(status.leader).toBe("n2");
  expect(status.term).toBe(5);
  expect(status.nodes.map(({ state }) => state)).toEqual(["follower", "leader"]);
});

test("an address leads to all members, also to those that nobody named", async () => {
  const members = ["n1", "n2", "n3"];
  const access = accessTo([answer("n1", "follower", 2, members), answer("n3", "leader", 2, members)]);
  const status = await askStatusAt([addressOf("n1")], access);
  expect(status.nodes.map((node) => `${node.id} ${node.state}`)).toEqual(["n1 follower", "n2 down", "n3 leader"]);
  expect(status).toMatchObject({ name: null, leader: "n3" });
  const refused = failure("UNAUTHORISED", "n2 asks for a certificate");
  for (const [refusal, code] of [
    [null, "UNREACHABLE"],
    [refused, "UNAUTHORISED"],
  ] as const) {
    const error: unknown = await askStatusAt([addressOf("n2")], { ...access, refusal: () => refusal }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code });
  }
});

test("the tables mark the leader, and a cluster without a living node is called down", () => {
  const up = joinStatus("default", [{ ...facts("n1", "running"), answer: answer("n1", "leader", 2) }]);
  expect(headline(up)).toBe('cluster "default" 00000000000000aa: leader n1, term 2');
  expect(processTable(up)).toBe("NODE  ADDRESS         PID  STATE\nn1    127.0.0.1:3000  100  leader *\n");
  expect(statusTable(up)).toContain("n1    127.0.0.1:3000  100  leader *  2     9       8        10    0\n");
  const [line] = up.nodes;
  const low = statusTable({ ...up, nodes: line === undefined ? [] : [{ ...line, diskLow: true }] });
  expect(low).toContain("n1    127.0.0.1:3000  100  leader *  2     9       8        10    0         disk low\n");
  expect(headline(joinStatus("blue", [{ ...facts("n1", "down"), answer: null }]))).toBe('cluster "blue" is down');
});

test("a death notice shows the last lines, with nothing in them that moves the cursor", () => {
  const end = { code: 8, signal: null, at: 0, lastLines: ["corrupt \u001b[2J frame"] };
  const notice = deathNotice("n2", end);
  expect(notice).toEqual([
    "n2 ended by itself at 1970-01-01T00:00:00.000Z (exit code 8). Its last lines:",
    "  corrupt \\u001b[2J frame",
  ]);
  const silent = deathNotice("n2", { code: null, signal: "SIGSEGV", at: 0, lastLines: [] });
  expect(silent).toEqual([expect.stringMatching(/\(signal SIGSEGV\)\. It wrote nothing to its log\.$/)]);
});

test("every line to try next names the cluster, unless it is the default one", () => {
  const commands = (name: string): readonly string[] =>
    nextSteps("raftq", name, ["127.0.0.1:3000"])
      .split("\n")
      .filter((line) => line.startsWith("  raftq"));
  expect(commands("test")).not.toBeEmpty();
  for (const line of commands("test")) expect(line).toMatch(/ --name test( |$)/);
  for (const line of commands("default")) expect(line).not.toContain("--name");
});
