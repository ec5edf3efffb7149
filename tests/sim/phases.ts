// What must a run go through? Founding, faults, the healing of a random majority, the healing of all, and judgement.
import { decodeConfiguration } from "../../src/raft/configuration.ts";
import { SERVER } from "../../src/config.ts";
import { fieldsOf } from "../../src/raft/entry.ts";
import { type Configuration, memberId, type MemberId } from "../../src/raft/types.ts";
import { startFaults } from "./faults.ts";
import { type Admin, createAdmin } from "./admin.ts";
import { isClients } from "./disputes.ts";
import { fifoViolation } from "../kit/fifo-checker.ts";
import { fifoHistory } from "./history.ts";
import { HOSTILE, settleHostile, startHostile } from "./hostile.ts";
import type { CommittedLog } from "./committed-log.ts";
import { holdsQuorum, isVoterOf, mayFollow, withVotingLearners } from "./members.ts";
import type { Simulation } from "./simulation.ts";
import { startWorkload, type Workload } from "./workload.ts";
import { witnessAgainst } from "./witness.ts";
import type { Machine } from "./world.ts";

const FOUNDING_MS = 30_000;
/** Until nodes that were just started listen, hung disks answer, and lost dials are given up. */
const START_MS = 4_000;
const ANSWERS_MS = 60_000;
const CONVERGENCE_MS = 60_000;
const DRAIN_MS = 120_000;
const SETTLING_MS = 60_000;
/** More than a reconnection takes. */
const QUIET_MS = 2_000;
/** Some election timeouts: a member with a reason to stand for election does so within. */
const STABLE_HEARTBEATS = 40;
const STABLE_MAX_MS = 2_000;
/** Share of the worlds that lose all power before the last dequeues. */
const POWER_CUT_SHARE = 40;
/** A heartbeat and its answer, as the network, the timers and the turns of two machines see them; and what comes seldom. */
const IDLE_EVENTS_PER_HEARTBEAT = 12;
const IDLE_EVENTS = 1_000;
/** Leaders that lost their quorum have stepped down by then, and a node that could serve does. */
const REFUSAL_MS = 8_000;
const ELECTION_TIMEOUTS_TO_LEADER = 10;

export function play(simulation: Simulation): void {
  const { world, plan, random, trace } = simulation;
  const { queueLimits: _, ...settings } = plan.settings;
  trace.event("run", JSON.stringify({ ...plan, settings }));
  found(simulation);
  const { clientPorts, history, after, addresses, coverage, sessionsExpire } = simulation;
  const workload = startWorkload(plan.clients, { clientPorts, random: random.fork(), history, after, sessionsExpire });
  const hostile = Array.from({ length: plan.clients.hostile }, (_, at) =>
    startHostile(`${HOSTILE}${at + 1}`, clientPorts()),
  );
  const admin = createAdmin({
    caller: simulation.newCaller(),
    random: random.fork(),
    trace,
    coverage,
    addresses,
    after,
  });
  const faults = startFaults(world, plan, admin, { random: random.fork(), coverage, fail: simulation.fail });
  simulation.wait(plan.safetyMs, plan.safetyEvents);
  faults.cease();
  admin.cease();
  for (const client of hostile) client.cease();
  if (plan.beyond && !mustServe(simulation)) return refuse(simulation, workload);
  healMajority(simulation, admin);
  workload.finish();
  simulation.until("definite answers", ANSWERS_MS, workload.finished, () => workload.pending().slice(0, 5).join(", "));
  healAll(simulation, workload);
  mustBeStable(simulation);
  judge(simulation);
}

/** Enough is left, with states that agree; and where something is lost, a group was founded: a first entry on one disk only is known to nobody else. */
function mustServe(simulation: Simulation): boolean {
  const { world } = simulation;
  const isFounded = world.presentVoters().length > 0;
  return (
    world.faultBudget.standing() === "whole" &&
    world.mayAgree(mayServe(simulation)) &&
    (isFounded || world.faultBudget.lost.size === 0)
  );
}

/** Leads, and has committed an entry of its own term. */
function leaderAmong({ committedLog }: Simulation, machines: readonly Machine[]): Machine | undefined {
  return machines.find((machine) => {
    const raft = machine.life?.inspect()?.raft;
    return raft?.role === "leader" && committedLog.at(raft.commitIndex)?.entry.term === raft.currentTerm;
  });
}

function found(simulation: Simulation): void {
  const { world, plan, random } = simulation;
  for (const machine of world.machines) world.start(machine);
  if (!plan.faultsAtOnce) {
    simulation.until(
      "a leader of the new cluster",
      FOUNDING_MS,
      () => leaderAmong(simulation, world.machines) !== undefined,
    );
  }
  for (let count = world.machines.length; count < plan.nodes; count++) {
    simulation.after(random.below(plan.safetyMs / 2), () => world.start(world.addMachine()));
  }
}

/** What may be in force soon: a learner that has caught up becomes a voter, whatever can be reached and whatever its state is then. */
function mayServe({ world }: Simulation): readonly Configuration[] {
  const present = world.configurations();
  return [...present, ...present.flatMap(withVotingLearners)];
}

/** A random set of machines that can serve: a majority of everything that may be in force. */
function drawCore(simulation: Simulation): readonly Machine[] {
  const { world, random } = simulation;
  const shuffled = world.machines
    .map((machine) => ({ machine, at: random.below(1_000_000) }))
    .sort((a, b) => a.at - b.at);
  const configurations = mayServe(simulation);
  const core: Machine[] = [];
  // Who has found its own state wrong, or will, is there but serves nobody before the others have let it in again.
  const serves = ({ self, onCorrupted }: Machine, member: MemberId): boolean =>
    self === member && onCorrupted === null && !world.faultBudget.lost.has(member);
  const canServe = (): boolean =>
    configurations.length > 0 && holdsQuorum(configurations, (member) => core.some((one) => serves(one, member)));
  for (const { machine } of shuffled) {
    if (canServe()) return core;
    if (machine.self !== null) core.push(machine);
  }
  // While a group is being founded, everybody is needed.
  return canServe() ? core : world.machines;
}

function healMajority(simulation: Simulation, admin: Admin): void {
  const { world, random, trace, plan } = simulation;
  // A removal that is still asked for may shrink the group after the core was drawn, to one that needs the others.
  // And a wrong state is distinguished from the right one only if all the others can send theirs.
  const corrupted = world.machines.some(({ life }) => life !== null && life.corruptedAt !== null);
  const core = admin.removing() || corrupted ? simulation.world.machines : drawCore(simulation);
  trace.event("run", `healing ${core.map(({ id }) => id).join(" ")}`);
  world.healCuts();
  world.calm();
  world.resumeAll();
  for (const machine of world.machines) {
    if (!core.includes(machine) && random.chance(50)) world.kill(machine);
  }
  world.cut("all but the healed majority", (from, to) => core.includes(from) !== core.includes(to), random.chance(50));
  for (const machine of core) world.keepUp(machine);
  const withinMs = ELECTION_TIMEOUTS_TO_LEADER * plan.settings.electionMaxMs + START_MS;
  simulation.until("a leader of the healed majority", withinMs, () => leaderAmong(simulation, core) !== undefined);
}

function healAll(simulation: Simulation, workload: Workload): void {
  const { world, trace, committedLog, scheduler, random } = simulation;
  trace.event("run", "healing everything");
  world.healCuts();
  // Whatever was acknowledged must be on disks, and not only in the memory of those that live on.
  if (random.chance(POWER_CUT_SHARE)) for (const machine of world.machines) world.powerCut(machine);
  keepAllUp(simulation);
  workload.drain();
  simulation.until("an empty queue", DRAIN_MS, workload.drained);
  // A wrong state that no checkpoint has shown yet must not be found out in the quiet at the end.
  for (const machine of world.machines) {
    if (machine.life === null || machine.life.corruptedAt === null || machine.retired || !isFoundOut(machine)) continue;
    world.kill(machine);
    world.start(machine);
  }
  // Nobody is on the way in or out, and everybody has had the time to reconnect.
  let known = committedLog.lastConfiguration;
  let since = scheduler.now();
  simulation.until("an end of membership changes", SETTLING_MS, () => {
    // No member compares its state with that of one that was removed and has not received that.
    const wrong = !world.machines.every((machine) => isFoundOut(machine) || !world.isNamed(machine.id));
    if (committedLog.lastConfiguration !== known || wrong) since = scheduler.now();
    known = committedLog.lastConfiguration;
    return scheduler.now() - since > QUIET_MS && world.configurations().every(({ outgoing }) => outgoing.length === 0);
  });
  simulation.until(
    "all voters at the same index",
    CONVERGENCE_MS,
    () => haveConverged(simulation),
    () => positions(simulation),
  );
}

/** It has stopped, or has not come to a checkpoint since its state was spoiled. */
function isFoundOut({ life, retired }: Machine): boolean {
  const queue = life?.inspect()?.queue;
  if (queue === undefined || life === null || life.corruptedAt === null || retired) return true;
  return queue.checkpoint <= life.corruptedAt;
}

function keepAllUp({ world }: Simulation): void {
  for (const machine of world.machines) if (!machine.retired) world.keepUp(machine);
}

/** Too many disks are damaged, or states wrong: what is left may serve nothing, or what is right. */
function refuse(simulation: Simulation, workload: Workload): void {
  const { world, trace, fail } = simulation;
  trace.event("run", `beyond what is survivable: ${[...world.faultBudget.lost].join(" ")} are lost`);
  world.healCuts();
  world.calm();
  world.resumeAll();
  keepAllUp(simulation);
  if (world.mayAgree()) workload.finish();
  simulation.wait(REFUSAL_MS);
  acceptsNothing(simulation);
  workload.finish();
  const leader = world.machines.find(({ life }) => life?.inspect()?.raft.role === "leader");
  if (leader !== undefined && world.faultBudget.standing() === "broken")
    fail(`${leader.id} leads although no configuration has a quorum of sound disks`);
  judge(simulation);
}

/** Where no majority can agree about the state, and all have compared theirs since, nothing that a client asks for is taken any more. */
function acceptsNothing(simulation: Simulation): void {
  const { world, committedLog, coverage, fail } = simulation;
  const hasCompared = (member: MemberId): boolean => {
    const life = world.machines.find(({ self }) => self === member)?.life;
    const queue = life?.inspect()?.queue;
    return queue !== undefined && queue.checkpoint > (life?.corruptedAt ?? 0);
  };
  const isDisputed = (): boolean =>
    !world.mayAgree() && world.configurations().every(({ voters }) => voters.map(memberId).every(hasCompared));
  if (!isDisputed()) return;
  const last = committedLog.lastIndex;
  simulation.wait(STABLE_MAX_MS);
  if (!isDisputed()) return;
  coverage.hit("a group whose states had no majority took nothing any more");
  for (let index = last + 1; index <= committedLog.lastIndex; index++) {
    const kind = committedLog.at(index)?.entry.kind;
    if (kind !== undefined && isClients(kind))
      fail(`a ${kind} was taken at index ${index}, and no majority has the same state`);
  }
}

function haveConverged({ world, committedLog }: Simulation): boolean {
  const configurations = world.configurations();
  const voters = world.machines.filter(
    ({ self }) => self !== null && configurations.some((known) => isVoterOf(known, self)),
  );
  return (
    voters.length > 0 && voters.every(({ life }) => life?.inspect()?.queue.appliedIndex === committedLog.lastIndex)
  );
}

function positions({ world, committedLog }: Simulation): string {
  const all = world.machines.map(({ id, life }) => `${id} ${life?.inspect()?.queue.appliedIndex ?? "down"}`);
  return `${all.join(", ")} of ${committedLog.lastIndex}`;
}

function mustBeStable(simulation: Simulation): void {
  const { oracles, bounds, world, fail } = simulation;
  const { highestTerm } = oracles;
  const leader = leaderAmong(simulation, world.machines);
  const eventsBefore = simulation.scheduler.executed;
  const stableMs = Math.min(STABLE_MAX_MS, STABLE_HEARTBEATS * simulation.plan.settings.heartbeatMs);
  simulation.wait(stableMs);
  const heartbeats = (stableMs / simulation.plan.settings.heartbeatMs) * world.machines.length ** 2;
  const events = simulation.scheduler.executed - eventsBefore;
  if (events > IDLE_EVENTS_PER_HEARTBEAT * heartbeats + IDLE_EVENTS)
    fail(`an idle group of ${world.machines.length} machines made ${events} events in ${stableMs}ms`);
  if (oracles.highestTerm !== highestTerm)
    fail(`terms rose from ${highestTerm} to ${oracles.highestTerm} in a stable network`);
  if (leaderAmong(simulation, world.machines) !== leader) fail("the leader changed in a stable network");
  // A log that has outgrown its limit since the last checkpoint waits for the next one.
  if (tooMuchAtRest(simulation).length > 0) simulation.wait(SERVER.checkpointMs + STABLE_MAX_MS);
  for (const excess of tooMuchAtRest(simulation)) fail(excess);
  bounds.observeConnections(world.network.mostWaiting());
  simulation.wait(0);
}

function changesOneByOne(committedLog: CommittedLog, fail: (what: string) => void): void {
  let before: Configuration | null = null;
  for (let index = 1; index <= committedLog.lastIndex; index++) {
    const entry = committedLog.at(index)?.entry;
    if (entry?.kind !== "config") continue;
    const next = decodeConfiguration(fieldsOf(entry).body);
    if (before !== null && !mayFollow(before, next))
      fail(`the configuration at ${index} does not follow the one before`);
    before = next;
  }
}

function tooMuchAtRest({ world, bounds }: Simulation): readonly string[] {
  return world.machines.flatMap(({ id, life, disk, starts, onDiskFailure }) => {
    const raft = life?.inspect()?.raft;
    if (raft === undefined || raft.leader === null) return [];
    return bounds.tooMuchAtRest(id, raft, disk, { starts, mayHaveFailed: onDiskFailure !== null });
  });
}

function judge({ world, oracles, committedLog, history, realWitness, sessionsExpire, fail, wait }: Simulation): void {
  oracles.observeLogs(world.machines.flatMap(({ life }) => life ?? []));
  settleHostile(history, committedLog);
  changesOneByOne(committedLog, fail);
  const problem =
    realWitness.judge() ??
    witnessAgainst(committedLog, history, sessionsExpire) ??
    fifoViolation(fifoHistory(history, ({ session, number }) => committedLog.replyTo(session, number)));
  if (problem !== null) fail(problem);
  wait(0);
}
