// What kind of world does a seed draw? Its size, its settings, its load, and which faults happen how often: every seed its own mix.
import { QUEUE, RAFT, SERVER } from "../../src/config.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import type { NodeSettings } from "../../src/server/types.ts";
import type { DiskWeather } from "../kit/simulated-disk.ts";
import type { Trust } from "../../src/wire/network.ts";
import { sharedSecret, type SimNetworkSettings } from "../kit/simulated-network.ts";
import type { ProfileName } from "./profile-names.ts";
import { fewApplied, manyJobs, withProfile, tightLimits } from "./profiles.ts";
import { merged } from "./shrink.ts";

export type SharedSettings = Omit<NodeSettings, "id" | "host" | "port" | "advertise" | "join" | "expect">;

export type DiskFaultClass =
  | "diskError"
  | "readError"
  | "diskHang"
  | "lateWrite"
  | "oldDisk"
  | "diskFull"
  | "scarceRoom"
  | "wipe"
  | "damage"
  | "swapDisks";
export type NetworkFaultClass = "flap" | "slowLink" | "resetStorm" | "swizzle" | "heldNews";
export type LeaderFaultClass = "lateReplies" | "deafLeader";
export type ProcessFaultClass = "crashLoop" | "crashPoint" | "crashChain" | "pausePoint" | "killReceiver";

/** Mean virtual milliseconds between two faults of a class, over the whole group; 0: never. */
export interface FaultIntervals extends Readonly<
  Record<DiskFaultClass | NetworkFaultClass | LeaderFaultClass | ProcessFaultClass, number>
> {
  readonly kill: number;
  readonly powerCut: number;
  readonly powerCutAll: number;
  readonly stop: number;
  readonly pause: number;
  readonly partition: number;
  readonly figure8: number;
  readonly reset: number;
  readonly clock: number;
  readonly transfer: number;
  readonly membership: number;
  readonly midChange: number;
  readonly wrongState: number;
}

export interface ClientHabits {
  readonly processes: number;
  readonly window: number;
  /** Pause between two new operations of one process. */
  readonly thinkMaxMs: number;
  readonly enqueuePercent: number;
  readonly maxJobs: number;
  readonly maxPadding: number;
  readonly attemptTimeoutMs: number;
  /** First attempt to three nodes at once. */
  readonly threeAtOncePercent: number;
  /** Sends an answered number again, somewhere, some time. */
  readonly oldRetryPercent: number;
  /** acknowledgedThrough may lag by so many numbers. */
  readonly answeredLag: number;
  readonly readPercent: number;
  /** A process dies and the next one of the same client id takes its session over. */
  readonly takeoverEveryMs: number;
  /** Share of moments in which a process closes its session, to the good of those that found no place. */
  readonly leavePercent: number;
  /** How often an idle process is suspended, for longer than sessions live in some worlds. */
  readonly sleepPercent: number;
  /** So many of the client ids are called generated. */
  readonly generatedPercent: number;
  /** Clients that break the rules of sessions. */
  readonly hostile: number;
  /** So many of the client ids are used by raftq's own client, and so many of these for a file with numbers. */
  readonly realPercent: number;
  readonly filePercent: number;
  /** Up to so many operations at the same moment. */
  readonly burst: number;
  /** How often an idle process asks nothing for a while and stays connected, for longer than sessions live in some worlds. */
  readonly silentPercent: number;
  readonly silentMaxMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly nodes: number;
  readonly founding: "together" | "growing";
  /** Faults strike while the cluster is being founded. */
  readonly faultsAtOnce: boolean;
  readonly settings: SharedSettings;
  readonly clockRates: { readonly from: number; readonly to: number };
  readonly roundMs: number;
  readonly network: SimNetworkSettings;
  /** What a slow link carries, and how long it stays so. */
  readonly slowLinks: { readonly bytesPerMs: { readonly from: number; readonly to: number }; readonly maxMs: number };
  readonly disk: DiskWeather;
  readonly clients: ClientHabits;
  readonly faults: FaultIntervals;
  /** More disks are damaged than can be survived: then the group may refuse to serve, but never serve what is wrong. */
  readonly beyond: boolean;
  readonly safetyMs: number;
  /** Faults end earlier after so many events: a busy world of many nodes shows no more in forty seconds than in ten. */
  readonly safetyEvents: number;
}

type Overrides<T> = { readonly [Name in keyof T]?: T[Name] extends object ? Overrides<T[Name]> : T[Name] };

/** What is to be otherwise than the seed drew it: how a shrunk run is replayed. */
export type PlanOverrides = Overrides<Plan>;

export interface PlanWishes {
  readonly overrides?: PlanOverrides;
  readonly nodes?: number;
  /** Short runs for the smoke test. */
  readonly short?: boolean;
  /** Every world is about that, a short one too. */
  readonly profile?: ProfileName;
}

/** Apart from the plan's own stream, so that what the others draw does not depend on who uses raftq's own client. */
const REAL_CLIENTS_STREAM = 0x4ea1;
/** Many large jobs at once cost much copying and show no more than one. */
const LARGEST_CALL_BYTES = 10_000;
/** Requests of all processes under way at once; where entries travel in small pieces, each waits long, and is sent again and again. */
const MOST_UNDER_WAY = 160;
const MOST_UNDER_WAY_IN_PIECES = 24;
const IN_PIECES_BYTES = 10_000;

function pick<T>(random: Random, ...choices: readonly T[]): T {
  return choices[random.below(choices.length)]!;
}

export function drawPlan(seed: number, wishes: PlanWishes = {}): Plan {
  const plan = draw(seed, wishes);
  return wishes.overrides === undefined ? plan : (merged(plan, wishes.overrides) as Plan);
}

function draw(seed: number, wishes: PlanWishes): Plan {
  const random = seededRandom(seed);
  const nodes = wishes.nodes ?? pick(random, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7);
  const founding = nodes === 1 || random.chance(20) ? "growing" : "together";
  const safetyMs = drawSafetyMs(random, wishes.short === true);
  const faults = drawFaults(random.fork(), nodes, safetyMs);
  const settings = drawSettings(random.fork(), faults.figure8 > 0);
  const plan: Plan = {
    seed,
    nodes,
    founding,
    faultsAtOnce: random.chance(15),
    settings,
    clockRates: random.chance(30) ? { from: 0.5, to: 2 } : { from: 0.999, to: 1.001 },
    roundMs: pick(random, 0, 0.2, 1, 5),
    network: drawNetwork(random.fork()),
    slowLinks: { bytesPerMs: { from: 100, to: 1_000 }, maxMs: 3_000 },
    disk: drawDisk(random.fork()),
    clients: drawClients(random.fork(), seededRandom((seed ^ REAL_CLIENTS_STREAM) >>> 0), settings),
    faults,
    beyond: random.chance(8),
    safetyMs,
    safetyEvents: drawSafetyEvents(random),
  };
  const { profile = null, short = false } = wishes;
  const about = short && profile === null ? plan : withProfile(plan, wishes.nodes !== undefined, profile);
  return fewApplied(tightLimits(manyJobs(about)));
}

/** Many short worlds find more than few long ones, but some bugs need a long history. */
function drawSafetyMs(random: Random, short: boolean): number {
  if (short) return random.between(1_000, 3_000);
  return random.chance(90) ? random.between(1_000, 5_000) : random.between(5_000, 40_000);
}

function drawSafetyEvents(random: Random): number {
  if (random.chance(80)) return 20_000;
  return random.chance(85) ? 50_000 : 100_000;
}

function drawSettings(random: Random, figure8: boolean): SharedSettings {
  const heartbeatMs = pick(random, 20, 50, 50, 50, 100);
  const electionMinMs = heartbeatMs * pick(random, 4, 6, 6, 8);
  // Entries that travel one by one are what Figure 8 needs.
  const single = figure8 && random.chance(60);
  const tiny = single || random.chance(30);
  const expiring = random.chance(12);
  /** Few places: sessions become dormant, and are resumed. */
  const crowded = expiring || random.chance(15);
  return {
    heartbeatMs,
    electionMinMs,
    electionMaxMs: 2 * electionMinMs,
    segmentBytes: pick(random, 64, 128, 256) * 1024,
    compactMinBytes: pick(random, 300, 4_096, 16_384, 65_536, 1 << 20),
    compactFactor: pick(random, 1, 1, 4),
    keepLogBytes: pick(random, 0, 512, 8_192, 1 << 20),
    maxAppendBytes: single ? 1 : tiny ? pick(random, 1, 200, 2_000) : 1 << 20,
    maxInflightMessages: tiny ? pick(random, 1, 2, 4) : 64,
    maxUncommittedBytes: tiny ? 4_096 : RAFT.maxUncommittedBytes,
    maxConnections: SERVER.maxConnections,
    maxBufferedBytes: SERVER.maxBufferedBytes,
    maxAppliedPerTurn: SERVER.maxAppliedPerTurn,
    queueLimits: {
      ...QUEUE,
      // Places that dead sessions hold come free only when those may become dormant.
      maxSessions: crowded ? random.between(3, 12) : QUEUE.maxSessions,
      dormantAfterMs: crowded ? random.between(60, 2_000) : QUEUE.dormantAfterMs,
      dormantAnswersMs: crowded && random.chance(50) ? random.between(100, 1_500) : QUEUE.dormantAnswersMs,
      sessionExpiryMs: expiring ? random.between(2_000, 10_000) : QUEUE.sessionExpiryMs,
      generatedExpiryMs: expiring ? random.between(500, 2_000) : QUEUE.generatedExpiryMs,
      maxReplies: random.chance(20) ? random.between(2, 20) : QUEUE.maxReplies,
      maxReplyBytes: random.chance(10) ? random.between(200, 4_000) : QUEUE.maxReplyBytes,
      maxPayloadBytes: 32_768,
      checkpointEntries: pick(random, 4, 16, 64),
      checkpointBytes: pick(random, 1_000, 65_536),
    },
  };
}

function drawNetwork(random: Random): SimNetworkSettings {
  const delayMinMs = pick(random, 0.05, 0.1, 1);
  return {
    delayMinMs,
    delayMaxMs: delayMinMs + pick(random, 0.2, 1, 5, 20, 60),
    dialLossPercent: random.chance(30) ? random.between(1, 30) : 0,
    lossPercent: random.chance(30) ? random.between(1, 10) : 0,
    // A window much smaller than what is sent per heartbeat would be a link too slow for any leader.
    windowBytes: pick(random, 64 * 1024, 256 * 1024),
    ...(random.chance(12) ? { trust: everybodyProves(random.fork()) } : {}),
  };
}

function everybodyProves(random: Random): () => Trust {
  const trust = sharedSecret(random);
  return () => trust;
}

function drawDisk(random: Random): DiskWeather {
  const slow = random.chance(30);
  return {
    operationMaxMs: pick(random, 0.1, 0.5, 2, 10),
    slowSyncPercent: slow ? random.between(1, 10) : 0,
    slowSyncMaxMs: slow ? pick(random, 50, 200, 1_000, 3_000) : 0,
  };
}

function drawClients(random: Random, real: Random, { queueLimits, maxAppendBytes }: SharedSettings): ClientHabits {
  const { maxSessions, maxReplies } = queueLimits;
  const few = maxSessions < QUEUE.maxSessions;
  // More clients than places: they have to leave now and then, and what the dead leave behind expires.
  const crowded = few && random.chance(50);
  const processes = pick(random, 1, 2, 3, 4, 6, 10);
  // Otherwise one place is left for the client that drains the queue.
  const fitting = few ? Math.min(maxSessions - 1, processes) : processes;
  const habits = {
    processes: crowded ? maxSessions + random.between(0, 4) : fitting,
    leavePercent: crowded ? random.between(2, 20) : 0,
    sleepPercent: few ? random.between(1, 6) : 0,
    generatedPercent: random.chance(30) ? random.between(1, 60) : 0,
    hostile: random.chance(25) ? random.between(1, 3) : 0,
    window: maxReplies < 100 && random.chance(50) ? 2 * maxReplies : pick(random, 1, 1, 4, 16, 64),
    thinkMaxMs: pick(random, 5, 20, 50, 200),
    enqueuePercent: pick(random, 30, 50, 55, 80),
    maxJobs: pick(random, 1, 1, 1, 4, 20),
    maxPadding: pick(random, 0, 0, 100, 1_000, 10_000),
    attemptTimeoutMs: pick(random, 50, 200, 500, 1_000),
    threeAtOncePercent: random.chance(50) ? random.between(1, 30) : 0,
    oldRetryPercent: random.chance(60) ? random.between(1, 20) : 0,
    answeredLag: pick(random, 0, 0, 3, 50),
    readPercent: random.chance(60) ? random.between(1, 15) : 0,
    takeoverEveryMs: random.chance(40) ? random.between(300, 4_000) : 0,
    ...drawRealClients(real, few),
  };
  const underWay = maxAppendBytes < IN_PIECES_BYTES ? MOST_UNDER_WAY_IN_PIECES : MOST_UNDER_WAY;
  return {
    ...habits,
    window: Math.min(habits.window, Math.max(2, Math.floor(underWay / habits.processes))),
    maxPadding: Math.min(habits.maxPadding, Math.floor(LARGEST_CALL_BYTES / habits.maxJobs)),
  };
}

/** In half of the worlds some or all of the others are raftq's own clients. */
function drawRealClients(
  random: Random,
  fewPlaces: boolean,
): Pick<ClientHabits, "realPercent" | "filePercent" | "burst" | "silentPercent" | "silentMaxMs"> {
  const realPercent = random.chance(50) ? pick(random, 50, 100, 100) : 0;
  return {
    realPercent,
    filePercent: random.chance(25) ? 50 : 0,
    burst: realPercent > 0 ? pick(random, 1, 1, 1, 4, 16) : 1,
    silentPercent: fewPlaces ? random.between(1, 6) : 0,
    silentMaxMs: 9_000,
  };
}

function drawFaults(random: Random, nodes: number, safetyMs: number): FaultIntervals {
  // Half the seeds know only a few classes, so that these meet each other often; one in ten knows none.
  const share = pick(random, 0, 20, 20, 20, 50, 50, 80, 100, 30, 40);
  const hurry = pick(random, 0.5, 1, 1, 2) * Math.min(1, safetyMs / 10_000);
  const sometimes = (meanMs: number): number => (random.chance(share) ? Math.round(meanMs * hurry) : 0);
  return {
    kill: sometimes(1_500),
    powerCut: sometimes(2_000),
    powerCutAll: sometimes(6_000),
    stop: sometimes(4_000),
    pause: sometimes(2_000),
    partition: sometimes(2_500),
    figure8: nodes > 2 ? sometimes(6_000) : 0,
    reset: sometimes(500),
    clock: sometimes(2_000),
    transfer: nodes > 1 ? sometimes(2_000) : 0,
    membership: nodes > 1 ? sometimes(3_000) : 0,
    wipe: nodes > 2 ? sometimes(8_000) : 0,
    diskError: sometimes(5_000),
    diskHang: sometimes(3_000),
    readError: sometimes(3_000),
    diskFull: sometimes(3_000),
    wrongState: nodes > 2 ? sometimes(6_000) : 0,
    midChange: nodes > 1 ? sometimes(3_000) : 0,
    damage: sometimes(2_000),
    swapDisks: nodes > 1 ? sometimes(5_000) : 0,
    flap: sometimes(4_000),
    slowLink: sometimes(3_000),
    resetStorm: sometimes(6_000),
    swizzle: nodes > 2 ? sometimes(8_000) : 0,
    crashLoop: sometimes(6_000),
    crashPoint: sometimes(2_000),
    killReceiver: nodes > 1 ? sometimes(5_000) : 0,
    heldNews: nodes > 2 ? sometimes(4_000) : 0,
    scarceRoom: sometimes(6_000),
    lateReplies: nodes > 2 ? sometimes(4_000) : 0,
    deafLeader: nodes > 2 ? sometimes(6_000) : 0,
    lateWrite: sometimes(3_000),
    oldDisk: nodes > 2 ? sometimes(3_000) : 0,
    crashChain: sometimes(3_000),
    pausePoint: sometimes(3_000),
  };
}
