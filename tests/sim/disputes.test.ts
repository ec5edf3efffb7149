// Does the judge of leaders that report "writes stop" judge? What clients ask for must not enter their logs, what leaders need may.
import { expect, test } from "bun:test";
import { encodeEntry, type Entry, type EntryKind } from "../../src/raft/entry.ts";

import { createDisputes } from "./disputes.ts";
import { draft } from "../kit/raft-samples.ts";

const STOP = "writes stop: the members' states differ at index 8 and no majority agrees";
const GO_ON = "writes go on: a majority agrees about the state again";
const LEADERSHIP = {};

/** The verdict on n1 when these entries come behind index 8, after these lines of its log. */
function verdict(
  lines: readonly string[],
  kinds: readonly EntryKind[],
  leadership: object | null = LEADERSHIP,
): string | null {
  const failures: string[] = [];
  const disputes = createDisputes((what) => void failures.push(what));
  const entries = kinds.map((kind, at): Entry =>
    encodeEntry({ index: 9 + at, term: 2, time: 9, wall: 9 }, draft("x", kind)),
  );
  const observe = (lastIndex: number, led: object | null): void =>
    disputes.observe("n1", { leadership: led, lastIndex, entryAt: (index) => entries[index - 9] });
  observe(8, LEADERSHIP);
  for (const line of lines) {
    disputes.logged("n1", line);
    observe(8, LEADERSHIP);
  }
  observe(8 + kinds.length, leadership);
  return failures[0] ?? null;
}

test.each(["command", "open", "close"] as const)("a %s must not be taken while writes stop", (kind) => {
  expect(verdict([STOP], ["tick", kind])).toBe(`n1 says that writes stop, and takes a ${kind} at index 10`);
});

test("before and after it is taken, and so is what no client asked for, and what another leadership does", () => {
  expect(verdict([], ["command"])).toBeNull();
  expect(verdict([STOP, GO_ON], ["command"])).toBeNull();
  expect(verdict([STOP], ["noop", "config", "tick", "touch"])).toBeNull();
  expect(verdict([STOP], ["command"], {})).toBeNull();
  expect(verdict([STOP], ["command"], null)).toBeNull();
});
