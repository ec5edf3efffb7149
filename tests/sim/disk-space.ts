// Checks that a leader refuses what makes the state larger while fewer than a majority have disk space. The disks are asked. A node finds
// out by itself, now and then, and a leader learns it from the next reply: they get that much time, in worlds whose network gives it to them.
import { SERVER } from "../../src/config.ts";
import { decodeCommand } from "../../src/queue/commands.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { type LogIndex, nodeIdOf } from "../../src/raft/types.ts";
import { holdsQuorum } from "./members.ts";
import type { Plan } from "./plan.ts";

/** The least that the product keeps free, whatever the state is: the snapshot that fits besides only makes it more. */
const HARD_WATERMARK_SEGMENTS = 2;
/** For what callbacks, disks and the scheduler add. */
const SLACK_MS = 200;

/** The parts of the plan that decide how long a message may take. */
type Weather = Pick<Plan, "settings" | "network" | "disk" | "roundMs" | "clockRates" | "faults">;

export interface DiskSpaceOracle {
  /** After every callback into that node's process. `hangs`: its disk does not answer. */
  observe(name: string, disk: { readonly freeBytes: number; readonly hangs: boolean }, raft: Watched): void;
  /** It was started, paused or otherwise held up: what it knows of its disk, and of others', may be old. */
  disturbed(name: string): void;
}

/** What is asked of a node's raft. */
type Watched = Pick<Raft, "configuration" | "lastIndex" | "entryAt"> & { readonly leadership: object | null };

interface Leading {
  readonly leadership: object | null;
  readonly configuration: unknown;
  readonly since: number;
  lastIndex: LogIndex;
}

export function createDiskSpaceOracle(plan: Weather, now: () => number, fail: (what: string) => void): DiskSpaceOracle {
  const { segmentBytes } = plan.settings;
  const knownAfterMs = isPrompt(plan) ? timeToKnow(plan) : Infinity;
  const lowSince = new Map<string, number>();
  const disturbedAt = new Map<string, number>();
  const leading = new Map<string, Leading>();

  const isSurelyLow = (name: string): boolean => {
    const since = Math.max(lowSince.get(name) ?? Infinity, disturbedAt.get(name) ?? 0);
    return now() - since > knownAfterMs;
  };

  function judge(
    name: string,
    { since }: Leading,
    from: LogIndex,
    { configuration, lastIndex, entryAt }: Watched,
  ): void {
    if (now() - Math.max(since, disturbedAt.get(name) ?? 0) <= knownAfterMs) return;
    if (holdsQuorum([configuration], (member) => !isSurelyLow(nodeIdOf(member)))) return;
    for (let index = from; index <= lastIndex; index++) {
      const entry = entryAt(index);
      if (entry?.kind !== "command") continue;
      const { body } = fieldsOf(entry);
      if (isEnqueue(body))
        fail(`${name} takes an enqueue at index ${index}, and fewer than a majority have disk space`);
    }
  }

  return {
    disturbed: (name) => void disturbedAt.set(name, now()),
    observe: (name, { freeBytes, hangs }, raft) => {
      if (hangs || freeBytes >= HARD_WATERMARK_SEGMENTS * segmentBytes) lowSince.delete(name);
      else if (!lowSince.has(name)) lowSince.set(name, now());
      const { leadership, configuration, lastIndex } = raft;
      const before = leading.get(name);
      if (leadership === null) leading.delete(name);
      else if (before?.leadership !== leadership || before.configuration !== configuration)
        leading.set(name, { leadership, configuration, since: now(), lastIndex });
      else if (lastIndex > before.lastIndex) {
        if (lowSince.size > 0) judge(name, before, before.lastIndex + 1, raft);
        before.lastIndex = lastIndex;
      }
    },
  };
}

/** Nothing in this world holds messages up for longer than its settings state. */
function isPrompt({ network, faults }: Weather): boolean {
  const late = [faults.slowLink, faults.lateReplies, faults.clock];
  return (network.lossPercent ?? 0) === 0 && late.every((meanMs) => meanMs === 0);
}

/** Its disk is asked, the answer goes with a reply to a heartbeat, or it is silent for so long that it does not count. */
function timeToKnow({ settings, network, disk, roundMs, clockRates }: Weather): number {
  const ownMs = SERVER.diskCheckMs + settings.electionMaxMs + 2 * settings.heartbeatMs;
  return ownMs / clockRates.from + 2 * network.delayMaxMs + disk.operationMaxMs + 4 * roundMs + SLACK_MS;
}

function isEnqueue(body: Uint8Array): boolean {
  try {
    return decodeCommand(body, { maxJobsPerCommand: Number.MAX_SAFE_INTEGER }).type === "enqueue";
  } catch {
    return false;
  }
}
