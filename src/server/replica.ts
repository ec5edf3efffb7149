// The replica: what a serving member consists of, over an open data directory. The turn works on it (`turn.ts`).
import { RAFT, WIRE } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import type { RaftqError } from "../lib/errors.ts";
import { createQueue } from "../queue/queue.ts";
import type { Outgoing } from "../raft/effects.ts";
import type { Entry } from "../raft/entry.ts";
import type { Checkpoint } from "../raft/messages.ts";
import { createRaft, type Raft } from "../raft/raft.ts";
import { type ClusterId, type Member, memberId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { type Clients, createClients } from "./clients.ts";
import { createDiskSpace, type DiskSpace, measureDiskSpace, stopMeasuring } from "./disk-watermarks.ts";
import { createInbox, type Inbox, wake } from "./inbox.ts";
import { createLeaderEntries, type LeaderEntries } from "./leader-entries.ts";
import { createLogThrottle } from "./log-throttle.ts";
import { createPeers, type Peers, startPeers, stopPeers } from "./peers.ts";
import { createProposals, type Proposals } from "./proposals.ts";
import { createRequests, type Requests } from "./requests.ts";
import { confirmSnapshot, createSnapshots, restoreFrom, type Snapshots } from "./snapshots.ts";
import { createStages, type Stages } from "./stages.ts";
import { createStateCheck, type StateCheck } from "./state-check.ts";
import { createTraces, type Traces } from "./traces.ts";
import { type ConfirmedRead, createTurnTimer, haltTurns, takeTurn, type TurnTimer } from "./turn.ts";
import type { LogEvent, NodeSettings, Ports, StateMachine } from "./types.ts";

export interface Replica {
  readonly self: Member;
  readonly clusterId: ClusterId;
  /** When the node's run began, by its clock. */
  readonly startedAt: number;
  readonly settings: NodeSettings;
  readonly clock: Clock;
  readonly log: (line: LogEvent) => void;
  readonly residentBytes: () => number;
  readonly storage: Storage;
  readonly raft: Raft;
  readonly stateMachine: StateMachine;
  readonly inbox: Inbox;
  readonly timer: TurnTimer;
  readonly proposals: Proposals;
  /** Committed entries that are not applied yet, oldest first, from `nextToApply` on. */
  committed: Entry[];
  /** A position in `committed`. */
  nextToApply: number;
  /** Waited for a persist that is durable now. */
  released: Outgoing[];
  /** They wait until their index is applied. */
  confirmedReads: readonly ConfirmedRead[];
  readonly peers: Peers;
  readonly clients: Clients;
  readonly requests: Requests;
  readonly leaderEntries: LeaderEntries;
  readonly snapshots: Snapshots;
  readonly diskSpace: DiskSpace;
  readonly stateCheck: StateCheck;
  readonly stages: Stages;
  readonly traces: Traces;
  /** A membership change was refused, and why. */
  readonly logRefusal: (text: string) => void;
  /** The node must stop. */
  readonly onFatal: (error: RaftqError) => void;
}

export interface ReplicaOptions {
  readonly self: Member;
  readonly clusterId: ClusterId;
  readonly startedAt: number;
  readonly storage: Storage;
  /** What the log holds behind the snapshot. */
  readonly entries: readonly Entry[];
  readonly onFatal: (error: RaftqError) => void;
}

/** Throws CORRUPT when the snapshot is damaged. Neither its turns nor its links have begun (see `startReplica`). */
export function createReplica(ports: Ports, settings: NodeSettings, options: ReplicaOptions): Replica {
  const { clock, disk, network, random, log, residentBytes } = ports;
  const { self, clusterId, startedAt, storage, entries, onFatal } = options;
  const { hardState, snapshot } = storage.recovered;
  const raft = createRaft({
    self: memberId(self),
    random: random.fork(),
    heartbeatMs: settings.heartbeatMs,
    electionMinMs: settings.electionMinMs,
    electionMaxMs: settings.electionMaxMs,
    maxAppendBytes: settings.maxAppendBytes,
    maxInflightMessages: settings.maxInflightMessages,
    maxInflightBytes: RAFT.maxInflightBytes,
    maxUncommittedBytes: settings.maxUncommittedBytes,
    keepLogBytes: settings.keepLogBytes,
    recovered: { hardState, snapshot, entries },
    now: clock.now(),
    wall: clock.wall(),
  });
  const stateMachine = { queue: snapshot === null ? createQueue() : restoreFrom(storage, snapshot) };
  const stages = createStages(clock);
  const traces = createTraces(clock);
  const inbox = createInbox(clock, () => takeTurn(replica));
  const silenceMs = Math.max(WIRE.peerSilenceMs, settings.electionMaxMs);
  const forLinks = { raft, inbox, stages, traces, silenceMs };
  const peers = createPeers({ self, clusterId, network, clock, random: random.fork(), log, ...forLinks });
  const snapshots = createSnapshots({ storage, settings, inbox, clock, stages, log });
  const onCompared = (checkpoint: Checkpoint): void => confirmSnapshot(snapshots, checkpoint);
  const stateCheck = createStateCheck({ raft, stateMachine, onCompared, log });
  const { segmentBytes } = settings;
  const diskSpace = createDiskSpace({ disk, clock, storage, log, inbox, stateMachine, snapshots, segmentBytes });
  const replica: Replica = {
    self,
    clusterId,
    startedAt,
    settings,
    clock,
    log,
    residentBytes,
    storage,
    raft,
    stateMachine,
    inbox,
    peers,
    snapshots,
    diskSpace,
    stateCheck,
    stages,
    traces,
    onFatal,
    timer: createTurnTimer(),
    proposals: createProposals(),
    committed: [],
    nextToApply: 0,
    released: [],
    confirmedReads: [],
    clients: createClients(),
    requests: createRequests(),
    leaderEntries: createLeaderEntries(clock.now()),
    logRefusal: createLogThrottle(clock, log),
  };
  return replica;
}

/** Begins its turns and dials its peers. */
export function startReplica(replica: Replica): void {
  wake(replica.inbox);
  measureDiskSpace(replica.diskSpace);
  startPeers(replica.peers);
}

export function stopReplica({ inbox, timer, peers, diskSpace }: Replica): void {
  haltTurns(inbox, timer);
  stopPeers(peers);
  stopMeasuring(diskSpace);
}
