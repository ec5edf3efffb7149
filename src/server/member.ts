// What does a member consist of? Raft, the queue, its peers, its clients, snapshots and disk space, over an open directory.
import { RAFT, SERVER, WIRE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { createQueue } from "../queue/queue.ts";
import type { Input } from "../raft/effects.ts";
import type { Entry } from "../raft/entry.ts";
import { createRaft } from "../raft/raft.ts";
import { type ClusterId, type Member, memberId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { type Clients, createClients } from "./clients.ts";
import { createPeers, type Peers } from "./peers.ts";
import { createLogThrottle } from "./log-throttle.ts";
import { createReplica, type Replica } from "./replica.ts";
import { createDiskSpace, type DiskSpace } from "./disk-space.ts";
import { createSnapshots, restoreFrom } from "./snapshots.ts";
import { createStages } from "./stages.ts";
import type { StatusSources } from "./status.ts";
import type { NodeSettings, Ports } from "./types.ts";

export interface ClusterMember {
  readonly replica: Replica;
  readonly clients: Clients;
  readonly peers: Peers;
  readonly sources: StatusSources;
  readonly diskSpace: DiskSpace;
}

export interface Name {
  readonly own: Member;
  readonly clusterId: ClusterId;
  /** When the node's run began, by its clock. */
  readonly startedAt: number;
}

/** `entries`: what the log holds behind the snapshot. Throws CORRUPT when the snapshot is damaged. Its links are not started. */
export function createClusterMember(
  ports: Ports,
  settings: NodeSettings,
  storage: Storage,
  { own, clusterId, startedAt }: Name,
  entries: readonly Entry[],
  onFatal: (error: RaftqError) => void,
): ClusterMember {
  const { clock, disk, network, random, log } = ports;
  const { hardState, snapshot } = storage.recovered;
  const raft = createRaft({
    self: memberId(own),
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
  const queue = snapshot === null ? createQueue() : restoreFrom(storage, snapshot);
  const silenceMs = Math.max(WIRE.peerSilenceMs, settings.electionMaxMs);
  const { memberPingMs, reachableMs } = SERVER;
  const limits = { limits: WIRE, settings: { ...WIRE, silenceMs, memberPingMs, reachableMs } };
  const stages = createStages(clock);
  const peers = createPeers({ self: own, clusterId, network, clock, random: random.fork(), stages, log, ...limits });
  const input = (given: Input): void => replica.input(given);
  const snapshots = createSnapshots(storage, settings, () => diskSpace, input, { clock, stages, log });
  const replica = createReplica(raft, queue, {
    clock,
    storage,
    snapshots,
    links: peers,
    stages,
    log,
    onFatal: ({ code, message }) => onFatal(new RaftqError(code, message)),
    heartbeatMs: settings.heartbeatMs,
    maxAppliedPerTurn: settings.maxAppliedPerTurn,
  });
  const { writtenBytes } = snapshots;
  const diskSpace = createDiskSpace(
    { disk, clock, storage, log, input, queue: () => replica.queue(), writtenBytes },
    settings,
  );
  const sources: StatusSources = {
    self: own,
    clusterId,
    clock,
    startedAt,
    storage,
    isReachable: (member) => peers.isReachable(member),
    residentBytes: () => ports.residentBytes(),
    needsCheckpoint: () => snapshots.isDue(raft),
    maxLogPageEntries: SERVER.maxLogPageEntries,
    maxLogPageBytes: SERVER.maxLogPageBytes,
  };
  const refused = createLogThrottle(clock, SERVER, log);
  const clients = createClients(replica, sources, SERVER, settings.queueLimits, log, refused);
  return { replica, clients, peers, sources, diskSpace };
}
