// Does a person who finds no leader learn what to do?
import { expect, test } from "bun:test";
import { noLeader } from "../../src/client/no-leader.ts";
import type { Finding } from "../../src/client/seek.ts";
import type { HelloAnswer, NodeStatus } from "../../src/wire/protocol.ts";

const ADDRESSES = ["127.0.0.1:3000", "127.0.0.1:3001", "127.0.0.1:3002"];

const hello = (id: string) => ({ node: { id } }) as unknown as HelloAnswer;

/** As the third of three members sees it: none of the others is reachable. */
const status = {
  members: ADDRESSES.map((address, at) => ({ id: `n${at + 1}`, address, role: "voter", reachable: at === 2 })),
} as unknown as NodeStatus;

function finding(reached: readonly number[], recovering: readonly number[], seen: NodeStatus | null): Finding {
  const at = (index: number): string => ADDRESSES[index]!;
  return {
    unreachable: new Map(),
    reached: new Map(reached.map((index) => [at(index), hello(`n${index + 1}`)])),
    recovering: new Map(recovering.map((index) => [at(index), `n${index + 1} has lost its data (meta)`])),
    status: seen,
    fatal: null,
  };
}

test("members that lost their data do not count, and are told apart from those that are down", () => {
  expect(noLeader(finding([0, 1, 2], [0, 1], status)).message).toBe(
    "No Leader: 1 of 3 members reachable, 2 needed. n1 (127.0.0.1:3000) and n2 (127.0.0.1:3001) lost the data and cannot come back without a majority.",
  );
  expect(noLeader(finding([1, 2], [1], status)).message).toBe(
    "No Leader: 1 of 3 members reachable, 2 needed. n2 (127.0.0.1:3001) lost the data and cannot come back without a majority. Start n1 (127.0.0.1:3000).",
  );
  expect(noLeader(finding([1, 2], [], status)).message).toContain("An election is under way");
});

test("a node that has lost its data and is the only one that was asked says so", () => {
  expect(noLeader(finding([0], [0], null)).message).toBe("No Leader: n1 has lost its data (meta)");
  expect(noLeader(finding([0], [], null)).message).toContain("know no leader");
});
