// Does every line for a person come out as it was meant, whatever it holds and however often it comes? And is nothing held up, or
// held for ever, by a reader that does not read?
import { expect, test } from "bun:test";
import { createNodeLog } from "../../src/cli/log.ts";
import { createSink, type Sink } from "../../src/cli/stderr.ts";
import type { LogEvent } from "../../src/server/types.ts";

const LIMITS = { maxUnread: 100, exitWaitMs: 20 };

/** A system whose reader can stand still: then it takes nothing. */
function scripted(): { readonly sink: Sink; readonly seen: () => string; isStuck: boolean; read(): void } {
  let seen = "";
  const held: (() => void)[] = [];
  const system = {
    isStuck: false,
    seen: () => seen,
    read: () => {
      system.isStuck = false;
      for (const take of held.splice(0)) take();
    },
    sink: createSink((text, done) => {
      const take = (): void => {
        seen += text;
        done();
      };
      if (system.isStuck) held.push(take);
      else take();
    }, LIMITS),
  };
  return system;
}

const HOSTILE = "goodbye \u001b[31m %s %d %o\nINFO faked";
const event = (text: string, level: LogEvent["level"] = "info"): LogEvent => ({ level, event: "peer", text });
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /gm;

test("a log line is one line in both formats: escapes, placeholders and line ends in it come out as what they are", () => {
  const text = scripted();
  const json = scripted();
  const hostile = { ...event(HOSTILE, "warn"), fields: { peer: "n2\u2028", port: 3000, gone: null } } as const;
  createNodeLog("info", "text", text.sink)(hostile);
  createNodeLog("info", "json", json.sink)(hostile);
  expect(text.seen()).toMatch(TIME);
  expect(text.seen().replace(TIME, "")).toBe("WARN  goodbye \\u001b[31m %s %d %o\\u000aINFO faked\n");
  expect(json.seen()).not.toContain("\u2028");
  expect(json.seen().indexOf("\n")).toBe(json.seen().length - 1);
  expect(Object.entries(JSON.parse(json.seen()) as object)).toEqual([
    ["time", expect.stringMatching(/^\d{4}-.*Z$/)],
    ["level", "warn"],
    ["event", "peer"],
    ["text", HOSTILE],
    ["peer", "n2\u2028"],
    ["port", 3000],
    ["gone", null],
  ]);
});

test("lines that are repeated are all shown", () => {
  for (const format of ["text", "json"] as const) {
    const { sink, seen } = scripted();
    const log = createNodeLog("info", format, sink);
    for (let times = 0; times < 50; times++) log(event("the same"));
    expect(seen().match(/the same/g)).toHaveLength(50);
    expect(seen()).not.toContain("repeated");
  }
});

test("a level hides what is less severe, and an empty text is a line too", () => {
  const { sink, seen } = scripted();
  const log = createNodeLog("warn", "text", sink);
  for (const level of ["debug", "info", "warn", "error"] as const) log(event("", level));
  expect(seen().replace(TIME, "")).toBe("WARN  \nERROR \n");
});

test("colour is in the word of the level only, and only where it was asked for", () => {
  const { sink, seen } = scripted();
  const log = createNodeLog("info", "text", sink, true);
  for (const level of ["info", "warn", "error"] as const) log(event("text", level));
  expect(seen().replace(TIME, "")).toBe("INFO  text\n\u001b[33mWARN \u001b[39m text\n\u001b[31mERROR\u001b[39m text\n");
  const json = scripted();
  createNodeLog("info", "json", json.sink, true)(event("text", "warn"));
  expect(json.seen()).not.toContain("\u001b");
});

test("what nobody reads is held up to a limit, and how many lines were left out is reported when there is room again", () => {
  for (const format of ["text", "json"] as const) {
    const system = scripted();
    const log = createNodeLog("error", format, system.sink);
    system.isStuck = true;
    for (let line = 1; line <= 1_000; line++) log(event(`line ${line}`, "error"));
    system.read();
    const held = system.seen().split("\n").length - 1;
    expect(system.seen().length).toBeLessThan(2 * LIMITS.maxUnread);
    log(event("goes on", "error"));
    const [leftOut, last] = system.seen().trimEnd().split("\n").slice(-2);
    expect(leftOut).toContain(`${1_000 - held} lines left out here: nobody read stderr`);
    expect(last).toContain("goes on");
    log(event("and on", "error"));
    expect(system.seen().match(/left out/g)).toHaveLength(1);
  }
});

test("the end waits for the reader of the last lines, but not for one that does not read", async () => {
  const system = scripted();
  await system.sink.drained();
  system.isStuck = true;
  system.sink.write("last words");
  let isDrained = false;
  const drained = system.sink.drained().then(() => (isDrained = true));
  await Bun.sleep(LIMITS.exitWaitMs / 4);
  expect(isDrained).toBe(false);
  system.read();
  await drained;
  expect(system.seen()).toBe("last words");
  system.isStuck = true;
  system.sink.write("unread");
  await system.sink.drained();
  expect(system.seen()).toBe("last words");
});
