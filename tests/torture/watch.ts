// How is each node now? Asked over and over from outside; its answer decides who is healthy, whether there should be service,
// and whether memory, descriptors and disks stay bounded.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createNodeAccess } from "../../src/cluster/node-access.ts";
import { WIRE } from "../../src/config.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";
import { isHealthy, type TortureNode } from "./node.ts";
import { hasConnectedMajority, type Service } from "./service.ts";
import { CLIENT_PLACE, leaderOf, type World } from "./world.ts";

const LOOK_MS = 100;
const MEASURE_MS = 2_000;

/**
 * What a node may use at most in these runs. At high water (tide.ts) a state has some 10 MiB. Of its disk that may take: three
 * snapshots (the one that counts, its own next one, one from the leader), four times as much log while one is sent, six segments
 * kept for followers, one written and one ahead: 134 MiB.
 */
export const BOUNDS = { residentMiB: 600, descriptors: 250, diskMiB: 160 } as const;

export interface Peaks {
  residentMiB: number;
  descriptors: number;
  /** Of those descriptors: a node that was stopped takes in at once who knocked meanwhile. */
  sockets: number;
  diskMiB: number;
}

export interface Watch {
  readonly peaks: Peaks;
  /** How late the harness itself was at most: a figure for how busy the machine is. */
  lateness(): number;
  stop(): void;
}

/** `active` names the nemeses at work; null: there need not be service yet. */
export function watch(world: World, service: Service, active: () => string | null): Watch {
  const access = createNodeAccess({
    network: createTcpNetwork(WIRE),
    clock: createRealClock(),
    random: seededRandom(randomBytes(4).readUInt32BE()),
  });
  const peaks: Peaks = { residentMiB: 0, descriptors: 0, sockets: 0, diskMiB: 0 };
  const asking = new Set<TortureNode>();
  let late = 0;
  let expected = performance.now() + LOOK_MS;

  async function ask(node: TortureNode): Promise<void> {
    if (!node.running() || asking.has(node)) return;
    asking.add(node);
    const pid = node.pid();
    const status = await access.status(node.address);
    asking.delete(node);
    // An answer of an earlier life does not count for this one; a node that asks to be let in again has no state to report.
    if (status !== null && "node" in status && node.running() && node.pid() === pid) node.status = status;
  }

  const looking = setInterval(() => {
    const now = performance.now();
    late = Math.max(late, now - expected);
    expected = now + LOOK_MS;
    for (const node of world.nodes) void ask(node);
    const during = active();
    const leader = leaderOf(world);
    const led = leader === null ? "no leader known" : `${leader.id} led term ${leader.status?.term}`;
    service.look(now, during !== null && isCalm(world), `${during}; ${led}`);
  }, LOOK_MS);
  const measuring = setInterval(() => {
    for (const node of world.nodes) if (node.running()) measure(node, peaks);
  }, MEASURE_MS);
  return {
    peaks,
    lateness: () => late,
    stop: () => {
      clearInterval(looking);
      clearInterval(measuring);
      access.close();
    },
  };
}

/** A majority is healthy, and nothing is lost between any two of it and the clients. */
export function isCalm({ nodes, network }: World): boolean {
  const clean = (a: string, b: string): boolean => network === null || network.isClean(a, b);
  const able = nodes.filter((node) => isHealthy(node) && clean(node.id, CLIENT_PLACE));
  return hasConnectedMajority(nodes.length, able, (a, b) => clean(a.id, b.id));
}

function measure(node: TortureNode, peaks: Peaks): void {
  try {
    const resident = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${node.pid()}/status`, "utf8"));
    peaks.residentMiB = Math.max(peaks.residentMiB, Math.round(Number(resident?.[1] ?? 0) / 1_024));
    const open = `/proc/${node.pid()}/fd`;
    const descriptors = readdirSync(open);
    if (descriptors.length > peaks.descriptors) {
      peaks.descriptors = descriptors.length;
      peaks.sockets = descriptors.filter((name) => isSocket(`${open}/${name}`)).length;
    }
    // Damaged data that were set aside stay until their room is needed.
    const used = spawnSync("du", ["-sm", "--exclude=damaged-*", node.disk.data], { encoding: "utf8" }).stdout;
    peaks.diskMiB = Math.max(peaks.diskMiB, Number.parseInt(used, 10) || 0);
  } catch {
    // It ended while we looked.
  }
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith("socket:");
  } catch {
    return false; // closed meanwhile
  }
}

export function beyondBounds(peaks: Peaks): readonly string[] {
  const found: string[] = [];
  if (peaks.residentMiB > BOUNDS.residentMiB) found.push(`a node used ${peaks.residentMiB} MiB of memory`);
  if (peaks.descriptors > BOUNDS.descriptors) found.push(`a node held ${peaks.descriptors} descriptors`);
  if (peaks.diskMiB > BOUNDS.diskMiB) found.push(`a node used ${peaks.diskMiB} MiB of its disk`);
  return found;
}
