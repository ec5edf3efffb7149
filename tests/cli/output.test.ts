// Do answers look exactly as documented?
import { describe, expect, test } from "bun:test";
import { WHOLE_LOG } from "../../src/cli/commands.ts";
import { formatFailure, formatOutcome, formatSkipped, type OutputStyle } from "../../src/cli/output.ts";
import { formatLog, formatPeeked, formatTrace } from "../../src/cli/show.ts";
import { failure } from "../../src/lib/errors.ts";
import { encodeCommand, encodeOpen } from "../../src/queue/commands.ts";
import { ENCODING, type Job, type Reply } from "../../src/queue/types.ts";
import { isNodeId, type NodeId } from "../../src/raft/types.ts";
import type { LogPage } from "../../src/wire/protocol.ts";

const PLAIN = { json: false, terminal: false };
const ENQUEUE = { type: "enqueue", values: ["42"] } as const;
const DEQUEUE = { type: "dequeue", max: null } as const;
const DEQUEUE_MANY = { type: "dequeue", max: 10 } as const;
const TERMINAL = { json: false, terminal: true };
const JSON_STYLE = { json: true, terminal: false };
const job = (text: string, id = 1) => ({ id, encoding: ENCODING.json, payload: new TextEncoder().encode(text) });
const done = (number: number, reply: Reply, duplicate = false) => ({ ok: true, number, reply, duplicate }) as const;
const node = (text: string): NodeId => {
  if (!isNodeId(text)) throw new Error(text);
  return text;
};

describe("an answer", () => {
  const enqueued = done(1, { type: "enqueued", index: 4, firstId: 1, count: 1 });
  const again = { ...enqueued, duplicate: true };
  const dequeued = done(2, { type: "dequeued", index: 5, jobs: [job("42")] });
  const empty = done(3, { type: "dequeued", index: 6, jobs: [] });
  const failed = { ok: false, number: 4, failure: failure("NO_LEADER", "nobody leads") } as const;

  test("in plain text is one short line", () => {
    expect(formatOutcome(ENQUEUE, enqueued, PLAIN)).toBe("ok id=1 index=4");
    expect(formatOutcome(ENQUEUE, again, PLAIN)).toBe("ok id=1 index=4");
    expect(formatOutcome(DEQUEUE, dequeued, PLAIN)).toBe("42");
    expect(formatOutcome(DEQUEUE, empty, PLAIN)).toBe("(empty)");
    expect(formatOutcome(DEQUEUE, failed, PLAIN)).toBe("error NO_LEADER: nobody leads");
    expect(formatSkipped(7, PLAIN)).toBe("skipped number=7");
  });

  test("in JSON is one object with the request number", () => {
    expect(formatOutcome(ENQUEUE, enqueued, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":1,"id":1,"index":4}',
    );
    expect(formatOutcome(ENQUEUE, again, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":1,"id":1,"index":4,"duplicate":true}',
    );
    expect(formatOutcome(DEQUEUE, dequeued, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"ok","requestNumber":2,"id":1,"value":42,"index":5}',
    );
    expect(formatOutcome(DEQUEUE, empty, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"empty","requestNumber":3,"index":6}',
    );
    expect(formatOutcome(DEQUEUE, failed, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"error","requestNumber":4,"code":"NO_LEADER","class":"retry","applied":"no","message":"nobody leads"}',
    );
    expect(formatSkipped(7, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"skipped","requestNumber":7,"code":"FORGOTTEN"}',
    );
  });

  test("to several values names all ids, and to dequeue(10) it is a list, however long", () => {
    const several = done(1, { type: "enqueued", index: 12, firstId: 7, count: 3 });
    expect(formatOutcome(ENQUEUE, several, PLAIN)).toBe("ok ids=7-9 index=12");
    expect(formatOutcome(ENQUEUE, several, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":1,"firstId":7,"count":3,"index":12}',
    );
    const jobs = [job("1", 7), job('{"a": 3}', 8), { ...job("", 9), encoding: ENCODING.bytes }];
    const dequeuedMany = done(2, { type: "dequeued", index: 13, jobs }, true);
    expect(formatOutcome(DEQUEUE_MANY, dequeuedMany, PLAIN)).toBe('[1,{"a": 3},base64:]');
    expect(formatOutcome(DEQUEUE_MANY, dequeuedMany, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"ok","requestNumber":2,"jobs":[{"id":7,"value":1},{"id":8,"value":{"a": 3}},{"id":9,"base64":""}],"index":13,"duplicate":true}',
    );
    expect(formatOutcome(DEQUEUE_MANY, dequeued, PLAIN)).toBe("[42]");
    expect(formatOutcome(DEQUEUE_MANY, empty, PLAIN)).toBe("(empty)");
    expect(formatOutcome(DEQUEUE_MANY, empty, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"empty","requestNumber":3,"jobs":[],"index":6}',
    );
    const unsafe = done(4, { type: "dequeued", index: 14, jobs: [job('"\u009b"'), job('"\u202e"')] });
    expect(formatOutcome(DEQUEUE_MANY, unsafe, { json: false, terminal: true })).toBe('["\\u009b","\\u202e"]');
  });

  test("that is a redirect is shown raw", () => {
    const redirect = failure("NOT_LEADER", "n1 is not the leader", { leader: "127.0.0.1:3002" });
    for (const style of [PLAIN, JSON_STYLE]) {
      expect(formatFailure("enqueue", redirect, style)).toBe('{"status":"redirect","leader":"127.0.0.1:3002"}');
    }
  });

  test("to a line that is no command carries its number", () => {
    const bad = failure("BAD_REQUEST", "unknown command");
    expect(formatFailure(null, bad, PLAIN, { line: 7 })).toBe("error BAD_REQUEST: line 7: unknown command");
    expect(JSON.parse(formatFailure(null, bad, JSON_STYLE, { line: 7 }))).toEqual({
      command: null,
      status: "error",
      line: 7,
      code: "BAD_REQUEST",
      class: "final",
      applied: "no",
      message: "unknown command",
    });
  });

  test("with bytes is never that of a JSON value, whatever that value is: plain, in JSON, peeked, and in the log", () => {
    const bytes = { ...job("\u0001\u0002", 7), encoding: ENCODING.bytes };
    const twins = [job('{"base64":"AQI="}', 7), job('"base64:AQI="', 7)];
    const answers = (one: Job, style: OutputStyle): string[] => [
      formatOutcome(DEQUEUE, done(2, { type: "dequeued", index: 13, jobs: [one] }), style),
      formatOutcome(DEQUEUE_MANY, done(2, { type: "dequeued", index: 13, jobs: [one, one] }), style),
      formatPeeked({ job: one, ready: 1, appliedIndex: 13 }, style),
    ];
    for (const twin of twins)
      for (const style of [PLAIN, TERMINAL, JSON_STYLE])
        for (const [at, answer] of answers(bytes, style).entries()) expect(answer).not.toBe(answers(twin, style)[at]!);
    expect(answers(bytes, PLAIN)).toEqual(["base64:AQI=", "[base64:AQI=,base64:AQI=]", "base64:AQI="]);
    expect(answers(bytes, JSON_STYLE)).toEqual([
      '{"command":"dequeue","status":"ok","requestNumber":2,"id":7,"base64":"AQI=","index":13}',
      '{"command":"dequeue","status":"ok","requestNumber":2,"jobs":[{"id":7,"base64":"AQI="},{"id":7,"base64":"AQI="}],"index":13}',
      '{"command":"peek","status":"ok","id":7,"base64":"AQI=","ready":1,"index":13}',
    ]);
  });

  test("void is shown as a command that was not executed", () => {
    expect(formatOutcome(ENQUEUE, done(5, { type: "void", index: 9 }), PLAIN)).toStartWith("error CONFLICT: ");
  });
});

describe("a log", () => {
  const line = { term: 2, wall: Date.UTC(2026, 0, 2, 3, 4, 5, 6), client: "c1" };
  const enqueue = (values: string[]) =>
    encodeCommand({ type: "enqueue", queue: "default", jobs: values.map((text) => job(text)) });
  const page: LogPage = {
    node: node("n3"),
    term: 2,
    snapshotIndex: 0,
    commitIndex: 4,
    appliedIndex: 4,
    firstIndex: 1,
    lastIndex: 5,
    more: false,
    entries: [
      { ...line, index: 1, kind: "noop", client: "", requestNumber: 0, body: new Uint8Array(0) },
      {
        ...line,
        index: 2,
        kind: "open",
        client: "",
        requestNumber: 0,
        body: encodeOpen({ clientId: "c1", nonce: new Uint8Array(16), generated: false, resume: false }),
      },
      { ...line, index: 3, kind: "command", requestNumber: 1, body: enqueue(["42"]) },
      { ...line, index: 4, kind: "command", requestNumber: 2, body: enqueue(["1", '"\u009b"']) },
      { ...line, index: 5, kind: "command", requestNumber: 3, body: new Uint8Array([0xc1]) },
    ],
  };

  test("in JSON has the documented shape", () => {
    expect(formatLog({ ...page, entries: page.entries.slice(2, 3) }, WHOLE_LOG, JSON_STYLE)).toBe(
      '{"command":"log","status":"ok","node":"n3","term":2,"snapshotIndex":0,"commitIndex":4,"appliedIndex":4,"firstIndex":1,"lastIndex":5,"more":false,' +
        '"entries":[{"index":3,"term":2,"kind":"command","time":"2026-01-02T03:04:05.006Z","client":"c1","requestNumber":1,"command":"enqueue","value":42}]}',
    );
  });

  test("distinguishes bytes from a value that looks like them", () => {
    const bytes = { ...job("\u0001\u0002"), encoding: ENCODING.bytes };
    const twin = job('{"base64":"AQI="}');
    const entries = [[bytes], [twin], [twin, bytes]].map((jobs, at) => ({
      ...line,
      index: at + 1,
      kind: "command",
      requestNumber: at + 1,
      body: encodeCommand({ type: "enqueue", queue: "default", jobs }),
    }));
    const shown = JSON.parse(formatLog({ ...page, entries }, WHOLE_LOG, JSON_STYLE)) as { entries: object[] };
    expect(shown.entries).toMatchObject([
      { base64: "AQI=" },
      { value: { base64: "AQI=" } },
      { jobs: [{ value: { base64: "AQI=" } }, { base64: "AQI=" }] },
    ]);
    expect(shown.entries[0]).not.toHaveProperty("value");
    expect(formatLog({ ...page, entries }, WHOLE_LOG, PLAIN)).toMatch(
      /enqueue\(base64:AQI=\)[^]*enqueue\(\{"base64":"AQI="\}\)[^]*enqueue\(\{"base64":"AQI="\}, base64:AQI=\)/,
    );
  });

  test("shows noops, sessions, several values, and bodies of another version", () => {
    const { entries } = JSON.parse(formatLog(page, WHOLE_LOG, JSON_STYLE)) as { entries: Record<string, unknown>[] };
    expect(entries[0]).toEqual({ index: 1, term: 2, kind: "noop", time: "2026-01-02T03:04:05.006Z" });
    expect(entries[1]).toMatchObject({ kind: "session", command: "open", client: "c1" });
    expect(entries[3]).toMatchObject({ values: [1, "\u009b"] });
    expect(entries[4]).toMatchObject({ kind: "command", requestNumber: 3 });
    expect(entries[4]).not.toHaveProperty("command");
  });

  test("as a table is safe for a terminal and marks what is not committed", () => {
    const text = formatLog(page, WHOLE_LOG, PLAIN);
    expect(text).toContain("3      2     2026-01-02T03:04:05.006Z  command  c1      1       enqueue(42)");
    expect(text).toContain('enqueue(1, "\\u009b")');
    expect(text).toMatch(/^5 .*not committed$/m);
    expect(text).toEndWith("n3, term 2: entries 1 to 5, committed 4, applied 4, snapshot 0");
  });

  test("states what is not in it, and why", () => {
    const foot = "n3, term 2: entries 3 to 5, committed 4, applied 4, snapshot 0";
    const short: LogPage = { ...page, firstIndex: 3, entries: page.entries.slice(3) };
    const lines = (what: Partial<LogPage>, from: number | null, to: number | null): string[] =>
      formatLog({ ...short, ...what }, { from, to, node: null }, PLAIN).split("\n");
    expect(lines({ more: true }, null, null).slice(-2)).toEqual([
      "the newest 2; those before: log --from 3 --to 3",
      foot,
    ]);
    expect(lines({}, 4, null).slice(-2)).toEqual([expect.stringMatching(/^5 /), foot]);
    expect(lines({}, 2, null).slice(-2)).toEqual(["entries before 4 are no longer in the log", foot]);
    expect(lines({ entries: [] }, 90, null)).toEqual(["no entries from 90 on", foot]);
    expect(lines({ entries: [] }, 1, 2)).toEqual(["no entries from 1 to 2", foot]);
  });

  test("cuts a long value on a terminal only", () => {
    const long = "1".repeat(5_000);
    const [line] = page.entries.slice(2, 3).map((entry) => ({ ...entry, body: enqueue([long]) }));
    const one = { ...page, entries: line === undefined ? [] : [line] };
    expect(formatLog(one, WHOLE_LOG, PLAIN)).toContain(`enqueue(${long})`);
    expect(formatLog(one, WHOLE_LOG, { json: true, terminal: true })).toContain(long);
    expect(formatLog(one, WHOLE_LOG, { json: false, terminal: true })).toMatch(/enqueue\(1{152} …$/m);
  });

  test("states how many jobs a command is about", () => {
    const many = enqueue(Array.from({ length: 1_000 }, (_, at) => String(at)));
    const dequeue = (max: number): Uint8Array =>
      encodeCommand({ type: "dequeue", queues: ["default"], max, maxBytes: 100, leaseMs: 0, waitMs: 0 });
    const [first] = page.entries.slice(2, 3);
    const bodies = [many, dequeue(1), dequeue(1_000)];
    const entries = bodies.map((body, at) => ({ ...first!, index: at + 1, body }));
    const rows = formatLog({ ...page, entries }, WHOLE_LOG, { json: false, terminal: true }).split("\n");
    expect(rows[1]).toMatch(/ enqueue\(0, 1, 2, .{140,150} … \(1000 values\)$/);
    expect(rows[2]).toEndWith("  dequeue");
    expect(rows[3]).toEndWith("  dequeue(1000)");
    const json = JSON.parse(formatLog({ ...page, entries }, WHOLE_LOG, JSON_STYLE)) as { entries: object[] };
    expect(json.entries[0]).toMatchObject({ command: "enqueue", values: { length: 1_000 } });
    expect(json.entries[1]).not.toHaveProperty("max");
    expect(json.entries[2]).toMatchObject({ command: "dequeue", max: 1_000 });
  });

  test("names no client whose session was closed before the log begins", () => {
    const [line] = page.entries.slice(2, 3).map((entry) => ({ ...entry, client: "" }));
    expect(formatLog({ ...page, entries: line === undefined ? [] : [line] }, WHOLE_LOG, PLAIN)).toContain(" (closed) ");
  });
});

test("the path of an entry reads from the first node asked to the reply", () => {
  const durable = [
    { id: node("n3"), microseconds: 1_800 },
    { id: node("n1"), microseconds: 2_100 },
    { id: node("n5"), microseconds: 2_200 },
    { id: node("n2"), microseconds: 9_900 },
  ];
  const trace = { index: 12, term: 2, leader: node("n3"), durable, committedMicroseconds: 2_200, voters: 5 };
  expect(formatTrace(["n1"], trace)).toBe(
    "n1 redirect → n3 · index 12 term 2 · durable n3 1.8ms n1 2.1ms n5 2.2ms → committed 3/5 → applied",
  );
});
