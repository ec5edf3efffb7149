// Does a person who finds no leader learn what to do?
import { expect, test } from "bun:test";
import { isNobodyThere, noLeader } from "../../src/client/no-leader.ts";
import type { ProbeResult, RoundResult } from "../../src/client/leader-search.ts";
import type { HelloAnswer, NodeStatus } from "../../src/wire/protocol.ts";

const addressOf = (at: number): string => `127.0.0.1:${3000 + at}`;

/** As member `self` (from 1) of `size` sees it. */
function seenBy(self: number, size: number, reachable: readonly number[], leader: number | null = null): ProbeResult {
  const members = Array.from({ length: size }, (_, at) => ({
    id: `n${at + 1}`,
    address: addressOf(at + 1),
    role: "voter",
    reachable: at + 1 === self || reachable.includes(at + 1),
  }));
  const leading = { leader: leader === null ? null : `n${leader}`, leaderAddress: leader && addressOf(leader) };
  const status = { node: { id: `n${self}` }, members, commitIndex: 1, ...leading };
  return { type: "serving", status: status as unknown as NodeStatus };
}

const DOWN: ProbeResult = { type: "down", why: "nobody listens there" };
const SILENT: ProbeResult = { type: "silent", why: "no answer" };
const STARTING: ProbeResult = { type: "starting", why: "not a member yet" };
const LOST: ProbeResult = { type: "rejoining", why: "n1 has lost its data (meta)" };
const GREETED: ProbeResult = { type: "greeted", hello: { node: { id: "n1" } } as unknown as HelloAnswer };

/** What was found at n1, n2, … */
function found(...probes: readonly ProbeResult[]): RoundResult {
  const reached = probes.some(({ type }) => type !== "down" && type !== "silent" && type !== "failed");
  return { probes: new Map(probes.map((one, at) => [addressOf(at + 1), one])), reached, fatal: null };
}

const messageOf = (...probes: readonly ProbeResult[]): string => noLeader(found(...probes)).message;

test("each missing member is named with what it needs", () => {
  const alone = seenBy(3, 3, []);
  expect(messageOf(LOST, LOST, alone)).toBe(
    "No Leader: 1 of 3 members reachable, 2 needed. n1 (127.0.0.1:3001) and n2 (127.0.0.1:3002) lost the data and cannot come back without a majority.",
  );
  expect(messageOf(DOWN, LOST, alone)).toBe(
    "No Leader: 1 of 3 members reachable, 2 needed. n2 (127.0.0.1:3002) lost the data and cannot come back without a majority. Start n1 (127.0.0.1:3001).",
  );
  expect(messageOf(DOWN, DOWN, alone)).toEndWith("Start n1 (127.0.0.1:3001), or n2 (127.0.0.1:3002).");
  expect(messageOf(SILENT, DOWN, alone)).toEndWith(
    "n1 (127.0.0.1:3001) does not answer: it is paused or cut off. Start n2 (127.0.0.1:3002).",
  );
  expect(messageOf(STARTING, SILENT, alone)).toEndWith(
    "n2 (127.0.0.1:3002) does not answer: it is paused or cut off. n1 (127.0.0.1:3001) is starting: wait.",
  );
  expect(messageOf({ type: "failed", why: "it speaks HTTP" }, SILENT, alone)).toEndWith(
    "n1 (127.0.0.1:3001): it speaks HTTP.",
  );
});

test("how many must be started is stated", () => {
  expect(messageOf(DOWN, DOWN, DOWN, DOWN, seenBy(5, 5, []))).toContain(
    "1 of 5 members reachable, 3 needed. Start 2 of n1 ",
  );
  expect(messageOf(DOWN, DOWN, seenBy(3, 5, []), SILENT, SILENT)).toEndWith(
    "Start n1 (127.0.0.1:3001) and n2 (127.0.0.1:3002).",
  );
});

test("an election is under way only where a member reaches a majority", () => {
  const election = "An election is under way: wait a moment, then try again.";
  expect(messageOf(seenBy(1, 3, [2]), seenBy(2, 3, [1]), DOWN)).toBe(
    `No Leader: 2 of 3 members reachable, 2 needed. ${election}`,
  );
  // This client reaches one member only: the others may vote without it.
  expect(messageOf(SILENT, seenBy(2, 3, [1, 3]), SILENT)).toEndWith(election);
  expect(messageOf(seenBy(1, 3, []), seenBy(2, 3, []), SILENT)).toBe(
    "No Leader: 1 of 3 members reachable, 2 needed. n3 (127.0.0.1:3003) does not answer: it is paused or cut off. n2 (127.0.0.1:3002) answers here, but not n1: they are cut off from each other, or about to connect.",
  );
});

test("a leader that only this client cannot reach is named", () => {
  expect(messageOf(SILENT, seenBy(2, 3, [1, 3], 1), seenBy(3, 3, [1, 2], 1))).toBe(
    "No Leader: 3 of 3 members reachable, 2 needed. n1 (127.0.0.1:3001) leads, but cannot be reached from here: no answer.",
  );
});

test("where no node serves, what each answered is reported", () => {
  expect(messageOf(LOST)).toBe("No Leader: n1 has lost its data (meta)");
  expect(messageOf(GREETED)).toContain("know no leader");
  expect(messageOf(STARTING)).toBe("No Leader: 127.0.0.1:3001 is starting (not a member yet): wait");
});

test("silence leaves hope, a refusal does not", () => {
  expect(isNobodyThere(found(DOWN, DOWN))).toBe(true);
  expect(isNobodyThere(found(DOWN, SILENT))).toBe(false);
  expect(messageOf(DOWN, SILENT)).toBe(
    "cannot reach 127.0.0.1:3001 (nobody listens there), 127.0.0.1:3002 (no answer)",
  );
});
