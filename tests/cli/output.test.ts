// Do answers look exactly as documented?
import { describe, expect, test } from "bun:test";
import { formatFailure, formatForgotten, formatOutcome } from "../../src/cli/output.ts";
import { formatLog, formatTrace } from "../../src/cli/show.ts";
import { failure } from "../../src/lib/errors.ts";
import { encodeCommand, encodeOpen } from "../../src/queue/commands.ts";
import { ENCODING, type Reply } from "../../src/queue/types.ts";
import { isNodeId, type NodeId } from "../../src/raft/types.ts";
import type { LogPage } from "../../src/wire/protocol.ts";

const PLAIN = { json: false, terminal: false };
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
    expect(formatOutcome("enqueue", enqueued, PLAIN)).toBe("ok id=1 index=4");
    expect(formatOutcome("enqueue", again, PLAIN)).toBe("ok id=1 index=4");
    expect(formatOutcome("dequeue", dequeued, PLAIN)).toBe("42");
    expect(formatOutcome("dequeue", empty, PLAIN)).toBe("(empty)");
    expect(formatOutcome("dequeue", failed, PLAIN)).toBe("error NO_LEADER: nobody leads");
    expect(formatForgotten(7, PLAIN)).toBe("ok duplicate");
  });

  test("in JSON is one object with the request number", () => {
    expect(formatOutcome("enqueue", enqueued, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":1,"id":1,"index":4}',
    );
    expect(formatOutcome("enqueue", again, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":1,"id":1,"index":4,"duplicate":true}',
    );
    expect(formatOutcome("dequeue", dequeued, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"ok","requestNumber":2,"id":1,"value":42,"index":5}',
    );
    expect(formatOutcome("dequeue", empty, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"empty","requestNumber":3,"index":6}',
    );
    expect(formatOutcome("dequeue", failed, JSON_STYLE)).toBe(
      '{"command":"dequeue","status":"error","requestNumber":4,"code":"NO_LEADER","class":"retry","applied":"no","message":"nobody leads"}',
    );
    expect(formatForgotten(7, JSON_STYLE)).toBe(
      '{"command":"enqueue","status":"ok","requestNumber":7,"duplicate":true}',
    );
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

  test("void says that the command was not executed", () => {
    expect(formatOutcome("enqueue", done(5, { type: "void", index: 9 }), PLAIN)).toStartWith("error CONFLICT: ");
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
        body: encodeOpen({ clientId: "c1", nonce: new Uint8Array(16) }),
      },
      { ...line, index: 3, kind: "command", requestNumber: 1, body: enqueue(["42"]) },
      { ...line, index: 4, kind: "command", requestNumber: 2, body: enqueue(["1", '"\u009b"']) },
      { ...line, index: 5, kind: "command", requestNumber: 3, body: new Uint8Array([0xc1]) },
    ],
  };

  test("in JSON has the documented shape", () => {
    expect(formatLog({ ...page, entries: page.entries.slice(2, 3) }, JSON_STYLE)).toBe(
      '{"command":"log","status":"ok","node":"n3","term":2,"snapshotIndex":0,"commitIndex":4,"appliedIndex":4,"firstIndex":1,"lastIndex":5,"more":false,' +
        '"entries":[{"index":3,"term":2,"kind":"command","time":"2026-01-02T03:04:05.006Z","client":"c1","requestNumber":1,"command":"enqueue","value":42}]}',
    );
  });

  test("tells noops, sessions, several values, and bodies of another version", () => {
    const { entries } = JSON.parse(formatLog(page, JSON_STYLE)) as { entries: Record<string, unknown>[] };
    expect(entries[0]).toEqual({ index: 1, term: 2, kind: "noop", time: "2026-01-02T03:04:05.006Z" });
    expect(entries[1]).toMatchObject({ kind: "session", command: "open", client: "c1" });
    expect(entries[3]).toMatchObject({ values: [1, "\u009b"] });
    expect(entries[4]).toMatchObject({ kind: "command", requestNumber: 3 });
    expect(entries[4]).not.toHaveProperty("command");
  });

  test("as a table is safe for a terminal and marks what is not committed", () => {
    const text = formatLog(page, PLAIN);
    expect(text).toContain("3      2     2026-01-02T03:04:05.006Z  command  c1      1       enqueue(42)");
    expect(text).toContain('enqueue(1, "\\u009b")');
    expect(text).toMatch(/^5 .*not committed$/m);
    expect(text).toEndWith("n3, term 2: entries 1 to 5, committed 4, applied 4, snapshot 0");
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
