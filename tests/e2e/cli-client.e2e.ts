// `raftq client` from its words and its pipe to its exit code: the binary against scripted nodes.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failure } from "../../src/lib/errors.ts";
import { type FakeCluster, startFakeCluster } from "../kit/scripted-cluster.ts";
import { BINARY } from "../scripts/project.ts";
import { type Ran, raftq, type RunOptions } from "./run-command.ts";

let cluster: FakeCluster;
beforeEach(async () => {
  cluster = await startFakeCluster(3);
});
afterEach(() => cluster.stop());

const client = (words: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  raftq(["client", "--addr", cluster.addresses().join(","), ...words], options);
const pipe = (lines: readonly string[], words: readonly string[] = []): Promise<Ran> =>
  client(["--id", "p1", ...words], { input: lines.map((line) => `${line}\n`).join("") });
const answers = (ran: Ran): Record<string, unknown>[] =>
  ran.out.map((line) => JSON.parse(line) as Record<string, unknown>);
const queued = (): string[] => cluster.queue.map(({ payload }) => new TextDecoder().decode(payload));
const enqueues = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, at) => `enqueue(${from + at})`);

describe("one command", () => {
  test("enqueues, dequeues, and reports by its exit code that the queue is empty", async () => {
    expect(await client(["--id", "c1", "enqueue", "42"])).toMatchObject({ exit: 0, out: ["ok id=1 index=2"] });
    expect(await client(["--id", "c1", "--json", "dequeue"])).toMatchObject({
      exit: 0,
      out: ['{"command":"dequeue","status":"ok","requestNumber":2,"id":1,"value":42,"index":5}'],
    });
    expect(await client(["--id", "c1", "dequeue"])).toMatchObject({ exit: 4, out: ["(empty)"] });
  });

  test("takes negative numbers and JSON with spaces, and enqueue(…) as one word", async () => {
    await Promise.all([
      client(["enqueue", "-5"]),
      client(["enqueue", '{"a": [1, "b c"]}']),
      client(["ENQUEUE(7)"]),
      client(["enqueue 8"]),
    ]);
    expect(queued().toSorted()).toEqual(["-5", "7", "8", '{"a": [1, "b c"]}']);
  });

  test("takes several values between commas, and several jobs", async () => {
    expect(await client(["--id", "c1", "enqueue", '1, "a,b", [2, 3]'])).toMatchObject({
      exit: 0,
      out: ["ok ids=1-3 index=2"],
    });
    expect(queued()).toEqual(["1", '"a,b"', "[2, 3]"]);
    expect(await client(["--id", "c1", "dequeue", "2"])).toMatchObject({ exit: 0, out: ['[1,"a,b"]'] });
    const [rest] = answers(await client(["--id", "c1", "--json", "dequeue(1000)"]));
    expect(rest).toMatchObject({ status: "ok", jobs: [{ id: 3, value: [2, 3] }] });
    expect(await client(["--id", "c1", "dequeue", "2"])).toMatchObject({ exit: 4, out: ["(empty)"] });
  });

  test("peeks at the oldest job and leaves it there, without opening a session", async () => {
    await client(["--id", "c1", "enqueue", '{"a": 1}, 2']);
    cluster.messages.length = 0;
    expect(await client(["peek"])).toMatchObject({ exit: 0, out: ['{"a": 1}'], error: "" });
    expect(await client(["peek", "--json"])).toMatchObject({
      exit: 0,
      out: ['{"command":"peek","status":"ok","id":1,"value":{"a": 1},"ready":2,"index":3}'],
    });
    expect(cluster.messages.map(({ type }) => type)).toEqual(["peek", "peek"]);
    await client(["--id", "c1", "dequeue", "2"]);
    expect(await client(["peek"])).toMatchObject({ exit: 4, out: ["(empty)"] });
    expect(await client(["peek", "--json"])).toMatchObject({
      exit: 4,
      out: ['{"command":"peek","status":"empty","ready":0,"index":6}'],
    });
  });

  test("with a generated id reports which, and closes its session", async () => {
    const ran = await client(["enqueue", "1"]);
    const id = /client id (\S+) /.exec(ran.error)?.[1] ?? "";
    expect(cluster.sessionOf(id)?.closed).toBe(true);
  });

  test("follows a redirect and reports it on stderr", async () => {
    cluster.lead(3);
    const ran = await client(["--id", "c1", "enqueue", "1"]);
    expect(ran).toMatchObject({ exit: 0, out: ["ok id=1 index=2"] });
    expect(ran.error).toBe(`Redirect: n1 is not the leader, going to n3 ${cluster.address(3)}\n`);
  });

  test("with --no-follow prints the raw redirect", async () => {
    cluster.lead(3);
    expect(await client(["--id", "c1", "--no-follow", "enqueue", "1"])).toMatchObject({
      exit: 3,
      out: [`{"status":"redirect","leader":"${cluster.address(3)}"}`],
    });
  });

  test("shows the log, a range of it, and another node's own", async () => {
    await pipe(enqueues(1, 5));
    const [whole] = answers(await client(["log", "--json"]));
    expect(whole).toMatchObject({ command: "log", status: "ok", node: "n1", firstIndex: 1, lastIndex: 7, more: false });
    const [part] = answers(await client(["log", "--from", "3", "--to", "4", "--node", "n2", "--json"]));
    expect(part).toMatchObject({
      node: "n2",
      entries: [
        { index: 3, value: 2 },
        { index: 4, value: 3 },
      ],
    });
    const stranger = await client(["log", "--node", "n9"]);
    expect(stranger.exit).toBe(2);
    expect(stranger.error).toContain("its members are n1, n2, n3");
  });

  test("is complete for a reader that is slow", async () => {
    await pipe(enqueues(1, 1_500));
    const words = ["client", "--addr", cluster.address(1), "log", "--json"];
    const child = Bun.spawn([BINARY, ...words], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    await Bun.sleep(400);
    const log = JSON.parse(await new Response(child.stdout).text()) as { entries: unknown[]; more: boolean };
    expect([log.entries.length, log.more, await child.exited]).toEqual([1_000, true, 0]);
  });

  test("shows the status without opening a session", async () => {
    const [status] = answers(await client(["status", "--json"]));
    expect(status).toMatchObject({ command: "status", status: "ok", node: "n1", state: "leader", leader: "n1" });
    expect(cluster.messages.some(({ type }) => type === "open")).toBe(false);
  });

  test("ends with 3 when nobody listens, when nobody leads, with 5 when the outcome is unknown, with 6 when fenced", async () => {
    const unreachable = await raftq(["client", "--addr", "127.0.0.1:1", "--id", "c1", "--timeout", "100ms", "dequeue"]);
    expect(unreachable.exit).toBe(3);
    expect(unreachable.error).toStartWith("raftq: cannot reach 127.0.0.1:1 ");
    cluster.fate = (message) => (message.type === "request" ? "lose" : "pass");
    expect((await client(["--id", "c1", "--timeout", "1s", "dequeue"])).exit).toBe(5);
    cluster.fate = (message) => (message.type === "request" ? failure("SESSION_FENCED", "opened elsewhere") : "pass");
    expect((await client(["--id", "c1", "dequeue"])).exit).toBe(6);
    cluster.lead(0);
    cluster.kill(3);
    cluster.kill(2);
    const [answer] = answers(await client(["--id", "c1", "--json", "--timeout", "0", "dequeue"]));
    expect(answer).toMatchObject({
      command: "dequeue",
      status: "error",
      code: "NO_LEADER",
      class: "retry",
      applied: "no",
    });
  });
});

describe("answers that cannot be written", () => {
  const FULL = { output: "/dev/full" };
  const lost = (ran: Ran, what: string, id: string): void => {
    expect(ran.exit).toBe(1);
    expect(ran.error).toContain("raftq: stdout cannot be written: ENOSPC");
    expect(ran.error).toContain(`the ${what} not written: `);
    expect(ran.error).toContain(` client --id ${id} --addr ${cluster.addresses().join(",")} `);
    expect(ran.error.trimEnd()).toEndWith(" retry");
  };
  const fill = async (count: number): Promise<void> => {
    await client(["--id", "producer"], { input: enqueues(1, count).join("\n") });
  };

  test("of one command end with 1, and retry prints them, once", async () => {
    await fill(2);
    lost(await client(["--id", "c1", "dequeue"], FULL), "answer to request 1 of client c1 was", "c1");
    expect(queued()).toEqual(["2"]);
    expect(await client(["--id", "c1", "retry"])).toEqual({ exit: 0, out: ["1"], error: "" });
    expect(await client(["--id", "c1", "retry"])).toMatchObject({
      exit: 4,
      out: [],
      error: "nothing to print again: every answer to this client was acknowledged\n",
    });
    expect(await client(["--id", "c1", "dequeue"])).toMatchObject({ exit: 0, out: ["2"] });
  });

  test("of a retry itself stay to be had", async () => {
    await fill(1);
    await client(["--id", "c1", "dequeue"], FULL);
    lost(await client(["--id", "c1", "retry"], FULL), "answer to request 1 of client c1 was", "c1");
    expect(await client(["--id", "c1", "retry"])).toMatchObject({ exit: 0, out: ["1"] });
  });

  test("of a generated id leave its session open, and the message names the id", async () => {
    await fill(1);
    const ran = await client(["dequeue"], FULL);
    const id = /client id (\S+) /.exec(ran.error)?.[1] ?? "";
    lost(ran, `answer to request 1 of client ${id} was`, id);
    expect(await client(["--id", id, "retry"])).toMatchObject({ exit: 0, out: ["1"] });
  });

  test("of a pipe are printed again in order, as they would have been: jobs, lists, ids and refusals", async () => {
    await fill(5);
    const lines = ["dequeue", "dequeue(1)", "dequeue(2)", "enqueue(6, 7)", "dequeue(10)", "dequeue", "dequeue(3)"];
    const ran = await client(["--id", "p1"], { input: lines.join("\n"), ...FULL });
    lost(ran, "answers to requests 1 to 7 of client p1 were", "p1");
    const [first, second, ...rest] = (await client(["--id", "p1", "retry"])).out;
    expect([first, second]).toEqual(["1", "2"]);
    expect(rest).toEqual(["[3,4]", "ok ids=6-7 index=12", "[5,6,7]", "(empty)", "(empty)"]);
  });

  test("are printed again as lists where they were lists of one", async () => {
    await fill(1);
    await client(["--id", "c1", "dequeue(5)"], FULL);
    expect((await client(["--id", "c1", "retry"])).out).toEqual(["[1]"]);
  });

  test("as JSON are the same, and are marked as repeated", async () => {
    await fill(1);
    const ran = await client(["--id", "c1", "--json", "dequeue"], FULL);
    expect(ran.error.trimEnd()).toEndWith(" --json retry");
    expect((await client(["--id", "c1", "--json", "retry"])).out).toEqual([
      '{"command":"dequeue","status":"ok","requestNumber":1,"id":1,"value":1,"index":5,"duplicate":true}',
    ]);
  });

  test("are not passed over by another command, whether one or in a pipe", async () => {
    await fill(3);
    await client(["--id", "c1", "dequeue"], FULL);
    const one = await client(["--id", "c1", "dequeue"]);
    expect([one.exit, one.out]).toEqual([6, []]);
    expect(one.error).toContain("an earlier process of client c1 did not acknowledge the answer to request 1");
    const several = await client(["--id", "c1"], { input: "dequeue\ndequeue\n" });
    expect(several.exit).toBe(6);
    expect(several.out[0]).toStartWith("error ANSWERS_LEFT: ");
    expect(queued()).toEqual(["2", "3"]);
  });

  test("of a numbered file are had again by the same file, too", async () => {
    const file = enqueues(1, 3).join("\n");
    const ran = await client(["--id", "p1", "--numbered"], { input: file, ...FULL });
    lost(ran, "answers to requests 1 to 3 of client p1 were", "p1");
    expect(await client(["--id", "p1", "--numbered"], { input: file })).toMatchObject({
      exit: 0,
      out: ["ok id=1 index=2", "ok id=2 index=3", "ok id=3 index=4"],
    });
    expect(queued()).toEqual(["1", "2", "3"]);
  });

  test("of a numbered file that retry has printed are compared with nothing, so nothing behind them is sent", async () => {
    await client(["--id", "p1", "--numbered"], { input: enqueues(1, 3).join("\n"), ...FULL });
    await client(["--id", "p1", "retry"]);
    const ran = await client(["--id", "p1", "--numbered"], { input: enqueues(1, 5).join("\n") });
    expect([ran.exit, ran.out.length, queued()]).toEqual([6, 3, ["1", "2", "3"]]);
    expect(ran.error).toContain("nothing could be compared");
  });

  test("that came too late for their request are fetched by retry, as the message states", async () => {
    await fill(1);
    cluster.fate = (message) => (message.type === "request" ? "executeAndLose" : "pass");
    const ran = await client(["--id", "c1", "--timeout", "300ms", "dequeue"]);
    expect(ran.exit).toBe(5);
    expect(ran.error).toContain("the answer to request 1 of client c1 was not written: ");
    cluster.fate = () => "pass";
    expect(await client(["--id", "c1", "retry"])).toMatchObject({ exit: 0, out: ["1"] });
  });

  test("are not reported where nothing was taken: a log that nobody reads to its end", async () => {
    await fill(1_000);
    const words = ["client", "--addr", cluster.address(1), "log"];
    const child = Bun.spawn([BINARY, ...words], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    await child.stdout.cancel();
    expect([await child.exited, await new Response(child.stderr).text()]).toEqual([0, ""]);
    const full = await client(["log"], FULL);
    expect([full.exit, full.error]).toEqual([1, expect.stringContaining("stdout cannot be written: ENOSPC")]);
  });

  test("retry needs the id of the process that lacks them", async () => {
    const ran = await client(["retry"]);
    expect([ran.exit, ran.error]).toEqual([2, expect.stringContaining("needs its --id")]);
  });
});

describe("a mistake", () => {
  test.each([
    [["clint"], 'unknown command "clint". Did you mean raftq client?'],
    [["--json", "client"], "--json comes before any command"],
    [["client", "enqueu", "1"], 'unknown command "enqueu". Did you mean raftq client enqueue?'],
    [["client", "enqueue"], "<value> is missing: An integer or any JSON"],
    [["client", "enqueue", "abc"], `not an integer or JSON; did you mean raftq client enqueue '"abc"'?`],
    [["client", "enqueue", "it's"], `did you mean raftq client enqueue '"it'\\''s"'?`],
    [["client", "enqueue", "(4"], "the closing bracket is missing: write enqueue(4)"],
    [["client", "enqueue", "1", "2"], '"2" is one word too many here.'],
    [["client", "enqueue", "1, x"], 'value 2 is not an integer or JSON; did you mean "x"?'],
    [["client", "enqueue", "a, b"], `did you mean raftq client enqueue '"a, b"'?`],
    [["client", "dequeue", "0"], '<count> is a whole number from 1 to 1000, not "0".'],
    [["client", "dequeue", "1001"], '<count> is a whole number from 1 to 1000, not "1001".'],
    [["client", "enqueue", Array.from({ length: 1_001 }).fill(1).join()], "one command enqueues at most 1000 values"],
    [["client", "--timeout"], "--timeout needs a value: --timeout"],
    [["client", "--timout", "5s"], "unknown flag --timout. Did you mean --timeout?"],
    [["client", "--addr", "nonsense", "dequeue"], '"nonsense" is not an address'],
    [["client", "dequeue", "--from", "3"], "--from does not go with this command (log: the first entry)"],
    [["client", "--from", "3"], "--from does not go with this command (log: the first entry)"],
    [["client", "--numbered", "enqueue", "1"], "--numbered does not go with this command (In a pipe:"],
    [["client", "--numbered"], "--numbered needs a pipe and --id"],
    [["client", "--bogus", "5", "enqueue", "1"], "unknown flag --bogus."],
    [["clutser", "--help"], 'unknown command "clutser". Did you mean raftq cluster?'],
    [["client", "localhost", "3000", "client01"], "Type: raftq client --addr localhost:3000 --id client01"],
    [["up", "5"], 'unknown command "up". Did you mean raftq cluster up 5?'],
    [["kill", "leader", "--name", "a b"], "Did you mean raftq cluster kill leader --name 'a b'?"],
    [["DOWN", "--purge"], "Did you mean raftq cluster down --purge?"],
    [["status"], "Did you mean raftq client status or raftq cluster status?"],
    [["dequeue"], "Did you mean raftq client dequeue?"],
    [["help", "up"], "Did you mean raftq cluster up?"],
    [["client", "up"], "Did you mean raftq cluster up?"],
    [["cluster", "enqueue", "4 2"], "Did you mean raftq client enqueue '4 2'?"],
    [["client", "localhost", "3000"], "Type: raftq client --addr localhost:3000 --id c1"],
  ])("%p ends with 2 and one line that helps", async (words, message) => {
    const ran = await raftq(words);
    expect(ran.error).toContain(message);
    expect([ran.exit, ran.out]).toEqual([2, []]);
    expect(ran.error.trimEnd().split("\n")).toHaveLength(1);
  });

  test("is reported without letting anything of it act on the terminal, in every usage error", async () => {
    const hostile = "\u001b[31m\nx\u202e\u009b";
    const lines: readonly (readonly string[])[] = [
      [hostile],
      [`--${hostile}`],
      ["help", hostile],
      ["node", hostile],
      ["node", `--${hostile}`],
      ["node", "--port", hostile],
      ["node", "--id", hostile],
      ["node", "--host", hostile],
      ["node", "--advertise", hostile],
      ["node", "--join", hostile],
      ["node", "--election", hostile],
      ["node", "--log-level", hostile],
      ["node", "--tls-cert", hostile, "--tls-key", hostile, "--tls-ca", hostile],
      ["node", "--secret-file", hostile],
      ["node", "--data", `package.json/${hostile}`],
      ["node", "localhost", "3000", "localhost", "3001", hostile],
      ["client", hostile],
      ["client", "--id", hostile],
      ["client", "--addr", hostile, "dequeue"],
      ["client", "--name", hostile, "dequeue"],
      ["client", "--timeout", hostile, "dequeue"],
      ["client", "enqueue", hostile],
      ["client", "enqueue", `(1)${hostile}`],
      ["client", "enqueue", "1", hostile],
      ["client", "dequeue", hostile],
      ["client", "log", "--from", hostile],
      ["client", "localhost", "3000", hostile],
      ["up", hostile],
      ["cluster", hostile],
      ["cluster", "up", hostile],
      ["cluster", "up", "--name", hostile],
      ["cluster", "up", "--heartbeat", hostile],
      ["cluster", "kill", hostile],
      ["cluster", "logs", hostile],
      ["cluster", "remove", hostile, "--addr", hostile],
      ["cluster", "status", "--addr", hostile],
    ];
    const directory = mkdtempSync(join(tmpdir(), "raftq-hostile-"));
    writeFileSync(join(directory, "package.json"), "");
    try {
      for (let at = 0; at < lines.length; at += 6) {
        const batch = lines.slice(at, at + 6);
        const outputs = await Promise.all(batch.map((words) => raftq(words, { directory })));
        for (const [i, { exit, out, error }] of outputs.entries()) {
          expect({ words: batch[i], out, lines: error.split("\n").length }).toEqual({
            words: batch[i],
            out: [],
            lines: 2,
          });
          expect(exit).toBeGreaterThan(0);
          // oxlint-disable-next-line no-control-regex -- these are what must not pass
          expect(error).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
        }
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  }, 30_000);

  test("is never needed to learn the commands: --help and --version are everywhere", async () => {
    const [root, sub, verb, version, ...words] = await Promise.all([
      raftq(["--help"]),
      raftq(["client", "--help"]),
      raftq(["client", "enqueue", "--help"]),
      raftq(["client", "--version"]),
      raftq(["help"]),
      raftq(["help", "client"]),
      raftq(["client", "help"]),
      raftq(["cluster", "help", "up"]),
    ]);
    expect(root).toMatchObject({ exit: 0, error: "" });
    expect(root.out.join("\n")).toMatch(/node[^]*client[^]*cluster/);
    expect(sub.out.join("\n")).toMatch(/USAGE raftq client[^]*enqueue[^]*EXAMPLES\n\n {2}raftq client/);
    expect(verb.out.join("\n")).toMatch(/USAGE raftq client enqueue[^]*EXAMPLES\n\n {2}raftq client enqueue 42/);
    expect(version.out[0]).toMatch(/^raftq \d+\.\d+\.\d+$/);
    expect(words.map(({ exit, error }) => [exit, error])).toEqual(words.map(() => [0, ""]));
    const [help, helpClient, clientHelp, up] = words.map(({ out }) => out.join("\n"));
    expect([help, helpClient, clientHelp]).toEqual([root.out.join("\n"), sub.out.join("\n"), sub.out.join("\n")]);
    expect(up).toContain("USAGE raftq cluster up");
  });
});

describe("a pipe", () => {
  test("answers every command on a line of its own, in the order of the lines", async () => {
    const ran = await pipe([
      "enqueue(1)",
      "",
      "# a comment",
      'enqueue {"b": 2}',
      "dequeue",
      "DEQUEUE()",
      "dequeue",
      "-1",
      "enqueue(9)",
    ]);
    expect(ran).toMatchObject({ exit: 0, out: ["ok id=1 index=2", "ok id=2 index=3", "1", '{"b": 2}', "(empty)"] });
    expect(queued()).toEqual([]);
  });

  test("answers a bad line with its number, goes on, and ends with the first error's code", async () => {
    const ran = await pipe(["enqueue(1)", "# x", "enqueue(abc)", "nonsense", "dequeue"]);
    expect(ran.exit).toBe(2);
    expect(ran.out).toEqual([
      "ok id=1 index=2",
      'error BAD_REQUEST: line 3: not an integer or JSON; did you mean enqueue("abc")?',
      expect.stringMatching(/^error BAD_REQUEST: line 4: unknown command/),
      "1",
    ]);
  });

  test("needs no line end behind the last line, and survives lines that are no text", async () => {
    const bytes = Buffer.concat([Buffer.from("enqueue(1)\nenqueue("), Buffer.from([0xff]), Buffer.from(")\ndequeue")]);
    const ran = await client(["--id", "p1"], { input: bytes });
    expect(ran.out).toEqual(["ok id=1 index=2", "error BAD_REQUEST: line 2: the line is not UTF-8", "1"]);
  });

  test("refuses a value of more than 1 MiB and goes on", async () => {
    const large = `enqueue("${"x".repeat(2 * 1024 * 1024)}")`;
    const ran = await pipe([large, `enqueue("${"y".repeat(1024 * 1024 - 2)}")`, "enqueue(3)"]);
    expect(ran.out).toEqual([expect.stringMatching(/^error \w+: line 1: /), "ok id=1 index=2", "ok id=2 index=3"]);
  });

  test("takes several values on a line, in order and under one number, and answers dequeue(10) with a list", async () => {
    const thousand = enqueues(1, 1_000).map((_, at) => at);
    const lines = ['enqueue(1, 2, {"a": 3})', "enqueue(4)", "dequeue", "dequeue 2", "dequeue(10)", "dequeue 10"];
    const ran = await pipe([...lines, `enqueue(${thousand.join()})`, `enqueue(${thousand.join()},0)`, "dequeue 1000"]);
    expect(ran.out).toEqual([
      "ok ids=1-3 index=2",
      "ok id=4 index=3",
      "1",
      '[2,{"a": 3}]',
      "[4]",
      "(empty)",
      "ok ids=5-1004 index=8",
      "error BAD_REQUEST: line 8: one command enqueues at most 1000 values; these are 1001",
      `[${thousand.join()}]`,
    ]);
    expect(ran.exit).toBe(2);
    expect(cluster.executed.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("refuses values that are too large together before anything of them is sent", async () => {
    const half = `"${"x".repeat(512 * 1024)}"`;
    const ran = await pipe([`enqueue(${half},${half})`, `enqueue(${half},${half.slice(4)})`, `enqueue(${half}, 2)`]);
    expect(ran.out).toEqual([
      "error TOO_LARGE: line 1: the values of one command have at most 1048576 bytes together",
      expect.stringMatching(/^error BAD_REQUEST: line 2: value 2 is not/),
      "ok ids=1-2 index=2",
    ]);
    expect(cluster.executed).toHaveLength(1);
  });

  test("takes in 64 values of 128 KiB, over one connection", async () => {
    const large = JSON.stringify("x".repeat(128 * 1024));
    const ran = await pipe(enqueues(1, 64).map(() => `enqueue(${large})`));
    expect([ran.exit, ran.out.length, ran.error]).toEqual([0, 64, ""]);
    expect(cluster.messages.filter(({ type }) => type === "open")).toHaveLength(1);
    expect(cluster.received.filter(({ command }) => command !== "resolve")).toHaveLength(64);
  });

  test("lets peek, log and status see every earlier line, and no later one", async () => {
    const lines = ["peek", ...enqueues(1, 100), "log", ...enqueues(101, 110), "status", "dequeue", "peek", "dequeue"];
    const ran = await pipe(lines, ["--json"]);
    const all = answers(ran);
    expect(all[0]).toMatchObject({ command: "peek", status: "empty", ready: 0 });
    expect(all[101]).toMatchObject({ command: "log", lastIndex: 101 });
    expect(all.at(-4)).toMatchObject({ command: "status", ready: 110 });
    expect(all.at(-2)).toMatchObject({ command: "peek", status: "ok", id: 2, value: 2, ready: 109 });
    expect(all.at(-1)).toMatchObject({ command: "dequeue", id: 2 });
    expect(ran.exit).toBe(0);
  });

  test("has at most 64 commands in flight", async () => {
    let most = 0;
    cluster.fate = (message) => {
      if (message.type !== "request") return "pass";
      const answered = cluster.received.at(-1)?.acknowledgedThrough ?? 0;
      most = Math.max(most, message.number - answered);
      return "pass";
    };
    expect((await pipe(enqueues(1, 1_000))).out).toHaveLength(1_000);
    expect(most).toBeGreaterThan(32);
    expect(most).toBeLessThanOrEqual(64);
  });

  test("keeps order and loses nothing while leaders change under it", async () => {
    let seen = 0;
    cluster.fate = (message, node) => {
      if (message.type !== "request") return "pass";
      seen++;
      if (seen % 300 === 0) {
        const next = ((seen / 300) % 3) + 1;
        cluster.lead(next);
        cluster.disconnect(Number(node.id.slice(1)));
      }
      return seen % 1_501 === 0 ? "executeAndLose" : "pass";
    };
    const ran = await pipe(enqueues(1, 2_000), ["--json"]);
    expect(ran.exit).toBe(0);
    expect(answers(ran).map(({ requestNumber }) => requestNumber)).toEqual(enqueues(1, 2_000).map((_, at) => at + 1));
    expect(queued()).toEqual(enqueues(1, 2_000).map((_, at) => String(at + 1)));
  });

  test("that loses its leader answers what is in flight and counts the lines not sent", async () => {
    cluster.fate = (message) => {
      if (message.type === "request" && message.number > 100) {
        cluster.lead(0);
        return "lose";
      }
      return "pass";
    };
    const ran = await pipe(enqueues(1, 1_000), ["--timeout", "300ms"]);
    expect(ran.exit).toBe(5);
    expect(ran.out.slice(0, 100).every((line) => line.startsWith("ok "))).toBe(true);
    expect(ran.out.slice(100).every((line) => line.startsWith("error "))).toBe(true);
    expect(ran.out[100]).toStartWith("error TIMEOUT: ");
    expect(ran.error).toContain(`${1_000 - ran.out.length} lines not sent`);
  });

  test("that had to stop ends although its input goes on", async () => {
    cluster.fate = (message) => (message.type === "request" ? "lose" : "pass");
    const child = Bun.spawn([BINARY, "client", "--addr", cluster.address(1), "--id", "p1", "--timeout", "200ms"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    await child.stdin.write("enqueue(1)\n");
    await child.stdin.flush();
    expect(await child.exited).toBe(5);
  });

  test("that nobody answers stops with 3", async () => {
    const addresses = cluster.address(1);
    cluster.stop();
    const ran = await raftq(["client", "--addr", addresses, "--id", "p1", "--timeout", "100ms"], {
      input: "dequeue\ndequeue\n",
    });
    expect(ran.exit).toBe(3);
    expect(ran.out[0]).toStartWith(`error UNREACHABLE: cannot reach ${addresses}`);
  });

  test("with --numbered gives each line its number, also when the file is sent again", async () => {
    const file = ["enqueue(1)", "# two", "enqueue(3)", "nonsense", "dequeue", "", "enqueue(7)"];
    const first = await pipe(file, ["--json", "--numbered"]);
    expect(answers(first).map(({ requestNumber, line, status }) => [requestNumber ?? line, status])).toEqual([
      [1, "ok"],
      [3, "ok"],
      [4, "error"],
      [5, "ok"],
      [7, "ok"],
    ]);
    const again = await pipe(file, ["--json", "--numbered"]);
    const executed = cluster.executed.filter(({ command }) => command.startsWith("enqueue"));
    expect(executed.map(({ number }) => number)).toEqual([1, 3, 7]);
    expect(answers(again)[0]).toMatchObject({ requestNumber: 1, status: "ok", duplicate: true });
    expect(answers(again).at(-1)).toMatchObject({ requestNumber: 7, status: "ok", duplicate: true });
    expect(queued()).toEqual(["3", "7"]);
  });

  describe("with --numbered", () => {
    const numbered = (lines: readonly string[], words: readonly string[] = []): Promise<Ran> =>
      pipe(lines, ["--numbered", ...words]);
    const statuses = (ran: Ran): unknown[] => answers(ran).map(({ status }) => status);
    const times = (count: number, status: string): string[] => Array.from({ length: count }, () => status);
    const ALREADY_USED = "p1 has used the numbers 1 to 150 before: lines 1 to 150 are not executed again.";

    test("and --resume sends nothing under an id that is not known, and goes on under one that is", async () => {
      const unknown = await numbered(enqueues(1, 3), ["--resume"]);
      expect(unknown).toMatchObject({
        exit: 6,
        out: [expect.stringContaining("error SESSION_EXPIRED: client id p1 is new")],
      });
      expect(unknown.error).toBe("2 lines not sent\n");
      expect(queued()).toEqual([]);
      await numbered(enqueues(1, 2));
      expect(await numbered(enqueues(1, 3), ["--resume"])).toMatchObject({ exit: 0 });
      expect(queued()).toEqual(["1", "2", "3"]);
    });

    test("goes on behind the lines that an earlier, broken run has sent", async () => {
      expect((await numbered(enqueues(1, 150))).error).toBe("p1 is new: it has used no number before\n");
      const ran = await numbered(enqueues(1, 300), ["--json"]);
      expect(ran.exit).toBe(0);
      expect(queued()).toEqual(enqueues(1, 300).map((_, at) => String(at + 1)));
      const skipped = statuses(ran).indexOf("ok");
      expect(skipped).toBeGreaterThan(80);
      expect(statuses(ran)).toEqual([...times(skipped, "skipped"), ...times(300 - skipped, "ok")]);
      expect(answers(ran).map(({ duplicate }) => duplicate === true)).toEqual(
        enqueues(1, 300).map((_, at) => at >= skipped && at < 150),
      );
      expect(ran.error).toStartWith(ALREADY_USED);
      expect(ran.error).toMatch(
        new RegExp(`\\n${skipped} skipped: .*; ${150 - skipped} answered as before; 150 executed now\\n`),
      );
    });

    test("gives several values and several jobs the same number and the same answer again", async () => {
      const file = ["enqueue(1, 2, 3)", "dequeue 2", "enqueue(4, 5)"];
      const first = await numbered(file);
      expect(first.out).toEqual(["ok ids=1-3 index=2", "[1,2]", "ok ids=4-5 index=4"]);
      const again = await numbered([...file, "enqueue(6)"]);
      expect(again).toMatchObject({ exit: 0, out: [...first.out, "ok id=6 index=6"] });
      expect(queued()).toEqual(["3", "4", "5", "6"]);
      const other = await numbered([...file, "enqueue(6, 7)"]);
      expect(other.out[3]).toStartWith("error CONFLICT: ");
    });

    test("is a success when the whole file was sent before", async () => {
      await numbered(enqueues(1, 150));
      const ran = await numbered(enqueues(1, 150));
      expect(ran.exit).toBe(0);
      expect(ran.out[0]).toBe("skipped number=1");
      expect(ran.out.at(-1)).toBe("ok id=150 index=151");
      expect(queued()).toHaveLength(150);
    });

    test("enqueues nothing of a shorter file, and reports that", async () => {
      await numbered(enqueues(1, 150));
      const ran = await numbered(enqueues(901, 903));
      expect(ran).toMatchObject({
        exit: 6,
        out: ["skipped number=1", "skipped number=2", "skipped number=3"],
      });
      expect(ran.error).toStartWith(ALREADY_USED);
      expect(ran.error).toContain("nothing was executed, and nothing could be compared with what p1 sent before");
      expect(queued()).toHaveLength(150);
    });

    test("enqueues nothing of a longer file that is another one, and reports that", async () => {
      await numbered(enqueues(1, 150));
      const ran = await numbered(enqueues(901, 1_200), ["--json"]);
      expect(ran.exit).toBe(6);
      const conflict = statuses(ran).indexOf("error");
      expect(statuses(ran)).toEqual([...times(conflict, "skipped"), ...times(150 - conflict, "error")]);
      expect(answers(ran)[conflict]).toMatchObject({ requestNumber: conflict + 1, code: "CONFLICT", applied: "no" });
      expect(ran.error).toContain(`line ${conflict + 1} is not what number ${conflict + 1} of p1 stands for`);
      expect(ran.error).toContain("\n150 lines not sent\n");
      expect(queued()).toHaveLength(150);
    });

    test("knows another file also by a blank line where a command was, and a command where none was", async () => {
      await numbered(["enqueue(1)", "enqueue(2)"]);
      const blank = await numbered(["enqueue(1)", "# two", "enqueue(3)"]);
      expect([blank.exit, blank.out]).toEqual([6, ["ok id=1 index=2"]]);
      expect(blank.error).toContain("line 2 is not what number 2 of p1 stands for");
      expect(blank.error).toContain("1 line not sent");
      await client(["--id", "p2", "--numbered"], { input: "enqueue(1)\n\n" });
      const command = await client(["--id", "p2", "--numbered"], { input: "enqueue(1)\nenqueue(2)\nenqueue(3)\n" });
      expect(command.exit).toBe(6);
      expect(command.out[1]).toStartWith("error CONFLICT: ");
      expect(queued()).toEqual(["1", "2", "1"]);
    });

    test("reports what becomes of a line that was refused", async () => {
      const ran = await numbered(["enqueue(1)", "enqueue(abc)", "enqueue(3)"]);
      expect([ran.exit, queued()]).toEqual([2, ["1", "3"]]);
      expect(ran.error).toContain("1 refused: their numbers are used up, so put what you correct behind the last line");
      const corrected = await numbered(["enqueue(1)", "# abc", "enqueue(3)", 'enqueue("abc")']);
      expect([corrected.exit, queued()]).toEqual([0, ["1", "3", '"abc"']]);
    });

    test("cannot give a dequeue's answer again once it is forgotten, and reports where it is", async () => {
      await numbered([...enqueues(1, 150), "dequeue", ...enqueues(152, 300)]);
      const ran = await numbered([...enqueues(1, 150), "dequeue", ...enqueues(152, 300)]);
      expect(ran.exit).toBe(6);
      expect(ran.out[150]).toMatch(/^error FORGOTTEN: .*only that run's output has it$/);
    });

    test("that cannot open its session sends nothing, and reports why", async () => {
      cluster.lead(0);
      const ran = await numbered(["# first", ...enqueues(1, 10)], ["--timeout", "200ms"]);
      expect(ran.exit).toBe(3);
      expect(ran.out).toEqual([expect.stringMatching(/^error NO_LEADER: /)]);
      expect(ran.error).toContain("9 lines not sent");
      expect(cluster.received).toEqual([]);
    });
  });
});
