// Which worlds are about one thing only? Some misfortunes need many conditions at once that a mix of everything rarely gives: a
// share of the seeds draws a profile, and bends its plan to it.
import { QUEUE } from "../../src/config.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import type { ClientHabits, FaultIntervals, Plan } from "./plan.ts";
import { PROFILE_NAMES, type ProfileName } from "./profile-names.ts";

/** Apart from the plan's own stream, so that profiles do not move what other seeds draw. */
const PROFILE_STREAM = 0x7e3e;
/** Apart from that of the profiles as well: whatever a world is about, it may have many jobs in a request. */
const MANY_JOBS_STREAM = 0x10b5;
const MANY_JOBS_PERCENT = 4;
/** The same for limits that are reached. */
const TIGHT_LIMITS_STREAM = 0x71d7;
/** The same for turns that apply only a few entries. */
const FEW_APPLIED_STREAM = 0xa991;
const FEW_APPLIED_PERCENT = 10;
const MOST_OF_FEW = 8;
/** A job's payload without padding, its head and what it counts as, roughly. */
const BARE_JOB_BYTES = 24;

/** Whatever the network and the disk let through: messages and entries wait for nothing else. */
const MUCH_IN_FLIGHT = { maxAppendBytes: 1 << 20, maxInflightMessages: 64, maxUncommittedBytes: 1 << 20 };
/** A snapshot after every few entries, and no log behind it. */
const COMPACTED_AT_ONCE = { compactMinBytes: 300, compactFactor: 1, keepLogBytes: 0 };

interface Profile {
  /** Of a hundred seeds so many are about it. */
  readonly percent: number;
  readonly bend: (plan: Plan, random: Random, fixedNodes: boolean) => Plan;
}

const PROFILES: Readonly<Record<ProfileName, Profile>> = {
  shortLeaderships: { percent: 7, bend: shortLeaderships },
  longTails: { percent: 5, bend: longTails },
  lateNews: { percent: 4, bend: lateNews },
  changingMembers: { percent: 5, bend: changingMembers },
  tightDisks: { percent: 4, bend: tightDisks },
  handovers: { percent: 3, bend: handovers },
  slowLinks: { percent: 3, bend: slowLinks },
  fewPlaces: { percent: 4, bend: fewPlaces },
  lateReplies: { percent: 3, bend: lateReplies },
  deafLeaders: { percent: 2, bend: deafLeaders },
  wrongStates: { percent: 3, bend: wrongStates },
  scarceRoom: { percent: 2, bend: scarceRoom },
  silentClients: { percent: 2, bend: silentClients },
  lateWrites: { percent: 3, bend: lateWrites },
  failingDisks: { percent: 2, bend: failingDisks },
  suspensions: { percent: 2, bend: suspensions },
  oldDisks: { percent: 2, bend: oldDisks },
};

/** `wished`: every seed is about that. */
export function withProfile(plan: Plan, fixedNodes: boolean, wished: ProfileName | null): Plan {
  const random = seededRandom((plan.seed ^ PROFILE_STREAM) >>> 0);
  if (plan.nodes < 3 && fixedNodes) {
    if (wished !== null) throw new Error(`worlds about ${wished} have at least three nodes`);
    return plan;
  }
  const drawn = drawProfile(random);
  const nodes = fixedNodes ? plan.nodes : random.chance(70) ? 3 : 5;
  const name = wished ?? drawn;
  if (name === null) return plan;
  return PROFILES[name].bend({ ...quick(plan, random), nodes }, random, fixedNodes);
}

function drawProfile(random: Random): ProfileName | null {
  let left = random.below(100);
  for (const name of PROFILE_NAMES) {
    left -= PROFILES[name].percent;
    if (left < 0) return name;
  }
  return null;
}

/** Requests of up to as many jobs as there may be, small ones, and fewer of them: so such a world costs about as much as others. */
export function manyJobs(plan: Plan): Plan {
  if (!seededRandom((plan.seed ^ MANY_JOBS_STREAM) >>> 0).chance(MANY_JOBS_PERCENT)) return plan;
  const { processes, window, thinkMaxMs, enqueuePercent } = plan.clients;
  return {
    ...plan,
    clients: {
      ...plan.clients,
      processes: Math.min(processes, 3),
      window: Math.min(window, 4),
      thinkMaxMs: Math.max(thinkMaxMs, 200),
      enqueuePercent: Math.min(enqueuePercent, 55),
      maxJobs: QUEUE.maxJobsPerCommand,
      maxPadding: 0,
    },
    safetyMs: Math.min(plan.safetyMs, 5_000),
  };
}

/**
 * Limits that are reached: of the jobs that wait, which bounds what such a world costs as well, of the answers that are kept, and of the
 * client ids that are known, where those that are not used are soon forgotten.
 */
export function tightLimits(plan: Plan): Plan {
  const random = seededRandom((plan.seed ^ TIGHT_LIMITS_STREAM) >>> 0);
  const { maxJobs, maxPadding, processes, hostile } = plan.clients;
  const largestCall = maxJobs * (maxPadding + BARE_JOB_BYTES);
  const maxReadyBytes = largestCall * random.between(1, 30);
  const maxAnswerBytes = random.between(300, 20_000);
  const maxClientIds = Math.max(2, processes + hostile - random.between(0, 2));
  const isForgetful = plan.settings.queueLimits.sessionExpiryMs < QUEUE.sessionExpiryMs;
  return withLimits(plan, {
    ...(random.chance(50) ? { maxReadyBytes } : {}),
    ...(random.chance(20) ? { maxAnswerBytes } : {}),
    ...(random.chance(50) && isForgetful ? { maxClientIds } : {}),
  });
}

/** No world has as many entries as a turn of a real node applies: with fewer, what is committed and not applied is seen between turns. */
export function fewApplied(plan: Plan): Plan {
  const random = seededRandom((plan.seed ^ FEW_APPLIED_STREAM) >>> 0);
  if (!random.chance(FEW_APPLIED_PERCENT)) return plan;
  return { ...plan, settings: { ...plan.settings, maxAppliedPerTurn: random.between(1, MOST_OF_FEW) } };
}

function withLimits(plan: Plan, limits: Partial<QueueLimits>): Plan {
  return { ...plan, settings: { ...plan.settings, queueLimits: { ...plan.settings.queueLimits, ...limits } } };
}

/** As short as they can be at this heartbeat. */
function timeouts(heartbeatMs: number): Pick<Plan["settings"], "heartbeatMs" | "electionMinMs" | "electionMaxMs"> {
  return { heartbeatMs, electionMinMs: 4 * heartbeatMs, electionMaxMs: 8 * heartbeatMs };
}

/** So many clients, or as many as have a place beside the one that drains the queue. */
function atMost(processes: number, { settings }: Plan): number {
  return Math.min(processes, settings.queueLimits.maxSessions - 1);
}

/** Short timeouts, and no weather that keeps anybody from electing. */
function quick(plan: Plan, random: Random): Plan {
  const heartbeatMs = random.chance(50) ? 20 : 50;
  return {
    ...plan,
    founding: "together",
    faultsAtOnce: false,
    settings: { ...plan.settings, ...timeouts(heartbeatMs) },
    clockRates: { from: 0.999, to: 1.001 },
    roundMs: random.chance(50) ? 0 : 0.2,
    network: { ...plan.network, delayMinMs: 0.1, delayMaxMs: random.between(1, 5), dialLossPercent: 0, lossPercent: 0 },
    disk: { ...plan.disk, operationMaxMs: random.chance(50) ? 0.1 : 2, slowSyncPercent: 0, slowSyncMaxMs: 0 },
    safetyMs: random.between(4_000, 10_000),
  };
}

/** A few clients with much under way, and little in it. */
function eager(plan: Plan): ClientHabits {
  return { ...plan.clients, processes: atMost(6, plan), window: 16, thinkMaxMs: 5, maxPadding: 100, maxJobs: 1 };
}

function only(plan: Plan, wanted: Partial<FaultIntervals>): FaultIntervals {
  const none: Record<keyof FaultIntervals, number> = { ...plan.faults };
  for (const name of Object.keys(none) as (keyof FaultIntervals)[]) none[name] = 0;
  return { ...none, ...wanted };
}

/** Leaders that are cut off again and again with a piece of their log on the others, entry by entry (the paper's Figure 8). */
function shortLeaderships(plan: Plan, random: Random): Plan {
  const slow = random.chance(40);
  return {
    ...plan,
    // A write that ends only when another leader has replaced what it wrote.
    disk: { ...plan.disk, slowSyncPercent: slow ? 20 : 0, slowSyncMaxMs: slow ? plan.settings.electionMaxMs : 0 },
    settings: { ...plan.settings, maxAppendBytes: 1, maxInflightMessages: random.between(1, 4) },
    faults: only(plan, { figure8: 3_000, kill: random.chance(30) ? 3_000 : 0 }),
  };
}

/** More clients than places, who are suspended and come back: their sessions become dormant, are resumed, or were forgotten meanwhile. */
function fewPlaces(plan: Plan, random: Random): Plan {
  const maxSessions = random.between(2, 4);
  const queueLimits = {
    ...plan.settings.queueLimits,
    maxSessions,
    dormantAfterMs: random.between(20, 200),
    dormantAnswersMs: random.chance(50) ? random.between(50, 500) : QUEUE.dormantAnswersMs,
    sessionExpiryMs: random.chance(40) ? random.between(1_000, 3_000) : QUEUE.sessionExpiryMs,
    generatedExpiryMs: random.chance(40) ? random.between(300, 1_000) : QUEUE.generatedExpiryMs,
  };
  return {
    ...plan,
    settings: { ...plan.settings, queueLimits },
    clients: {
      ...plan.clients,
      processes: maxSessions + random.between(2, 4),
      window: 4,
      thinkMaxMs: 20,
      maxPadding: 100,
      leavePercent: random.between(1, 6),
      sleepPercent: random.between(5, 20),
      generatedPercent: random.chance(50) ? 30 : 0,
      oldRetryPercent: 30,
      answeredLag: random.chance(70) ? 50 : 0,
      takeoverEveryMs: random.chance(50) ? random.between(200, 1_000) : 0,
    },
    faults: only(plan, { kill: random.chance(50) ? 2_000 : 0, partition: random.chance(50) ? 2_000 : 0 }),
  };
}

/** Clients that stay connected and ask nothing, for longer than their sessions live without that. */
function silentClients(plan: Plan, random: Random): Plan {
  const processes = random.between(3, 6);
  const sessionExpiryMs = random.between(1_000, 2_000);
  const queueLimits = {
    ...plan.settings.queueLimits,
    // One that dies must not keep the drain at the end from its place.
    maxSessions: random.chance(50) ? QUEUE.maxSessions : processes + random.between(1, 3),
    dormantAfterMs: random.between(200, 600),
    sessionExpiryMs,
  };
  return {
    ...plan,
    settings: { ...plan.settings, queueLimits },
    clients: {
      ...plan.clients,
      processes,
      window: 4,
      thinkMaxMs: 20,
      maxPadding: 100,
      leavePercent: 0,
      sleepPercent: random.between(0, 4),
      silentPercent: 10,
      silentMaxMs: 3 * sessionExpiryMs,
      generatedPercent: 0,
      realPercent: 100,
      takeoverEveryMs: random.chance(50) ? random.between(1_000, 4_000) : 0,
    },
    faults: only(plan, {
      kill: random.chance(30) ? 4_000 : 0,
      partition: random.chance(30) ? 4_000 : 0,
      // Another leader has to learn whom it is to keep.
      transfer: random.chance(70) ? 2_500 : 0,
    }),
  };
}

/** Leaders that are cut off with much that nobody else has, while the others go on and compact their log behind it. */
function longTails(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: {
      ...plan.settings,
      compactMinBytes: 300,
      compactFactor: 1,
      keepLogBytes: random.chance(70) ? 0 : 512,
      maxAppendBytes: random.chance(50) ? 1 : 1 << 20,
    },
    clients: eager(plan),
    faults: only(plan, {
      partition: 600,
      kill: random.chance(30) ? 3_000 : 0,
      powerCut: random.chance(50) ? 1_000 : 0,
    }),
  };
}

/** Logs that hang while all else goes on: what is being written is committed, compacted or replaced before it is durable. */
function lateWrites(plan: Plan, random: Random): Plan {
  const isLarge = random.chance(50);
  return {
    ...plan,
    settings: {
      ...plan.settings,
      segmentBytes: 64 * 1024,
      ...COMPACTED_AT_ONCE,
      ...MUCH_IN_FLIGHT,
      queueLimits: {
        ...plan.settings.queueLimits,
        checkpointEntries: random.chance(50) ? 1 : 4,
        checkpointBytes: 1_000,
      },
    },
    clients: {
      ...plan.clients,
      processes: atMost(3, plan),
      window: 16,
      thinkMaxMs: 20,
      maxPadding: isLarge ? 10_000 : 100,
      maxJobs: 1,
    },
    faults: only(plan, { lateWrite: isLarge ? 100 : 500, kill: random.chance(30) ? 3_000 : 0 }),
  };
}

/** Processes that are suspended as they finish something, and take what has come meanwhile in one turn: large jobs, in small segments. */
function suspensions(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    disk: { ...plan.disk, operationMaxMs: 10 },
    settings: {
      ...plan.settings,
      segmentBytes: 32 * 1024,
      ...COMPACTED_AT_ONCE,
      ...MUCH_IN_FLIGHT,
      queueLimits: { ...plan.settings.queueLimits, checkpointEntries: 1 },
    },
    clients: {
      ...plan.clients,
      processes: atMost(3, plan),
      window: 4,
      thinkMaxMs: 300,
      enqueuePercent: 50,
      maxPadding: 10_000,
      maxJobs: 1,
    },
    faults: only(plan, { pausePoint: 80, kill: random.chance(30) ? 3_000 : 0 }),
  };
}

/** Disks that fail again and again, wherever they are just written to. */
function failingDisks(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: { ...plan.settings, compactMinBytes: 4_096, compactFactor: 1 },
    faults: only(plan, {
      diskError: 200,
      powerCut: random.chance(50) ? 2_000 : 0,
      transfer: random.chance(50) ? 1_000 : 0,
    }),
  };
}

/** Leaders that last, and followers that come back with an older copy of their disk. */
function oldDisks(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    faults: only(plan, { oldDisk: 300, kill: random.chance(30) ? 4_000 : 0, reset: random.chance(30) ? 500 : 0 }),
  };
}

/** Leaders that are followed by another before they know it, with many who read. */
function lateNews(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    network: { ...plan.network, delayMaxMs: plan.settings.heartbeatMs },
    clients: impatient(plan),
    faults: only(plan, { heldNews: 600, partition: 1_500, transfer: random.chance(50) ? 600 : 0 }),
  };
}

/** Readers who soon ask somebody else: what is acknowledged there meanwhile is what the former leader does not know. */
function impatient(plan: Plan): ClientHabits {
  return {
    ...plan.clients,
    processes: atMost(6, plan),
    thinkMaxMs: 5,
    maxPadding: 100,
    attemptTimeoutMs: 50,
    threeAtOncePercent: 30,
    readPercent: 40,
    takeoverEveryMs: 0,
  };
}

/** The shortest timeouts, and clients who do not fill the time between two of them: faults that take several get their time. */
function brisk(plan: Plan): Plan {
  const heartbeatMs = 20;
  return {
    ...plan,
    settings: { ...plan.settings, ...timeouts(heartbeatMs) },
    clients: { ...impatient(plan), processes: 3, window: 2, thinkMaxMs: 20, hostile: 0 },
  };
}

/** Replies that come one or two election timeouts late: to a leader that is not one any more, or is one again. */
function lateReplies(plan: Plan, random: Random): Plan {
  return {
    ...brisk(plan),
    faults: only(plan, { lateReplies: 200, kill: random.chance(20) ? 3_000 : 0, reset: random.chance(20) ? 1_000 : 0 }),
  };
}

/** Leaders whose messages arrive and that receive none, and nothing else: there is time for what must follow. */
function deafLeaders(plan: Plan): Plan {
  return { ...brisk(plan), faults: only(plan, { deafLeader: 200 }) };
}

/** States that go wrong again and again: of a few, who are found out and come back; or of so many that no majority is right. */
function wrongStates(plan: Plan, random: Random, fixedNodes: boolean): Plan {
  const { settings } = brisk(plan);
  const beyond = random.chance(40);
  return {
    ...plan,
    nodes: fixedNodes ? plan.nodes : random.between(3, 5),
    settings: {
      ...settings,
      compactMinBytes: random.chance(50) ? 300 : settings.compactMinBytes,
      queueLimits: { ...settings.queueLimits, checkpointEntries: random.chance(50) ? 4 : 16 },
    },
    clients: { ...brisk(plan).clients, answeredLag: 50, oldRetryPercent: 10 },
    // A restart makes a wrong state right.
    faults: only(plan, {
      wrongState: beyond ? 100 : 300,
      kill: random.chance(50) ? 2_000 : 0,
      partition: random.chance(50) ? 1_000 : 0,
    }),
    beyond,
    safetyMs: random.between(2_000, 5_000),
  };
}

/** Members that come and go, with leaders struck in the middle of it. */
function changingMembers(plan: Plan, random: Random, fixedNodes: boolean): Plan {
  return {
    ...plan,
    nodes: fixedNodes ? plan.nodes : random.between(3, 5),
    faults: only(plan, { membership: 400, midChange: 300, kill: 2_000, partition: random.chance(50) ? 1_500 : 0 }),
  };
}

/** Disks that are full again and again, under a log that grows fast and is compacted often: no space for entries, but for a snapshot. */
function tightDisks(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: {
      ...plan.settings,
      segmentBytes: 64 * 1024,
      compactMinBytes: 4_096,
      compactFactor: 1,
      keepLogBytes: 0,
      queueLimits: { ...plan.settings.queueLimits, checkpointEntries: 4 },
    },
    clients: {
      ...plan.clients,
      processes: atMost(6, plan),
      window: 16,
      thinkMaxMs: 5,
      // Most of what is enqueued does not stay: so a snapshot is much smaller than the log it stands for.
      enqueuePercent: random.chance(50) ? 50 : 30,
      maxPadding: 10_000,
      maxJobs: 1,
    },
    faults: only(plan, { diskFull: 500, kill: random.chance(50) ? 2_000 : 0, powerCut: random.chance(30) ? 2_000 : 0 }),
  };
}

/**
 * Disks of a majority with less room than what is kept in reserve, and yet enough for the log to go on, which few clients write, for
 * longer than nodes take to notice: who takes more must be refused.
 */
function scarceRoom(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: { ...plan.settings, segmentBytes: 256 * 1024 },
    clients: {
      ...plan.clients,
      processes: 2,
      window: 1,
      thinkMaxMs: 100,
      enqueuePercent: random.chance(50) ? 80 : 50,
      maxPadding: 100,
      maxJobs: 1,
      hostile: 0,
    },
    faults: only(plan, {
      scarceRoom: 1_500,
      kill: random.chance(30) ? 3_000 : 0,
      partition: random.chance(30) ? 3_000 : 0,
    }),
  };
}

/** Leadership that is handed over again and again, on connections that do not last: words of a handover are lost on the way. */
function handovers(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    clients: eager(plan),
    faults: only(plan, {
      transfer: 300,
      reset: random.chance(70) ? 200 : 0,
      partition: random.chance(30) ? 1_500 : 0,
      slowLink: random.chance(50) ? 1_000 : 0,
    }),
  };
}

/** Links of 32 to 512 kbit/s for seconds, under large jobs and snapshots: most of what is sent takes longer than an election timeout. */
function slowLinks(plan: Plan, random: Random): Plan {
  return {
    ...plan,
    settings: {
      ...plan.settings,
      segmentBytes: 256 * 1024,
      compactMinBytes: 16_384,
      keepLogBytes: 0,
      ...MUCH_IN_FLIGHT,
      queueLimits: { ...plan.settings.queueLimits, checkpointEntries: 4 },
    },
    slowLinks: { bytesPerMs: { from: 4, to: 64 }, maxMs: 10_000 },
    clients: {
      ...plan.clients,
      processes: atMost(4, plan),
      window: 4,
      thinkMaxMs: 50,
      enqueuePercent: 80,
      maxPadding: 10_000,
      maxJobs: 1,
      attemptTimeoutMs: 1_000,
    },
    faults: only(plan, {
      slowLink: 1_000,
      kill: random.chance(50) ? 3_000 : 0,
      partition: random.chance(30) ? 3_000 : 0,
      wipe: random.chance(30) ? 5_000 : 0,
    }),
  };
}
