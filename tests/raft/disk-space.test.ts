// Disk space: when does the leader accept entries, and to which follower does a leader without space hand over?
import { expect, test } from "bun:test";
import type { Effects } from "../../src/raft/effects.ts";
import { hasDiskSpace, votersWithDiskSpace } from "../../src/raft/disk-space.ts";
import type { Configuration } from "../../src/raft/types.ts";

import { leading, replies, settle, single, type Single } from "../kit/single-raft.ts";
import { acknowledge, configEntry, draft, heartbeat, idOf, member } from "../kit/raft-samples.ts";

const low = (node: Single, name: string, isLow = true): unknown =>
  node.receive(name, { type: "HeartbeatReply", term: node.raft.currentTerm, readContext: 0, diskLow: isLow });
const ownDisk = (node: Single, isLow: boolean): unknown => node.turn({ type: "diskLow", low: isLow });
const timeoutNow = (sent: Parameters<typeof replies>[0]): readonly string[] =>
  sent.filter(({ message }) => message.type === "TimeoutNow").map(({ to }) => to);

test("there is room while a majority has some, the leader's own disk included", () => {
  const node = leading();
  expect(hasDiskSpace(node.raft)).toBe(true);
  low(node, "n2");
  expect(hasDiskSpace(node.raft)).toBe(true);
  ownDisk(node, true);
  expect(hasDiskSpace(node.raft)).toBe(false);
  expect(votersWithDiskSpace(node.raft)).toEqual({ withSpace: 1, voters: 3 });
  low(node, "n2", false);
  expect(hasDiskSpace(node.raft)).toBe(true);
});

test("the leader reports once that it refuses, and once that it accepts again", () => {
  const node = leading();
  const reported: string[] = [];
  const note = (effects: Effects): void => void reported.push(...effects.transitions.map(({ why }) => why));
  for (const isLow of [false, true, true, true, false, false]) {
    for (const name of ["n2", "n3"]) {
      note(node.receive(name, { type: "HeartbeatReply", term: 2, readContext: 0, diskLow: isLow }));
    }
  }
  expect(reported).toEqual([
    "1 of 3 voters have disk space: enqueues are refused",
    "2 of 3 voters have disk space: enqueues pass again",
  ]);
});

test("a voter that is silent has no room as soon as another one is low, and is no reason to refuse when none is", () => {
  const node = leading();
  for (let passed = 0; passed < 700; passed += 50) {
    node.now += 50;
    low(node, "n2", false);
  }
  expect(hasDiskSpace(node.raft)).toBe(true);
  low(node, "n2");
  expect(votersWithDiskSpace(node.raft)).toEqual({ withSpace: 1, voters: 3 });
  expect(hasDiskSpace(node.raft)).toBe(false);
});

test("acknowledgements report it as well, and learners do not count", () => {
  const learner = { ...member("n9"), replaces: null };
  const withLearner: Configuration = {
    voters: ["n1", "n2", "n3"].map((name) => member(name)),
    outgoing: [],
    learners: [learner],
    removed: [],
  };
  const node = leading({ entries: [configEntry(1, 1, withLearner)] });
  low(node, "n9");
  ownDisk(node, true);
  expect(hasDiskSpace(node.raft)).toBe(true);
  node.receive("n2", { ...acknowledge(2, 1), diskLow: true } as ReturnType<typeof acknowledge>);
  expect(hasDiskSpace(node.raft)).toBe(false);
});

test("in a joint configuration each half needs a majority with room", () => {
  const joint: Configuration = {
    voters: ["n1", "n4", "n5"].map((name) => member(name)),
    outgoing: ["n1", "n2", "n3"].map((name) => member(name)),
    learners: [],
    removed: [],
  };
  const node = single({ entries: [configEntry(1, 1, joint)] });
  while (node.raft.role !== "leader") {
    node.wait(10);
    settle(node);
    if (node.raft.campaign === null) continue;
    const { term, preVote } = node.raft.campaign;
    for (const voter of ["n2", "n3", "n4", "n5"]) {
      node.receive(voter, {
        type: "RequestVoteReply",
        term: preVote ? term - 1 : term,
        preVote,
        requestedTerm: term,
        voteGranted: true,
      });
    }
  }
  low(node, "n2");
  expect(hasDiskSpace(node.raft)).toBe(true);
  low(node, "n3");
  expect(hasDiskSpace(node.raft)).toBe(false);
  low(node, "n3", false);
  low(node, "n4");
  low(node, "n5");
  expect(hasDiskSpace(node.raft)).toBe(false);
});

test("a leader whose disk is low hands over to the voter that has room and holds all that is committed", () => {
  const node = leading();
  node.now += 10;
  node.receive("n2", { ...acknowledge(2, 2), diskLow: true } as ReturnType<typeof acknowledge>);
  node.receive("n3", acknowledge(2, 2));
  const effects = node.turn({ type: "diskLow", low: true });
  expect(timeoutNow(effects.send)).toEqual([idOf("n3")]);
  expect(effects.transitions.at(-1)?.why).toBe("its disk is low: handing over to n3, which has disk space");
  expect(effects.changed).toEqual([]);
});

test("it hands over neither to one that is behind, nor to one that is low, nor to one that has answered nothing yet", () => {
  const behind = leading();
  behind.now += 10;
  behind.receive("n2", { ...acknowledge(2, 2), diskLow: true } as ReturnType<typeof acknowledge>);
  behind.receive("n3", acknowledge(2, 1));
  ownDisk(behind, true);
  expect(behind.raft.transfer).toBeNull();
  // It catches up.
  behind.receive("n3", acknowledge(2, 2));
  expect(behind.raft.transfer?.to).toBe(idOf("n3"));

  const silent = leading();
  ownDisk(silent, true);
  expect(silent.raft.transfer).toBeNull();
});

test("a handover that came to nothing is not tried again at once, and meanwhile the leader serves", () => {
  const node = leading();
  node.now += 10;
  node.receive("n2", acknowledge(2, 2));
  node.receive("n3", acknowledge(2, 2));
  ownDisk(node, true);
  expect(node.raft.transfer).not.toBeNull();
  let attempts = 1;
  let refused = 0;
  for (let passed = 0; passed < 11_000; passed += 50) {
    node.now += 50;
    const before = node.raft.transfer;
    low(node, "n2", false);
    low(node, "n3", false);
    if (before === null && node.raft.transfer !== null) attempts++;
    if (node.raft.transfer !== null) refused++;
  }
  expect(attempts).toBe(2);
  expect(refused * 50).toBeLessThan(1_500);
  expect(node.turn({ type: "propose", token: 1, draft: draft() }).proposed[0]?.ok).toBe(true);
});

test("replies report that the disk is low, and that it is not any more", () => {
  const node = single();
  const answer = (): unknown => replies(node.receive("n2", heartbeat(2)).send, "HeartbeatReply").at(-1);
  node.receive("n2", heartbeat(2));
  settle(node);
  ownDisk(node, true);
  expect(answer()).toMatchObject({ diskLow: true });
  ownDisk(node, false);
  expect(answer()).toMatchObject({ diskLow: false });
});

test("a snapshot on a disk that is low keeps no tail of the log", () => {
  const kept = (isLow: boolean): number | undefined => {
    const node = leading({ keepLogBytes: 1_000_000 });
    node.receive("n2", acknowledge(2, 2));
    ownDisk(node, isLow);
    const configuration = node.raft.configuration;
    const meta = { index: 2, term: 2, configuration, configurationIndex: 1, time: 0 };
    return node.turn({ type: "snapshotSaved", meta }).persist?.snapshot?.keepFrom;
  };
  expect(kept(false)).toBeLessThan(3);
  expect(kept(true)).toBe(3);
});
