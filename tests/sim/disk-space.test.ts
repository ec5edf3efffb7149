// Does the judge of leaders without room judge? Who takes an enqueue while a majority's disks are low is named, once it had time to know.
import { expect, test } from "bun:test";
import { encodeCommand } from "../../src/queue/commands.ts";
import { encodeEntry } from "../../src/raft/entry.ts";

import { dequeue, enqueue } from "../kit/queue-log.ts";
import { drawPlan } from "./plan.ts";
import { createDiskSpaceOracle, type DiskSpaceOracle } from "./disk-space.ts";
import { configuration, draft } from "../kit/raft-samples.ts";

const { settings, disk, roundMs } = drawPlan(1);
const CALM = { delayMinMs: 1, delayMaxMs: 5, dialLossPercent: 0 };
const NAMES = ["n1", "n2", "n3"] as const;
const LOW = settings.segmentBytes;
const ROOMY = 3 * settings.segmentBytes;
const LONG_MS = 1_500 + settings.electionMaxMs + 2 * settings.heartbeatMs;

interface Watched {
  readonly diskSpace: DiskSpaceOracle;
  /** So many milliseconds in which these have no room, then n1 takes the command. */
  takes(low: readonly string[], ms: number, command?: Uint8Array): void;
  readonly failures: readonly string[];
}

function watched(loses = 0): Watched {
  const failures: string[] = [];
  let now = 10_000;
  let lastIndex = 5;
  const clockRates = { from: 1, to: 1 };
  const { faults } = drawPlan(1, { overrides: { faults: { slowLink: 0, lateReplies: 0, clock: 0 } } });
  const plan = {
    settings,
    disk: { ...disk, operationMaxMs: 1 },
    roundMs,
    clockRates,
    faults,
    network: { ...CALM, lossPercent: loses },
  };
  const diskSpace = createDiskSpaceOracle(
    plan,
    () => now,
    (what) => void failures.push(what),
  );
  const leadership = {};
  const members = configuration(...NAMES);
  return {
    diskSpace,
    failures,
    takes: (low, ms, command = encodeCommand(enqueue("x"))) => {
      const entry = encodeEntry({ index: lastIndex + 1, term: 2, time: 9, wall: 9 }, { ...draft(), body: command });
      const look = (): void => {
        for (const name of NAMES) {
          const leads = name === "n1" ? leadership : null;
          const raft = { leadership: leads, configuration: members, lastIndex, entryAt: () => entry };
          diskSpace.observe(name, { freeBytes: low.includes(name) ? LOW : ROOMY, hangs: false }, raft);
        }
      };
      look();
      now += ms;
      look();
      lastIndex++;
      look();
    },
  };
}

test("an enqueue is wrong when a majority has had no room for long enough to know, and a dequeue never", () => {
  const wrong = watched();
  wrong.takes(["n1", "n3"], LONG_MS);
  expect(wrong.failures).toEqual(["n1 takes an enqueue at index 6, and fewer than a majority have disk space"]);
  const right = watched();
  right.takes(["n1", "n3"], LONG_MS, encodeCommand(dequeue()));
  right.takes(["n1"], LONG_MS);
  right.takes(["n1", "n2", "n3"], settings.heartbeatMs);
  expect(right.failures).toEqual([]);
});

test("who was held up gets the time again, and where the network loses what is sent nobody is judged", () => {
  const held = watched();
  held.takes(["n1", "n3"], 500);
  held.diskSpace.disturbed("n3");
  held.takes(["n1", "n3"], LONG_MS - 400);
  expect(held.failures).toEqual([]);
  const lossy = watched(5);
  lossy.takes(["n1", "n2", "n3"], 10 * LONG_MS);
  expect(lossy.failures).toEqual([]);
});
