// The shell as a person meets it: the binary on a pseudo-terminal, against scripted nodes.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { type FakeCluster, startFakeCluster } from "../kit/scripted-cluster.ts";
import { openTerminal, type Terminal } from "./pty.ts";
import { raftq } from "./run-command.ts";

let cluster: FakeCluster;
beforeEach(async () => {
  cluster = await startFakeCluster(3);
});
afterEach(() => cluster.stop());

const openShell = (words: readonly string[]): Terminal => openTerminal(["client", ...words]);

test("the shell follows a redirect, works, explains, repeats and leaves", async () => {
  cluster.lead(3);
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  expect(await shell.until("c1@n3* t2> ")).toContain(
    `Redirect: n1 is not the leader, going to n3 ${cluster.address(3)}`,
  );
  await shell.type("Enqueue ( 42 )", "ok id=1 index=2");
  await shell.type("enqueue(abc)", 'not an integer or JSON; did you mean enqueue("abc")?');
  await shell.type("explain on", "explain is on");
  await shell.type(
    'enqueue {"a": 1}',
    "n3 · index 3 term 2 · durable n1 1.8ms n2 2.1ms n3 2.4ms → committed 3/3 → applied",
  );
  const again = await shell.type("retry", "n1 redirect → n3 · index 3");
  expect(again).toContain("request 2 was already executed: same answer, id 2, index 3");
  await shell.type("explain off", "explain is off");
  await shell.type("dequeue", "\n42\r\n");
  await shell.type("log", "committed 4, applied 4");
  await shell.type("status", "leader n3");
  await shell.type("peek", '\n{"a": 1}\r\n');
  await shell.type("enqueue(1, [2, 3], 4)", "ok ids=3-5 index=5");
  await shell.type("retry", "request 4 was already executed: same answer, ids 3-5, index 5");
  const taken = await shell.type("dequeue(10)", '[{"a": 1},1,[2, 3],4]\r\n');
  expect(taken).not.toContain("error");
  const takenAgain = await shell.type("retry", '[{"a": 1},1,[2, 3],4]\r\n');
  expect(takenAgain).toContain("request 5 was already executed: same answer, ids 2-5, index 6");
  await shell.type("dequeue 0", "dequeue takes how many jobs, 1 to 1000, or nothing for one: dequeue(10)");
  await shell.type("help", "take the oldest value out");
  await shell.type("-1", "-1");
  expect(await shell.exited).toBe(0);
  expect(cluster.executed.map(({ command }) => command)).toEqual([
    "enqueue 42",
    'enqueue {"a": 1}',
    "dequeue",
    "enqueue 1,[2, 3],4",
    "dequeue",
  ]);
});

test("a shell first shows what an earlier process left, and keeps its own last answer for retry", async () => {
  cluster.queue.push({ id: 9, encoding: 1, payload: new TextEncoder().encode('"kept"') });
  const words = ["client", "--addr", cluster.address(1), "--id", "c1"];
  await raftq([...words, "dequeue"], { output: "/dev/full" });
  const shell = openShell(words.slice(1));
  const shown = await shell.until("c1@n1* t1> ");
  expect(shown).toContain('c1 has not acknowledged request 1 before:\r\n"kept"\r\n');
  await shell.type("enqueue 2", "ok id=1 ");
  await shell.type("retry", "request 2 was already executed: same answer");
  await shell.type("-1", "-1");
  expect(await shell.exited).toBe(0);
  expect((await raftq([...words, "retry"])).exit).toBe(4);
});

test("a shell shows an answer that comes after its request was given up, before the answers behind it", async () => {
  cluster.queue.push({ id: 9, encoding: 1, payload: new TextEncoder().encode('"late"') });
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1", "--timeout", "300ms"]);
  await shell.until("c1@n1* t1> ");
  cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
  await shell.type("dequeue", "no answer to request 1 in time");
  cluster.fate = () => "pass";
  expect(await shell.type("enqueue 2", "ok id=1 ")).toContain('request 1 was executed after all: "late"');
  await shell.type("-1", "-1");
  expect(await shell.exited).toBe(0);
});

function openElsewhere(clientId: string): void {
  const session = cluster.sessionOf(clientId);
  if (session !== undefined) session.fenced = true;
}

test("a shell whose id is opened elsewhere reports that once, what became of the command, how to go on, and closes", async () => {
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await shell.until("c1@n1* t1> ");
  openElsewhere("c1");
  const output = await shell.type("dequeue", "This dequeue was not executed.");
  expect(await shell.exited).toBe(6);
  expect(output.match(/opened/g)).toHaveLength(1);
  expect(output).toMatch(/c1 was opened elsewhere; this shell is closed\. Use another --id, or .* client --id c1\r\n/);
});

test("a command whose answer was lost before its id was opened elsewhere may have been executed, and the shell reports that", async () => {
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await shell.until("c1@n1* t1> ");
  cluster.fate = (message) => {
    if (message.type !== "request") return "pass";
    cluster.fate = () => "pass";
    setTimeout(() => {
      openElsewhere("c1");
      cluster.disconnect(1);
    }, 20);
    return "executeAndLose";
  };
  await shell.type("enqueue 7", "This enqueue may have been executed: look for it in `log`.");
  expect(await shell.exited).toBe(6);
});

test("Ctrl-C leaves a command that waits, and reports what became of it", async () => {
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await shell.until("c1@n1* t1> ");
  cluster.lead(0);
  await shell.type("enqueue 7", "\n");
  await Bun.sleep(100);
  shell.press("\u0003");
  expect(await shell.until("This enqueue was not executed.")).not.toContain("closed");
  expect(await shell.exited).toBe(0);
});

test.each([
  ["executeAndLose", "ok id=1 index=2", "request 1 was already executed: same answer, id 1, index 2"],
  ["lose", null, "nothing to retry yet: c1 has used no number"],
] as const)(
  "Ctrl-C while an answer is on its way (%s) shows how to get it, and the next shell of the id reports it",
  async (fate, shown, again) => {
    const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
    await shell.until("c1@n1* t1> ");
    cluster.fate = (message) => (message.type === "request" ? fate : "pass");
    shell.press("enqueue 7\r");
    while (cluster.received.length === 0) await Bun.sleep(5);
    shell.press("\u0003");
    const output = await shell.until("then retry");
    expect(output).toContain(`request 1 may have been executed: `);
    expect(output).toMatch(/client --id c1 --addr \S+, then retry/);
    expect(output).not.toContain("closed");
    expect(await shell.exited).toBe(5);
    cluster.fate = () => "pass";
    const next = openShell(["--addr", cluster.address(1), "--id", "c1"]);
    const seen = await next.until("c1@n1* t1> ");
    expect(seen.includes("c1 has not acknowledged request 1 before:")).toBe(shown !== null);
    expect(seen).toContain(shown ?? "");
    await next.type("retry", again);
    await next.type("-1", "-1");
    expect(await next.exited).toBe(0);
    expect(cluster.sessionOf("c1")).toMatchObject({ dormant: true, acknowledgedThrough: cluster.executed.length });
  },
);

test("Ctrl-D leaves when what was typed before it is done, -1 before what was typed behind it", async () => {
  const first = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await first.until("c1@n1* t1> ");
  first.press("enqueue 1\renqueue 2\renqueue 3\r\u0004");
  expect(await first.exited).toBe(0);
  const second = openShell(["--addr", cluster.address(1), "--id", "c2"]);
  await second.until("c2@n1* t1> ");
  second.press("enqueue 4\r-1\renqueue 5\r");
  expect(await second.exited).toBe(0);
  expect(cluster.executed.map(({ command }) => command)).toEqual(["enqueue 1", "enqueue 2", "enqueue 3", "enqueue 4"]);
});

test("a value on a terminal cannot act on it", async () => {
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await shell.until("> ");
  const payload = new TextEncoder().encode('"\u009b2J\u202e"');
  cluster.queue.push({ id: 9, encoding: 1, payload });
  await shell.type("dequeue", '"\\u009b2J\\u202e"');
  await shell.type("-1", "-1");
  expect(await shell.exited).toBe(0);
});

test("with --no-follow the raw redirect is printed and the shell stops there", async () => {
  cluster.lead(2);
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1", "--no-follow"]);
  await shell.until(`{"status":"redirect","leader":"${cluster.address(2)}"}`);
  expect(await shell.exited).toBe(3);
});
