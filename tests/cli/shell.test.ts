// The shell as a person meets it: the real program on a pseudo-terminal, against scripted nodes.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { completions, promptText } from "../../src/cli/shell.ts";
import { type FakeCluster, startFakeCluster } from "../client/fake-cluster.ts";
import { MAIN } from "./run-client.ts";

let cluster: FakeCluster;
beforeEach(async () => {
  cluster = await startFakeCluster(3);
});
afterEach(() => cluster.stop());

interface Shell {
  /** Types a line, and gives what appears until `expected` does. */
  type(line: string, expected: string): Promise<string>;
  until(expected: string): Promise<string>;
  readonly exited: Promise<number>;
}

function openShell(words: readonly string[]): Shell {
  let seen = "";
  const child = Bun.spawn([process.execPath, MAIN, "client", ...words], {
    env: { PATH: process.env["PATH"] ?? "", TERM: "xterm" },
    terminal: {
      cols: 200,
      rows: 50,
      data: (_, bytes) => {
        seen += new TextDecoder().decode(bytes);
      },
    },
  });
  const until = async (expected: string): Promise<string> => {
    const end = performance.now() + 4_000;
    while (!seen.includes(expected)) {
      if (performance.now() > end) throw new Error(`"${expected}" did not appear in ${JSON.stringify(seen)}`);
      await Bun.sleep(5);
    }
    const found = seen;
    seen = "";
    return found;
  };
  return {
    until,
    type: (line, expected) => {
      child.terminal?.write(`${line}\r`);
      return until(expected);
    },
    exited: child.exited,
  };
}

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
  await shell.type("help", "take the oldest value out");
  await shell.type("-1", "-1");
  expect(await shell.exited).toBe(0);
  expect(cluster.executed.map(({ command }) => command)).toEqual(["enqueue 42", 'enqueue {"a": 1}', "dequeue"]);
});

test("a shell whose id is opened elsewhere says so once and closes", async () => {
  const shell = openShell(["--addr", cluster.address(1), "--id", "c1"]);
  await shell.until("c1@n1* t1> ");
  const session = cluster.sessionOf("c1");
  if (session !== undefined) session.fenced = true;
  const told = await shell.type("dequeue", "c1 was opened elsewhere; this shell is closed");
  expect(await shell.exited).toBe(6);
  expect(told.match(/opened/g)).toHaveLength(1);
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

test("commands complete from what is typed, and the prompt of a lost node says so", () => {
  expect(completions("de")).toEqual([["dequeue"], "de"]);
  expect(completions("EXPL")[0]).toEqual(["explain on", "explain off"]);
  expect(completions("xyz")[0]).toEqual([]);
  expect(promptText("c1", null)).toBe("c1@?> ");
});
