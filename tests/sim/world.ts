// What is there in a simulated world? Machines with a disk, clocks and at most one living node each, and the network between them.
// Everything that can happen to them from outside is a function here.
import { fieldsOf } from "../../src/raft/entry.ts";
import { decodeConfiguration } from "../../src/raft/configuration.ts";
import {
  type Configuration,
  isNodeId,
  type LogIndex,
  type Member,
  type MemberId,
  type NodeId,
  type Term,
} from "../../src/raft/types.ts";
import type { ErrorCode } from "../../src/lib/errors.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { startNode } from "../../src/server/node.ts";
import { CORRUPTION_MARKER_PATH } from "../../src/storage/rejoin/quarantine.ts";
import { META_PATH } from "../../src/storage/meta.ts";
import { REJOIN_PATH } from "../../src/storage/rejoin/rejoin-files.ts";
import type { LogEvent, NodeSettings, RunningNode } from "../../src/server/types.ts";
import {
  type Aim,
  type Backup,
  createSimDisk,
  type FailingOperation,
  type FileAim,
  type SimDisk,
} from "../kit/simulated-disk.ts";
import { withRules } from "./disk-rules.ts";
import type { CommittedLog } from "./committed-log.ts";
import { createSimProcess, enterClock, enterDisk, enterNetwork, type SimProcess } from "../kit/simulated-process.ts";
import type { Coverage } from "./coverage.ts";
import { type FaultBudget, createFaultBudget } from "./fault-budget.ts";
import type { Bounds } from "./bounds.ts";
import { damageSomewhere } from "./damage.ts";
import { createDisputes } from "./disputes.ts";
import { createStepDownOracle } from "./step-down.ts";
import { createHandovers } from "./handovers.ts";
import { type ConfigurationSeen, holdsQuorum, inForce } from "./members.ts";
import { createSimNetwork, type SimNetwork } from "../kit/simulated-network.ts";
import type { Observed, Oracles } from "./oracles.ts";
import type { Plan } from "./plan.ts";
import { createDiskSpaceOracle } from "./disk-space.ts";
import type { Scheduler } from "../kit/scheduler.ts";
import { createSimClock, createSimTime, type SimTime } from "../kit/simulated-clock.ts";
import type { Trace } from "./trace.ts";
import { corruptState } from "./wrong-state.ts";
import { createTransfers } from "./transfers.ts";
import { createVerified } from "./verified.ts";
import { createVotes } from "./votes.ts";

/** One run of a node's process. */
export interface NodeLife extends Observed {
  readonly process: SimProcess;
  /** Asks for a graceful stop. */
  readonly stop: () => void;
  /** The index of the newest checkpoint where its state was found to be right. */
  readonly comparedAt: () => LogIndex;
}

/** A disk that has forgotten what it acknowledged, and the leadership that knows of it. */
export interface Outdated {
  readonly self: MemberId;
  readonly leader: NodeLife;
  readonly term: Term;
  readonly acknowledged: LogIndex;
}

export interface Machine {
  readonly id: NodeId;
  readonly address: string;
  readonly port: number;
  readonly time: SimTime;
  disk: SimDisk;
  life: NodeLife | null;
  /** From its present disk. */
  starts: number;
  /** Removed from the group; comes back, if ever, with an empty disk. */
  retired: boolean;
  /** The member that its disk stands for. */
  self: MemberId | null;
  /** The last configuration in its log, durable or not. */
  configuration: ConfigurationSeen | null;
  readonly founder: boolean;
  /** It came back after its removal: its operator starts it to join, not to found once more. */
  joins: boolean;
  wiped: boolean;
  /** Something in its directory rotted: it must come back as somebody new, or not at all. */
  damaged: boolean;
  /** The disk of another machine that this one was started with by mistake. */
  foreignDisk: SimDisk | null;
  /** Set while an older copy of its disk is in its place, until its leader has found that out. Nothing of it counts meanwhile. */
  outdated: Outdated | null;
  /** From now on it is started again whenever it stops by itself. */
  keepUp: boolean;
  /** Its disk was full before: that it cannot start for lack of space may be right. */
  wasFull: boolean;
  /** Set while an injected disk error is to come: stopping by itself is right then, and this follows. */
  onDiskFailure: (() => void) | null;
  /** Set while its state is, or was found to be, wrong: stopping by itself is right then, and this follows. */
  onCorrupted: (() => void) | null;
}

export interface World {
  readonly machines: readonly Machine[];
  readonly network: SimNetwork;
  after(ms: number, run: () => void): void;
  /** Calls `look` after everything that any node does, until it returns true. */
  watch(look: (machine: Machine) => boolean): void;
  addMachine(): Machine;
  start(machine: Machine): void;
  /** Starts it now if it is down, and whenever it stops by itself. */
  keepUp(machine: Machine): void;
  kill(machine: Machine): void;
  powerCut(machine: Machine): void;
  /** A graceful stop; `stopped` is called unless something worse comes between. */
  stop(machine: Machine, stopped: () => void): void;
  pause(machine: Machine, ms: number): void;
  resumeAll(): void;
  /** The `nth` operation of that kind fails; the node must stop by itself, then `stopped` is called. */
  failDisk(machine: Machine, operation: FailingOperation, nth: number, stopped: () => void): void;
  /** With an aim, only writes and syncs of those files. The answer ends it earlier. */
  hangDisk(machine: Machine, ms: number, aim?: FileAim): () => void;
  /** Somebody else takes all but `freeBytes` of its disk, for so long. */
  fillDisk(machine: Machine, freeBytes: number, ms: number): void;
  /** The same, again and again: whatever the node gives back is taken too. */
  keepDiskFull(machine: Machine, freeBytes: number, ms: number): void;
  /**
   * Its memory goes bad: the node must find out, stop and leave its data alone. They are wiped, then `stopped` is called. One that comes
   * to lead, so that clients would see it, dies of it instead.
   */
  corruptState(machine: Machine, chance: Random, stopped: () => void): void;
  /** Could a majority of each of these, or of every configuration that may be in force, have the same, right state? */
  mayAgree(among?: readonly Configuration[]): boolean;
  wipe(machine: Machine): void;
  /**
   * An older copy of the disk of a machine that is down is put back, one that lacks entries which the present leader knows to be
   * acknowledged; term and vote are as they were.
   */
  putBack(machine: Machine, copy: Backup, outdated: Outdated): void;
  /** Something in the directory of a machine that is down rots. */
  damage(machine: Machine, chance: Random): void;
  /** Starts a machine that is down with the data directory of another one: it must refuse it. */
  startWithDiskOf(machine: Machine, other: Machine): void;
  /** A removed node comes back as somebody new. */
  rejoin(machine: Machine): void;
  mayLoseDisk(machine: Machine): boolean;
  /** Calls `run` as the `nth` disk operation from now on that is aimed at has begun. */
  whenWriting(machine: Machine, nth: number, run: () => void, aim?: Aim): void;
  /** `from` sends no more than so many bytes per millisecond to `to`. */
  slowLink(from: Machine, to: Machine, bytesPerMs: number): () => void;
  /** What `from` sends to `to` comes later and later, within `rampMs` by so much. */
  lateLink(from: Machine, to: Machine, ms: number, rampMs: number): () => void;
  /** `losesFlight`: with what is on its way. */
  cut(what: string, blocked: (from: Machine, to: Machine) => boolean, losesFlight: boolean): () => void;
  healCuts(): void;
  /** Nothing is lost, slow or about to fail any more, and no clock runs far off. */
  calm(): void;
  reset(a: Machine, b: Machine): void;
  setClockRate(machine: Machine, rate: number): void;
  jumpWall(machine: Machine, ms: number): void;
  /** Is the node part of the newest committed configuration, or is there none? */
  isNamed(id: NodeId): boolean;
  /** Every configuration that may be in force anywhere. */
  configurations(): readonly Configuration[];
  presentVoters(): readonly Member[];
  readonly faultBudget: FaultBudget;
  /** How fast some machine's clock runs. */
  drawRate(chance: Random): number;
}

export interface WorldPorts {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly committedLog: CommittedLog;
  readonly oracles: Oracles;
  readonly coverage: Coverage;
  readonly bounds: Bounds;
  readonly fail: (what: string) => void;
}

/** Apart from that of the world, which it does not touch. */
const REHEARSAL_STREAM = 0xda3a;
const FIRST_PORT = 3001;
const HOST = "127.0.0.1";
const CALM_RATE = 1.1;
const AGAIN_AFTER_MS = 300;
/** How often the process that fills a disk takes what was freed meanwhile. */
const TAKEN_AGAIN_MS = 50;
/** Share of the ends of a process after which it is asked what a start would make of some damage. */
const REHEARSED_PERCENT = 25;

export function createWorld(plan: Plan, ports: WorldPorts): World {
  const { scheduler, random, trace, committedLog, oracles, bounds, coverage, fail } = ports;
  const machines: Machine[] = [];
  const byName = new Map<string, Machine>();
  const corruptedStates = new Map<Machine, { readonly state: object; readonly isShown: boolean }>();
  const cuts = new Set<() => void>();
  /** What ends each hang of a disk, and whose disk it is. */
  const hangs = new Map<() => void, Machine>();
  const stopWaiters = new Map<Machine, () => void>();
  const watchers = new Set<(machine: Machine) => boolean>();
  // The disks read it anew each time, so that the weather can calm down.
  const diskWeather = { ...plan.disk };
  const faultBudget = createFaultBudget(configurations);
  /** The first one that any log held: it may be on a disk that nobody has read again since its founder was lost. */
  let founding: Configuration | null = null;
  const diskOf = (member: MemberId): SimDisk | null => machines.find(({ self }) => self === member)?.disk ?? null;
  const votes = createVotes({ diskOf, fail });
  const stepDown = createStepDownOracle(plan.settings, fail);
  const disputes = createDisputes(fail);
  const handovers = createHandovers(plan.settings.electionMaxMs, fail);
  const diskSpace = createDiskSpaceOracle(plan, scheduler.now, fail);
  const transfers = createTransfers(fail);
  const verified = createVerified(fail);
  const network = createSimNetwork(scheduler, random.fork(), plan.network);
  const rehearsals = seededRandom(plan.seed ^ REHEARSAL_STREAM);

  const drawRate = (chance: Random): number => {
    const { from, to } = plan.clockRates;
    return from + ((to - from) * chance.below(1_001)) / 1_000;
  };

  function addMachine(founder: boolean): Machine {
    const id = nodeIdFor(machines.length + 1);
    const port = FIRST_PORT + machines.length;
    const machine: Machine = {
      id,
      port,
      address: `${HOST}:${port}`,
      time: createSimTime(scheduler, random.fork(), drawRate(random)),
      disk: createSimDisk(scheduler, random.fork(), diskWeather),
      life: null,
      starts: 0,
      retired: false,
      self: null,
      configuration: null,
      founder,
      joins: false,
      wiped: false,
      damaged: false,
      foreignDisk: null,
      outdated: null,
      keepUp: false,
      wasFull: false,
      onDiskFailure: null,
      onCorrupted: null,
    };
    machines.push(machine);
    byName.set(id, machine);
    return machine;
  }

  function settingsFor(machine: Machine): NodeSettings {
    const founders = machines.filter((other) => other.founder);
    const others = founders.filter((other) => other !== machine).map((other) => other.address);
    const founds = machine.founder && !machine.joins;
    const together = founds && plan.founding === "together";
    // Alone and without --join a fresh node founds; the very first one of a growing group must, and only once.
    const alone = plan.founding === "growing" && founds && !machine.wiped;
    const join = alone
      ? []
      : others.length > 0 && !machine.joins
        ? others
        : machines.filter((other) => other !== machine).map((other) => other.address);
    const { id, port, address } = machine;
    return {
      ...plan.settings,
      id,
      host: HOST,
      port,
      advertise: address,
      join,
      expect: together ? founders.length : null,
    };
  }

  function start(machine: Machine): void {
    const isElsewhere = machines.some(({ foreignDisk }) => foreignDisk === machine.disk);
    if (machine.life !== null || isElsewhere) return;
    machine.starts++;
    diskSpace.disturbed(machine.id);
    trace.event(machine.id, machine.foreignDisk === null ? "started" : "started with another machine's disk");
    const process = createSimProcess({
      afterEach: () => observe(machine),
      threw: (error) => fail(`${machine.id} threw: ${error instanceof Error ? error.stack : String(error)}`),
    });
    let node: RunningNode | null = null;
    const life: NodeLife = {
      name: machine.id,
      process,
      stop: () => node?.stop(),
      inspect: () => node?.inspect() ?? null,
      comparedAt: () => node?.status()?.checkpoint?.index ?? 0,
      corruptedAt: null,
    };
    // It begins with what its disk holds, which is right, unless it had detected the wrong state already.
    if (!distrustsItself(machine)) machine.onCorrupted = null;
    machine.life = life;
    const disk = machine.foreignDisk ?? machine.disk;
    if (disk.unsettled(META_PATH).length > 0) coverage.hit("a node started with a slot of meta that was not synced");
    const nodePorts = {
      disk: withRules(enterDisk(disk.restart(), process), {
        disk,
        after: scheduler.after,
        isStopped: () => !process.alive(),
        isPaused: process.paused,
        fail: (what) => fail(`${machine.id} ${what}`),
      }),
      network: enterNetwork(network.hostOf(machine.id), process, (data, remote) => {
        trace.bytes(data);
        stepDown.received(machine, nameBehind(remote));
      }),
      clock: enterClock(createSimClock(scheduler, machine.time, random.fork(), plan.roundMs), process),
      random: random.fork(),
      log: ({ level, event, text }: LogEvent) => {
        trace.event(machine.id, `${level}: ${text}`);
        // It comes back by itself; but somebody must have touched its disk.
        if (event === "damaged" && !machine.damaged && !foundOut(machine))
          fail(`${machine.id} does not trust its own data: ${text}`);
        coverage.logged(text);
        disputes.logged(machine.id, text);
      },
      residentBytes: () => 0,
    };
    process.enter(() => {
      node = startNode(
        nodePorts,
        settingsFor(machine),
        () => {},
        (error) => stopped(machine, life, error),
      );
    });
  }

  /** An accepted connection names who dialed, a dialed one the address. */
  function nameBehind(remote: string): string {
    return machines.find(({ address }) => address === remote)?.id ?? remote.slice(0, remote.lastIndexOf(":"));
  }

  /** The corruption marker, here or among what is quarantined; or, where a power cut took it, the rejoin file that came later. */
  function distrustsItself({ disk }: Machine): boolean {
    return disk.files().some((file) => file.endsWith(CORRUPTION_MARKER_PATH) || file === REJOIN_PATH);
  }

  /**
   * Was its state spoiled, or its disk put back, and does it report that itself? Then its data are lost from here on, and it comes back
   * without them.
   */
  function foundOut(machine: Machine): boolean {
    const isKnown = machine.onCorrupted !== null || machine.outdated !== null;
    if (!isKnown || !distrustsItself(machine)) return false;
    if (machine.onCorrupted !== null) loseDisk(machine);
    forgetCorrupted(machine);
    machine.outdated = null;
    machine.damaged = true;
    return true;
  }

  function forgetCorrupted(machine: Machine): void {
    machine.onCorrupted = null;
    corruptedStates.delete(machine);
    if (machine.life !== null) machine.life.corruptedAt = null;
  }

  function observe(machine: Machine): void {
    for (const other of machines) if (other.outdated !== null) observeOutdated(other, other.outdated);
    const { life } = machine;
    const inside = life?.inspect() ?? null;
    if (life === null || inside === null || machine.outdated !== null) return;
    machine.self = inside.raft.self;
    // A snapshot has taken the place of the wrong state.
    const corrupted = corruptedStates.get(machine);
    if (life.corruptedAt !== null && corrupted?.state !== inside.queue) forgetCorrupted(machine);
    // A node that serves from a directory that was damaged does so as a new member.
    machine.damaged = false;
    const { configuration, configurationIndex } = inside.raft;
    if (machine.configuration?.configuration !== configuration)
      machine.configuration = { index: configurationIndex, configuration };
    if (configurationIndex > 0) founding ??= configuration;
    if (oracles.observe(life)) coverage.saw(inside.raft, inside.queue.appliedIndex);
    bounds.observe(machine.id, inside);
    votes.observe(machine.id, inside.raft);
    stepDown.observe(machine, inside.raft);
    disputes.observe(machine.id, inside.raft);
    handovers.observe(machine.id, inside.raft);
    verified.observe(inside.raft);
    transfers.observe(machine.id, inside.raft, (path) => machine.disk.cached(path) !== null);
    diskSpace.observe(
      machine.id,
      { freeBytes: machine.disk.free(), hangs: hangs.size > 0 && [...hangs.values()].includes(machine) },
      inside.raft,
    );
    for (const look of watchers) if (look(machine)) watchers.delete(look);
    if (life.corruptedAt !== null && corrupted?.isShown === true && inside.raft.role === "leader") dieOfIt(machine);
  }

  /** Its next life begins with what its disk holds, which is right. */
  function dieOfIt(machine: Machine): void {
    const { onCorrupted } = machine;
    trace.event(machine.id, "killed by its wrong state before it answers as the leader");
    endLife(machine, "kill");
    if (machine.keepUp) start(machine);
    else onCorrupted?.();
  }

  /**
   * Its leader must find out, and give it nothing before it comes back as somebody new. Another leader cannot know of what it
   * acknowledged: before it could vote for one, its disk is lost altogether.
   */
  function observeOutdated(machine: Machine, { self, leader, term, acknowledged }: Outdated): void {
    const leading = leader.process.alive() ? leader.inspect()?.raft : undefined;
    const leads = leading?.role === "leader" && leading.currentTerm === term && leading.progress.has(self);
    const raft = machine.life?.inspect()?.raft;
    if (leads && leading.termAt(acknowledged) !== undefined && (raft?.currentTerm ?? term) <= term) {
      if (raft !== undefined && raft.lastIndex >= acknowledged)
        fail(
          `${leader.name} counts ${machine.id} on, although it lacks some of the ${acknowledged} that it acknowledged`,
        );
      return;
    }
    trace.event(machine.id, "nobody knows any more what it acknowledged");
    if (machine.life !== null) endLife(machine, "kill");
    wipe(machine);
    startAgain(machine);
  }

  function startAgain(machine: Machine): void {
    scheduler.after(AGAIN_AFTER_MS, () => {
      if (!machine.retired) start(machine);
    });
  }

  function stopped(
    machine: Machine,
    life: NodeLife,
    error: { readonly code: ErrorCode; readonly message: string } | null,
  ): void {
    trace.event(machine.id, `stopped: ${error === null ? "as asked" : `${error.code} ${error.message}`}`);
    life.process.end();
    if (machine.life === life) machine.life = null;
    network.kill(machine.id);
    (machine.foreignDisk ?? machine.disk).kill();
    if (
      error?.code === "CORRUPT" &&
      machine.disk.files().includes(CORRUPTION_MARKER_PATH) &&
      machine.onCorrupted !== null
    ) {
      const then = machine.onCorrupted;
      machine.onCorrupted = null;
      trace.event(machine.id, "stopped because of its wrong state");
      wipe(machine);
      return machine.keepUp ? start(machine) : then();
    }
    const { onDiskFailure } = machine;
    machine.onDiskFailure = null;
    const waiter = stopWaiters.get(machine);
    stopWaiters.delete(machine);
    if (error !== null && !mayStopWith(machine, error.code, onDiskFailure !== null))
      return fail(`${machine.id} stopped by itself: ${error.code} ${error.message}`);
    // The answer to the one who asked for it was lost.
    if (error?.code === "REMOVED") machine.retired = true;
    if (error?.code === "DISK_FAILED") coverage.hit("a failing disk stopped a node");
    if (machine.foreignDisk !== null) return giveBack(machine);
    // A supervisor of a node that finds no room, or no member to give it its data, starts it again.
    if (error !== null && onDiskFailure === null) startAgain(machine);
    else if (machine.keepUp) start(machine);
    else if (error !== null) onDiskFailure?.();
    else waiter?.();
  }

  /** A node may stop by itself only with the name of what was done to it. */
  function mayStopWith(machine: Machine, code: ErrorCode, diskFailing: boolean): boolean {
    if (machine.foreignDisk !== null) return code === "FOREIGN_DIRECTORY";
    if (code === "CORRUPT") return machine.damaged;
    if (code === "STALE_DISK") return machine.outdated !== null;
    if (code === "DISK_FULL") return machine.wasFull;
    if (code === "REMOVED") return !isNamed(machine.id);
    return diskFailing && (code === "DISK_FAILED" || code === "UNWRITABLE");
  }

  function isNamed(id: NodeId): boolean {
    const known = committedConfiguration()?.configuration;
    if (known === undefined) return true;
    return [known.voters, known.outgoing, known.learners].some((members) => members.some((member) => member.id === id));
  }

  function giveBack(machine: Machine): void {
    const owner = machines.find(({ disk }) => disk === machine.foreignDisk);
    machine.foreignDisk = null;
    for (const one of [machine, owner]) if (one !== undefined && !one.retired) start(one);
  }

  function endLife(machine: Machine, how: "kill" | "powerCut"): void {
    machine.life?.process.end();
    machine.life = null;
    machine.onDiskFailure = null;
    stopWaiters.delete(machine);
    network[how](machine.id);
    (machine.foreignDisk ?? machine.disk)[how]();
    if (machine.foreignDisk !== null) giveBack(machine);
    if (rehearsals.chance(REHEARSED_PERCENT)) rehearseDamage(machine);
    if (machines.every(({ life }) => life === null)) coverage.hit("no machine was running");
  }

  function resume(machine: Machine, life: NodeLife): void {
    if (machine.life !== life || !life.process.paused()) return;
    trace.event(machine.id, "resumed");
    stepDown.disturbed(machine);
    diskSpace.disturbed(machine.id);
    life.process.resume();
    if (machine.life === life) network.resume(machine.id);
  }

  function loseDisk(machine: Machine): void {
    if (machine.self !== null) faultBudget.lose(machine.self);
    machine.self = null;
    machine.configuration = null;
    machine.wiped = true;
  }

  function emptyDisk(machine: Machine): void {
    trace.event(machine.id, "disk wiped");
    machine.disk = createSimDisk(scheduler, random.fork(), diskWeather);
    machine.starts = 0;
    machine.wasFull = false;
    machine.damaged = false;
    machine.outdated = null;
  }

  function wipe(machine: Machine): void {
    loseDisk(machine);
    emptyDisk(machine);
  }

  function putBack(machine: Machine, copy: Backup, outdated: Outdated): void {
    if (machine.life !== null) return;
    trace.event(machine.id, `an older copy of its disk is put back, without some of ${outdated.acknowledged} entries`);
    loseDisk(machine);
    machine.outdated = outdated;
    machine.disk.restore(copy);
  }

  function damage(machine: Machine, chance: Random): void {
    const { id, disk } = machine;
    if (machine.life !== null || machine.damaged) return;
    const done = damageSomewhere({ id, disk, segmentBytes: plan.settings.segmentBytes }, chance);
    if (done === null) return;
    trace.event(id, `damage, ${done.verdict}: ${done.what}`);
    if (done.verdict === "harmless") return;
    loseDisk(machine);
    machine.damaged = true;
    if (done.verdict === "unnoticed") fail(`${id} would start from a damaged directory: ${done.what}`);
  }

  /** To a copy, which nobody starts from: so it costs no disk that others count on. */
  function rehearseDamage({ id, disk }: Machine): void {
    const copy = createSimDisk(scheduler, rehearsals.fork(), diskWeather);
    copy.restore(disk.backup());
    const done = damageSomewhere({ id, disk: copy, segmentBytes: plan.settings.segmentBytes }, rehearsals);
    if (done?.verdict === "unnoticed") fail(`${id} would start from a damaged directory: ${done.what}`);
  }

  function committedConfiguration(): ConfigurationSeen | null {
    const entry = committedLog.lastConfiguration;
    return entry === null ? null : { index: entry.index, configuration: decodeConfiguration(fieldsOf(entry).body) };
  }

  function configurations(): readonly Configuration[] {
    const seen = machines.flatMap(({ configuration }) =>
      configuration === null || configuration.index === 0 ? [] : [configuration],
    );
    const inLogs = inForce(seen, committedConfiguration(), committedLog.lastIndex);
    return inLogs.length === 0 && founding !== null ? [founding] : inLogs;
  }

  for (let count = plan.founding === "together" ? plan.nodes : 1; count > 0; count--) addMachine(true);

  return {
    machines,
    network,
    faultBudget,
    configurations,
    isNamed,
    after: (ms, run) => void scheduler.after(ms, run),
    watch: (look) => void watchers.add(look),
    addMachine: () => addMachine(false),
    start,
    keepUp: (machine) => {
      machine.keepUp = true;
      machine.disk.leave(Infinity);
      start(machine);
    },
    kill: (machine) => {
      if (machine.life === null) return;
      trace.event(machine.id, "killed");
      endLife(machine, "kill");
    },
    powerCut: (machine) => {
      if (machine.life === null) return;
      trace.event(machine.id, "power cut");
      endLife(machine, "powerCut");
    },
    stop: (machine, then) => {
      if (machine.life === null) return;
      trace.event(machine.id, "asked to stop");
      const { life } = machine;
      stopWaiters.set(machine, then);
      life.process.enter(life.stop);
    },
    pause: (machine, ms) => {
      const { life } = machine;
      if (life === null || life.process.paused()) return;
      trace.event(machine.id, `paused for ${ms}ms`);
      life.process.pause();
      network.pause(machine.id);
      scheduler.after(ms, () => resume(machine, life));
    },
    resumeAll: () => {
      for (const machine of machines) if (machine.life !== null) resume(machine, machine.life);
    },
    failDisk: (machine, operation, nth, then) => {
      trace.event(machine.id, `${operation} number ${nth} from now will fail`);
      machine.onDiskFailure = then;
      machine.disk.fail(operation, nth);
    },
    hangDisk: (machine, ms, aim) => {
      trace.event(machine.id, `${aim === undefined ? "disk hangs" : "some files hang"} for ${ms}ms`);
      const release = machine.disk.hang(aim);
      const goOn = (): void => {
        if (!hangs.delete(goOn)) return;
        trace.event(machine.id, "disk goes on");
        release();
      };
      hangs.set(goOn, machine);
      scheduler.after(ms, goOn);
      return goOn;
    },
    fillDisk: (machine, freeBytes, ms) => {
      trace.event(machine.id, `only ${freeBytes} bytes are free on its disk for ${ms}ms`);
      machine.wasFull = true;
      const { disk } = machine;
      disk.leave(freeBytes);
      scheduler.after(ms, () => disk.leave(Infinity));
    },
    keepDiskFull: (machine, freeBytes, ms) => {
      trace.event(machine.id, `no more than ${freeBytes} bytes are free on its disk for ${ms}ms`);
      machine.wasFull = true;
      const { disk } = machine;
      const until = scheduler.now() + ms;
      const take = (): void => {
        if (machine.keepUp || scheduler.now() >= until) return disk.leave(Infinity);
        if (disk.free() > freeBytes) disk.leave(freeBytes);
        scheduler.after(TAKEN_AGAIN_MS, take);
      };
      take();
    },
    corruptState: (machine, chance, then) => {
      const { life } = machine;
      const inside = life?.inspect() ?? null;
      if (life === null || inside === null || life.corruptedAt !== null) return;
      const { raft, queue } = inside;
      // A majority that is wrong in the same way would be right together.
      const isUnlike = plan.beyond && machines.some((other) => (other.life?.corruptedAt ?? null) !== null);
      const { what, isShown } = corruptState(queue, raft.role === "leader", isUnlike, chance);
      trace.event(machine.id, `state spoiled after ${queue.appliedIndex}: ${what}`);
      life.corruptedAt = queue.appliedIndex;
      oracles.stateSpoiled(life, queue);
      corruptedStates.set(machine, { state: queue, isShown });
      machine.onCorrupted = then;
    },
    wipe,
    putBack,
    damage,
    startWithDiskOf: (machine, other) => {
      machine.foreignDisk = other.disk;
      start(machine);
    },
    rejoin: (machine) => {
      machine.retired = false;
      machine.joins = true;
      wipe(machine);
      start(machine);
    },
    mayAgree: (among = configurations()) =>
      holdsQuorum(among, (member) => {
        const machine = machines.find(({ self }) => self === member);
        return !faultBudget.lost.has(member) && (machine?.life?.corruptedAt ?? null) === null;
      }),
    mayLoseDisk: (machine) => {
      const corrupted = machines.filter((other) => other.onCorrupted !== null).flatMap(({ self }) => self ?? []);
      return machine.self !== null && faultBudget.mayLose(machine.self, corrupted);
    },
    whenWriting: (machine, nth, run, aim) => machine.disk.whenBegun(nth, () => void scheduler.after(0, run), aim),
    slowLink: (from, to, bytesPerMs) => {
      trace.event("net", `${from.id} to ${to.id}: ${bytesPerMs} bytes per millisecond`);
      return network.slow(from.id, to.id, bytesPerMs);
    },
    lateLink: (from, to, ms, rampMs) => {
      trace.event("net", `${from.id} to ${to.id}: ${ms}ms late, within ${rampMs}ms`);
      return network.delay(from.id, to.id, ms, rampMs);
    },
    cut: (what, blocked, losesFlight) => {
      trace.event("net", `cut: ${what}`);
      const heal = network.cut((from, to) => {
        const [a, b] = [byName.get(from), byName.get(to)];
        return a !== undefined && b !== undefined && blocked(a, b);
      }, losesFlight);
      const healOnce = (): void => {
        if (!cuts.delete(healOnce)) return;
        trace.event("net", `healed: ${what}`);
        heal();
      };
      cuts.add(healOnce);
      return healOnce;
    },
    healCuts: () => {
      for (const heal of cuts) heal();
    },
    calm: () => {
      trace.event("net", "the weather is calm");
      Object.assign(diskWeather, { operationMaxMs: Math.min(1, plan.disk.operationMaxMs), slowSyncPercent: 0 });
      network.calm(plan.settings.heartbeatMs / 4);
      for (const { disk } of machines) disk.forgive();
      for (const goOn of hangs.keys()) goOn();
      for (const machine of machines) {
        machine.time.setRate(Math.min(CALM_RATE, Math.max(1 / CALM_RATE, machine.time.rate)));
        stepDown.disturbed(machine);
      }
    },
    reset: (a, b) => {
      trace.event("net", `connections of ${a.id} and ${b.id} reset`);
      network.reset(a.id, b.id);
    },
    setClockRate: (machine, rate) => {
      trace.event(machine.id, `clock runs at ${rate}`);
      stepDown.disturbed(machine);
      machine.time.setRate(rate);
    },
    jumpWall: (machine, ms) => {
      trace.event(machine.id, `wall clock jumps by ${ms}ms`);
      machine.time.jumpWall(ms);
    },
    drawRate,
    presentVoters: () => committedConfiguration()?.configuration.voters ?? [],
  };
}

function nodeIdFor(number: number): NodeId {
  const id = `n${number}`;
  if (!isNodeId(id)) throw new Error(`${id} is no node id`);
  return id;
}
