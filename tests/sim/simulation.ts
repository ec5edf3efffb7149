// One seed's run: the world, its clients and all checkers, wired together; and the clock that drives them.
import { type Random, seededRandom } from "../../src/lib/random.ts";
import type { LogIndex, MemberId, NodeId } from "../../src/raft/types.ts";
import type { Recovered } from "../../src/storage/types.ts";
import { type Bounds, createBounds } from "./bounds.ts";
import { type ClientMachine, createClientMachine } from "./client-machine.ts";
import type { ClientPorts } from "./client-process.ts";
import { durableHolds, recoverDurable } from "./durable.ts";
import { createHistory, type History } from "./history.ts";
import { createCommittedLog, type CommittedLog } from "./committed-log.ts";
import { createCoverage, type Coverage } from "./coverage.ts";
import { holdsQuorum } from "./members.ts";
import { createOracles, type Oracles } from "./oracles.ts";
import type { Plan } from "./plan.ts";
import type { OnDisk } from "./quorums.ts";
import { createReads, type Reads } from "./reads.ts";
import { createRealWitness, type RealWitness } from "./real-witness.ts";
import type { Scheduler } from "../kit/scheduler.ts";
import { type Caller, createCaller } from "./sim-caller.ts";
import type { Trace } from "./trace.ts";
import { createWorld, type NodeLife, type World } from "./world.ts";

/** A promise was broken: the run is over. */
export class Failed extends Error {}

export interface Simulation {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly random: Random;
  readonly world: World;
  readonly committedLog: CommittedLog;
  readonly oracles: Oracles;
  readonly bounds: Bounds;
  readonly history: History;
  readonly reads: Reads;
  readonly coverage: Coverage;
  readonly realWitness: RealWitness;
  /** Sessions of this world are short-lived. */
  readonly sessionsExpire: boolean;
  after(ms: number, run: () => void): void;
  addresses(): readonly string[];
  /** A client on a machine of its own. */
  newCaller(): Caller;
  clientPorts(): ClientPorts;
  /** Notes the first failure; the run ends before the next event. */
  readonly fail: (what: string) => void;
  /** Runs on until `done`; past `withinMs` it fails with what it waited for. */
  until(what: string, withinMs: number, done: () => boolean, details?: () => string): void;
  /** Lets `ms` pass, or less when `mostEvents` have happened since the world began. */
  wait(ms: number, mostEvents?: number): void;
}

/** More than that is a livelock: many clients that repeat themselves before slow disks need more than a million, and get somewhere. */
const MOST_EVENTS = 4_000_000;
/** The same for events of one moment: whatever is planned for now is planned again and again. */
const MOST_AT_ONCE = 50_000;
/** `done` is asked once in so many events. */
const ASK_EVERY = 8;
/** A disk image is recovered for one in so many answers. */
const DURABILITY_SAMPLE = 50;
/** Sessions that live longer than any run never expire in one. */
const LONGER_THAN_ANY_RUN_MS = 600_000;

export function createSimulation(plan: Plan, scheduler: Scheduler, trace: Trace): Simulation {
  const random = seededRandom(plan.seed ^ 0x5eed);
  const { queueLimits } = plan.settings;
  let failure: string | null = null;
  const fail = (what: string): void => {
    failure ??= what;
  };
  const committedLog = createCommittedLog();
  const oracles = createOracles(
    committedLog,
    disksOf(plan, () => world),
    fail,
  );
  const history = createHistory();
  const coverage = createCoverage();
  const bounds = createBounds(plan.settings, fail);
  const world = createWorld(plan, {
    scheduler,
    random: random.fork(),
    trace,
    committedLog,
    oracles,
    bounds,
    coverage,
    fail,
  });
  const after = (ms: number, run: () => void): void => void scheduler.after(ms, run);
  const addresses = (): readonly string[] => world.machines.map((machine) => machine.address);
  const clientRandom = random.fork();
  const sample = random.fork();
  const { sessionExpiryMs, generatedExpiryMs } = queueLimits;
  const sessionsExpire = Math.min(sessionExpiryMs, generatedExpiryMs) < LONGER_THAN_ANY_RUN_MS;
  const answersForgotten = queueLimits.dormantAnswersMs < LONGER_THAN_ANY_RUN_MS;
  let clients = 0;
  const newCaller = (): Caller =>
    createCaller({ network: world.network.hostOf(`client${++clients}`), after, received: trace.bytes, fail });
  const realWitness = createRealWitness({
    committedLog,
    history,
    coverage,
    dormantAnswersMs: queueLimits.dormantAnswersMs,
    fail,
  });
  const newMachine = (): ClientMachine =>
    createClientMachine({
      name: `client${++clients}`,
      scheduler,
      network: world.network,
      random: clientRandom.fork(),
      clockRate: world.drawRate(clientRandom),
      roundMs: plan.roundMs,
      received: trace.bytes,
      nodes: () => world.machines.map(({ id }) => id),
      fail,
    });
  const leaderCalled = (node: NodeId): ReturnType<NodeLife["inspect"]> => {
    const inside = world.machines.find(({ id }) => id === node)?.life?.inspect() ?? null;
    return inside?.raft.role === "leader" ? inside : null;
  };
  const timeoutMs = plan.clients.attemptTimeoutMs;
  const reads = createReads({
    caller: newCaller(),
    random: random.fork(),
    committedLog,
    addresses,
    timeoutMs,
    coverage,
    fail,
  });
  const onAnswer: ClientPorts["onAnswer"] = ({ index }) => {
    reads.acknowledged(index);
    if (!sample.chance(100 / DURABILITY_SAMPLE)) return;
    const problem = notDurable(plan, world, committedLog, index);
    if (problem !== null) fail(problem);
  };

  function until(what: string, withinMs: number, done: () => boolean, details: () => string = () => ""): void {
    const deadline = scheduler.now() + withinMs;
    let moment = scheduler.now();
    let movedAt = scheduler.executed;
    for (let events = 0; ; events++) {
      if (failure !== null) throw new Failed(failure);
      if (events % ASK_EVERY === 0 && done()) return;
      if (scheduler.now() > deadline) throw new Failed(`not within ${withinMs}ms: ${what} ${details()}`);
      if (scheduler.now() > moment) {
        moment = scheduler.now();
        movedAt = scheduler.executed;
      }
      const isTooMuch = scheduler.executed > MOST_EVENTS || scheduler.executed - movedAt > MOST_AT_ONCE;
      if (isTooMuch || !scheduler.step())
        throw new Failed(`livelock after ${scheduler.executed} events, waiting for: ${what} ${details()}`);
    }
  }

  return {
    plan,
    scheduler,
    trace,
    random,
    world,
    committedLog,
    oracles,
    bounds,
    history,
    reads,
    coverage,
    realWitness,
    sessionsExpire,
    after,
    addresses,
    newCaller,
    clientPorts: () => ({
      random: clientRandom.fork(),
      history,
      trace,
      coverage,
      reads,
      caller: newCaller(),
      addresses,
      after,
      fail,
      sessionsExpire,
      answersForgotten,
      onAnswer,
      real: {
        newMachine,
        witness: realWitness,
        limits: queueLimits,
        termAt: (index) => committedLog.at(index)?.entry.term ?? null,
        leads: (node, term) => leaderCalled(node)?.raft.currentTerm === term,
        keeps: (node, client) => {
          const leader = leaderCalled(node);
          const { sessions, time = 0 } = leader?.queue ?? {};
          const session = sessions?.live.get(sessions.idOf.get(client) ?? 0);
          const lives =
            session !== undefined && session.usedAt + Math.min(sessionExpiryMs, queueLimits.dormantAfterMs) > time;
          return lives ? (leader?.raft.currentTerm ?? null) : null;
        },
        now: scheduler.now,
      },
    }),
    fail,
    until,
    wait: (ms, mostEvents = MOST_EVENTS) => {
      const end = scheduler.now() + ms;
      until("the time to pass", ms + 60_000, () => scheduler.now() >= end || scheduler.executed > mostEvents);
    },
  };
}

/** An answer names an index: a majority's disks must hold its entry by now, whatever their nodes report. */
function notDurable(plan: Plan, world: World, committedLog: CommittedLog, index: LogIndex): string | null {
  const entry = committedLog.at(index)?.entry;
  if (entry === undefined) return `index ${index} was answered, and no node has committed it`;
  // A disk that was lost counts: it may have held the entry when it was acknowledged, and the world loses no more than it may.
  const holders = new Set<string>(world.faultBudget.lost);
  for (const { id, self, disk, onCorrupted } of world.machines) {
    if (self === null) continue;
    const recovered = recoverDurable(id, plan.settings.segmentBytes, disk);
    if (typeof recovered === "string") {
      // Who has just found its state to be wrong trusts its own data no more: they are as lost as they will be in a moment.
      if (onCorrupted === null && !world.faultBudget.lost.has(self))
        return `${id} would not start after a power cut: ${recovered}`;
      holders.add(self);
    } else if (durableHolds(recovered, index, entry.record)) holders.add(self);
  }
  const enough = world
    .configurations()
    .some((configuration) => holdsQuorum([configuration], (member) => holders.has(member)));
  if (enough) return null;
  return `index ${index} was answered, but only ${[...holders].join(" ") || "nobody"} would keep it in a power cut`;
}

/** What was counted must be on its disk, whatever a member reports. */
function disksOf(plan: Plan, world: () => World): OnDisk {
  const recovered = (member: MemberId): Recovered | null => {
    const machine = world().machines.find(({ self }) => self === member);
    if (machine === undefined) return null;
    const found = recoverDurable(machine.id, plan.settings.segmentBytes, machine.disk);
    return typeof found === "string" ? null : found;
  };
  return {
    vote: (member) => recovered(member)?.hardState ?? null,
    holds: (member, index, record) => {
      const found = recovered(member);
      return found !== null && durableHolds(found, index, record);
    },
  };
}
