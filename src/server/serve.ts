// Becoming a serving member: writes the first entry of a new cluster, or the id of the one that has let this node in, and serves.
import { SERVER } from "../config.ts";
import { must } from "../lib/assert.ts";
import type { RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import { type ClusterId, type Member, memberId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { stopBootstrap } from "./bootstrap.ts";
import { clusterIdOf } from "./bootstrap-rules.ts";
import { startJoin, stopJoin } from "./join.ts";
import { membersOf } from "./members.ts";
import { isLoss, logQuarantined } from "./rejoin.ts";
import { createReplica, type Replica, startReplica } from "./replica.ts";
import { closeStorage, endRun, finish, hasEnded, type Rejoining, type Run } from "./run.ts";

/** Asks those at `addresses` to let this node in, or to record its new address. `known`: the cluster that it must be. */
export function requestJoin(run: Run, self: Member, addresses: readonly string[], known: ClusterId | null): void {
  const { network, clock, log } = run.ports;
  if (run.join !== null) stopJoin(run.join);
  run.join = startJoin({ network, clock, log }, self, addresses, known, (result) => {
    if (result.ok) joined(run, self, result.clusterId);
    else endRun(run, result.error);
  });
}

function joined(run: Run, self: Member, id: ClusterId): void {
  const { phase } = run;
  run.join = null;
  switch (phase.type) {
    case "opening":
    case "entering":
    case "serving":
    case "ended":
      return;
    case "rejoining":
      return replaceData(run, phase, self, id);
    case "bootstrapping":
      stopBootstrap(phase.bootstrap);
      return enterCluster(run, self, id);
    case "joining":
      return enterCluster(run, self, id);
  }
}

function enterCluster(run: Run, self: Member, id: ClusterId): void {
  const storage = must(run.storage, "the storage");
  run.phase = { type: "entering", isFresh: false, firstEntry: null };
  storage.setCluster(id, () => {
    if (hasEnded(run)) return;
    run.clusterId = id;
    run.ports.log({ level: "info", event: "joined", text: `let into cluster ${id} as a learner` });
    serve(run, storage, self, []);
  });
}

/** A majority has let the new incarnation in: the lost data are quarantined, and the node starts with an empty log. */
function replaceData(run: Run, phase: Rejoining, self: Member, id: ClusterId): void {
  phase.isWriting = true;
  phase.damaged.quarantineAndReopen(id, (opened) => {
    if (!opened.ok) {
      opened.damaged?.unlock();
      const error = run.phase.type === "ended" ? run.phase.error : opened.error;
      endRun(run, error);
      return finish(run, error, isLoss(error));
    }
    run.storage = opened.storage;
    if (run.phase.type === "ended") return closeStorage(run, opened.storage, run.phase.error);
    watchFiles(run, opened.storage);
    run.clusterId = id;
    logQuarantined(run.ports.log, id);
    serve(run, opened.storage, self, []);
  });
}

/**
 * The entry first, the cluster id second: a crash between the two leaves a log from which the id follows. On a full disk the entry
 * waits for space, and the id for the entry: a directory that names a cluster and holds nothing of it could never go on.
 */
export function writeFirstEntry(
  run: Run,
  storage: Storage,
  self: Member,
  entry: Entry,
  onServing: (replica: Replica) => void,
): void {
  storage.persist({ seq: 0, hardState: null, entries: [entry], snapshot: null, sendAfter: [] }, (unwritten) => {
    if (hasEnded(run)) return;
    if (unwritten === null) return establish(run, storage, self, entry, onServing);
    const text = "the disk is too full for the first entry of the log: this node bootstraps when there is space";
    run.ports.log({ level: "warn", event: "disk-low", text });
    storage.whenSpace(() => {
      if (!hasEnded(run)) writeFirstEntry(run, storage, self, entry, onServing);
    });
  });
}

/** The first entry is durable, and the id of the cluster follows from it. */
export function establish(
  run: Run,
  storage: Storage,
  self: Member,
  entry: Entry,
  onServing: (replica: Replica) => void,
): void {
  run.phase = { type: "entering", isFresh: false, firstEntry: entry };
  const id = clusterIdOf(entry);
  storage.setCluster(id, () => {
    if (hasEnded(run)) return;
    run.clusterId = id;
    const isAlone = run.settings.join.length === 0;
    const text = isAlone ? `FOUNDED new cluster ${id}` : `member of the new cluster ${id}`;
    run.ports.log({ level: isAlone ? "warn" : "info", event: "founded", text });
    onServing(serve(run, storage, self, [entry]));
  });
}

/** `entries`: what the log holds behind the snapshot. Throws CORRUPT when that is damaged. */
export function serve(run: Run, storage: Storage, self: Member, entries: readonly Entry[]): Replica {
  const { ports, settings, startedAt } = run;
  const clusterId = must(run.clusterId, "the cluster id");
  const onFatal = (error: RaftqError): void => endRun(run, error);
  const replica = createReplica(ports, settings, { self, clusterId, startedAt, storage, entries, onFatal });
  run.phase = { type: "serving", replica, isStopping: false };
  startReplica(replica);
  refreshAddressLater(run, replica, false);
  return replica;
}

function refreshAddressLater(run: Run, replica: Replica, wasMember: boolean): void {
  run.ports.clock.after(SERVER.membershipCheckMs, () => refreshAddress(run, replica, wasMember));
}

/** Does the cluster know this node's present address, and does this node have the other members' addresses on disk? */
function refreshAddress(run: Run, replica: Replica, wasMember: boolean): void {
  const { raft, self, storage, log, clusterId } = replica;
  if (hasEnded(run)) return;
  const members = membersOf(raft).map(({ member }) => member);
  const known = members.find((member) => memberId(member) === memberId(self));
  const others = members.filter((member) => member !== known).map(({ address }) => address);
  if (known !== undefined) {
    storage.recordKnownMembers(others);
    if (known.address !== self.address) {
      const text = `reporting the new address ${self.address} to the cluster (was ${known.address})`;
      log({ level: "info", event: "moved", text });
      if (run.join === null) requestJoin(run, self, [self.address, ...others], clusterId);
    }
  } else if (wasMember) {
    // A removed node does not rejoin by itself, even if it loses its data.
    storage.recordKnownMembers([]);
    log({ level: "warn", event: "removed", text: "this node was removed from the cluster; it can be stopped" });
  }
  refreshAddressLater(run, replica, known !== undefined);
}

/** Checks periodically that its files are still in their directory. */
export function watchFiles(run: Run, storage: Storage): void {
  run.ports.clock.after(SERVER.fileCheckMs, () => {
    if (hasEnded(run)) return;
    storage.checkFiles();
    watchFiles(run, storage);
  });
}
