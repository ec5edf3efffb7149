// Runs a node: it opens its disk, listens, founds a cluster or joins or rejoins one or resumes, serves, and stops.
import { SERVER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { isIncarnation, type Incarnation, type Member } from "../raft/types.ts";
import { openDistrusted, openStorage } from "../storage/open.ts";
import type { Damaged, Opened, OpenStorage, Storage } from "../storage/types.ts";
import type { ByteStream } from "../wire/network.ts";
import { accept, createConnections } from "./acceptor.ts";
import { bootstrapTogether } from "./bootstrap-phase.ts";
import { bootstrapEntry } from "./bootstrap-rules.ts";
import { firstStep } from "./first-step.ts";
import { measureDiskSpace, reservedBytes } from "./disk-watermarks.ts";
import { logDamaged, noKnownMember, rejoinAddresses } from "./rejoin.ts";
import { closeStorage, endRun, finish, hasEnded, type Rejoining, replicaOf, type Run, stopRun } from "./run.ts";
import { establish, requestJoin, serve, watchFiles, writeFirstEntry } from "./serve.ts";
import type { Replica } from "./replica.ts";
import { NEWER_CONTENT } from "./snapshots.ts";
import { statusOf } from "./status.ts";
import type { NodeSettings, OnStopped, Ports, RunningNode, Started } from "./types.ts";

/** A node, over its runs: one that loses its data while it runs ends that run, and in the next one asks to be let in again. */
interface Node {
  readonly ports: Ports;
  readonly settings: NodeSettings;
  readonly onStarted: (started: Started) => void;
  readonly onStopped: OnStopped;
  run: Run;
  /** When the data on its disk were lost last, by its clock. */
  lostAt: number;
  isStopping: boolean;
}

/** Starts a node; `onStarted` is called once it listens, `onStopped` once, at its end. Neither from inside the call. */
export function startNode(
  ports: Ports,
  settings: NodeSettings,
  onStarted: (started: Started) => void,
  onStopped: OnStopped,
): RunningNode {
  const onEnded: Run["onEnded"] = (error, isDataLost) => runEnded(node, onEnded, error, isDataLost);
  const node: Node = {
    ports,
    settings,
    onStarted,
    onStopped,
    run: createRun(ports, settings, onStarted, onEnded),
    lostAt: Number.NEGATIVE_INFINITY,
    isStopping: false,
  };
  openDirectory(node.run, null);
  return {
    id: settings.id,
    status: () => {
      const replica = replicaOf(node.run);
      return replica === null ? null : statusOf(replica);
    },
    clusterId: () => node.run.clusterId,
    stop: () => {
      node.isStopping = true;
      stopRun(node.run);
    },
    inspect: () => {
      const replica = replicaOf(node.run);
      return replica === null ? null : { raft: replica.raft, queue: replica.stateMachine.queue };
    },
  };
}

function runEnded(node: Node, onEnded: Run["onEnded"], error: RaftqError | null, isDataLost: boolean): void {
  const { ports, settings, onStarted, onStopped, isStopping, lostAt } = node;
  const now = ports.clock.now();
  if (error === null || !isDataLost || isStopping || now - lostAt < SERVER.minDataLossIntervalMs)
    return onStopped(error);
  node.lostAt = now;
  node.run = createRun(ports, settings, onStarted, onEnded);
  openDirectory(node.run, error);
}

function createRun(ports: Ports, settings: NodeSettings, onStarted: Run["onStarted"], onEnded: Run["onEnded"]): Run {
  return {
    ports,
    settings,
    startedAt: ports.clock.now(),
    onStarted,
    onEnded,
    connections: createConnections(ports, settings),
    phase: { type: "opening" },
    storage: null,
    listener: null,
    self: null,
    clusterId: null,
    join: null,
  };
}

/** `distrusted`: why the run before no longer trusted the data here; null: it did trust them. */
function openDirectory(run: Run, distrusted: RaftqError | null): void {
  const { disk } = run.ports;
  const onOpened = (opened: Opened): void => {
    if (opened.ok) recovered(run, opened.storage);
    else if (opened.damaged !== null) rejoin(run, opened.error, opened.damaged);
    // No damage after which the others could let it in again: another run would find the same.
    else finish(run, opened.error, false);
  };
  if (distrusted === null) openStorage(disk, storageSettings(run), onOpened);
  else openDistrusted(disk, storageSettings(run), distrusted, onOpened);
}

function storageSettings(run: Run): OpenStorage {
  const { random, clock } = run.ports;
  const { id, segmentBytes } = run.settings;
  return {
    nodeId: id,
    newIncarnation: drawIncarnation(random),
    drawSalt: () => random.below(0x1_0000_0000),
    onFailure: (error) => endRun(run, error instanceof RaftqError ? error : diskFailed(error)),
    after: (ms, callback) => clock.after(ms, callback),
    segmentBytes,
    newerContent: NEWER_CONTENT,
    reservedBytes: (free) => {
      const replica = replicaOf(run);
      return replica === null ? 0 : reservedBytes(replica.diskSpace, free);
    },
    onSpaceChanged: () => {
      const replica = replicaOf(run);
      if (replica !== null) measureDiskSpace(replica.diskSpace);
    },
  };
}

const diskFailed = (error: Error): RaftqError =>
  new RaftqError("DISK_FAILED", `the disk failed: ${error.message}`, error);

function drawIncarnation(random: Random): Incarnation {
  const digits = [0, 1, 2, 3].map(() => random.below(0x1_0000).toString(16).padStart(4, "0")).join("");
  if (!isIncarnation(digits)) throw new Error(`"${digits}" is no incarnation`);
  return digits;
}

function recovered(run: Run, storage: Storage): void {
  const { settings, ports } = run;
  run.storage = storage;
  if (run.phase.type === "ended") return closeStorage(run, storage, run.phase.error);
  watchFiles(run, storage);
  const { identity, summary } = storage.recovered;
  const self = { id: settings.id, incarnation: identity.incarnation, address: settings.advertise };
  run.self = self;
  ports.log({ level: "info", event: "recovered", text: `recovered ${summary}` });
  listen(run, () => begin(run, storage, self));
}

/** The other members must let this node in again, under a new incarnation, before anything here is changed. */
function rejoin(run: Run, why: RaftqError, damaged: Damaged): void {
  const { settings, ports } = run;
  const addresses = rejoinAddresses(settings, damaged.addresses);
  if (run.phase.type === "ended") {
    damaged.unlock();
    return finish(run, run.phase.error, false);
  }
  const rejoining: Rejoining = { type: "rejoining", damaged, why: why.message, isWriting: false };
  run.phase = rejoining;
  if (addresses.length === 0) return endRun(run, noKnownMember(why));
  rejoining.isWriting = true;
  damaged.recordIncarnation((error) => {
    rejoining.isWriting = false;
    if (run.phase.type === "ended") {
      damaged.unlock();
      return finish(run, run.phase.error, false);
    }
    if (error !== null) return endRun(run, error);
    const self = { id: settings.id, incarnation: damaged.incarnation, address: settings.advertise };
    run.self = self;
    logDamaged(ports.log, why, self, addresses);
    listen(run, () => {
      run.onStarted({ id: self.id, address: self.address, clusterId: damaged.clusterId, role: "rejoining" });
      requestJoin(run, self, addresses, damaged.clusterId);
    });
  });
}

function listen(run: Run, then: () => void): void {
  const { settings, ports } = run;
  const acceptStream = (stream: ByteStream): void => accept(run, stream);
  ports.network.listen(settings.host, settings.port, acceptStream, (error, bound) => {
    if (hasEnded(run)) return bound?.close();
    if (error !== null)
      return endRun(run, error instanceof RaftqError ? error : new RaftqError("PORT_IN_USE", error.message, error));
    run.listener = bound;
    try {
      then();
    } catch (problem) {
      if (!(problem instanceof RaftqError)) throw problem;
      endRun(run, problem);
    }
  });
}

/** What a node does with a directory that it can read. */
function begin(run: Run, storage: Storage, self: Member): void {
  const { recovered } = storage;
  const started = (role: Started["role"]): void =>
    run.onStarted({ id: self.id, address: self.address, clusterId: run.clusterId, role });
  const onServing = ({ raft }: Replica): void => started(raft.role);
  const step = firstStep(run.settings, recovered);
  switch (step.type) {
    case "resume": {
      run.clusterId = step.clusterId;
      const replica = serve(run, storage, self, recovered.entries);
      onServing(replica);
      // Killed after it was let in, and before the leader's entries came.
      const isEmpty = replica.raft.configuration.voters.length === 0;
      if (isEmpty && step.others.length > 0) requestJoin(run, self, step.others, step.clusterId);
      return;
    }
    case "establish":
      return establish(run, storage, self, step.entry, onServing);
    case "join":
      run.phase = { type: "joining" };
      started("joining");
      return requestJoin(run, self, step.addresses, step.known);
    case "bootstrap":
      started("bootstrapping");
      return bootstrapTogether(run, storage, self);
    case "foundAlone":
      run.phase = { type: "entering", isFresh: false, firstEntry: null };
      return writeFirstEntry(run, storage, self, bootstrapEntry([self]), onServing);
    case "unusable":
      return endRun(run, new RaftqError("CORRUPT", "this directory held data of a cluster but names none any more"));
  }
}
