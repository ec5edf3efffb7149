// Does the judge of handovers judge? Each may take an election timeout by the node's own clock, and not more.
import { expect, test } from "bun:test";

import { createHandovers } from "./handovers.ts";
import { idOf } from "../kit/raft-samples.ts";

const LIMIT_MS = 100;

/** The verdict when n1 is seen at these times, each with the handover that is under way then. */
function verdict(...seen: readonly (readonly [now: number, transfer: object | null])[]): string | null {
  const failures: string[] = [];
  const handovers = createHandovers(LIMIT_MS, (what) => void failures.push(what));
  for (const [now, transfer] of seen) handovers.observe("n1", { self: idOf("n1"), now, transfer });
  return failures[0] ?? null;
}

test("a handover may take an election timeout, and another one may follow", () => {
  const [first, second] = [{}, {}];
  expect(verdict([1_000, first], [1_100, first], [1_101, null])).toBeNull();
  expect(verdict([1_000, first], [1_100, first], [1_101, second], [1_201, second])).toBeNull();
});

test("one that takes longer has no deadline", () => {
  const transfer = {};
  expect(verdict([1_000, transfer], [1_050, transfer], [1_101, transfer])).toMatch(/^n1@.* for more than 100ms/);
});
