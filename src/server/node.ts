// Which phases does a node pass through? It opens its disk, listens, bootstraps, joins, rejoins or resumes, serves, and stops.
import { SERVER, WIRE } from "../config.ts";
import { must } from "../lib/assert.ts";
import { failure, RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import { entryAt } from "../raft/log.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, isIncarnation, type Incarnation, type Member } from "../raft/types.ts";
import { openDistrusted, openStorage } from "../storage/open.ts";
import type { Damaged, Opened, Storage } from "../storage/types.ts";
import type { Listener } from "../wire/network.ts";
import type { NodeStatus } from "../wire/protocol.ts";
import { createAcceptor, type Acceptor } from "./acceptor.ts";
import { bootstrap, BOOTSTRAP, type Bootstrap } from "./bootstrap.ts";
import {
  clusterIdOf,
  bootstrapEntry,
  bootstrapEntryFrom,
  bootstrapSet,
  type BootstrapStatement,
  isUnusedAndAlone,
} from "./bootstrap-rules.ts";
import { join, JOIN, type JoinAttempt } from "./join.ts";
import { createLogThrottle } from "./log-throttle.ts";
import type { Replica } from "./replica.ts";
import { createClusterMember, type ClusterMember } from "./member.ts";
import { statusOf } from "./status.ts";
import { restartOnDataLoss, type OnRunEnded } from "./restart-on-data-loss.ts";
import { rejoinAddresses, isLoss, noKnownMember, logDamaged, logQuarantined } from "./rejoin.ts";
import { stopGracefully } from "./graceful-stop.ts";
import { NEWER_CONTENT } from "./snapshots.ts";
import { checkFiles, refreshAddress } from "./address-refresh.ts";
import type { NodeSettings, OnStopped, Ports, RunningNode, Started } from "./types.ts";

/** Starts a node; `onStarted` is called once it listens, `onStopped` once, at its end. Neither from inside the call. */
export function startNode(
  ports: Ports,
  settings: NodeSettings,
  onStarted: (started: Started) => void,
  onStopped: OnStopped,
): RunningNode {
  return restartOnDataLoss(
    ports.clock,
    (distrusted, onEnded) => startRun(ports, settings, distrusted, onStarted, onEnded),
    onStopped,
  );
}

/** One run: from the opening of the data directory to the end. `distrusted`: why the run before no longer trusted the data. */
function startRun(
  ports: Ports,
  settings: NodeSettings,
  distrusted: RaftqError | null,
  onStarted: (started: Started) => void,
  onEnded: OnRunEnded,
): RunningNode {
  const { clock, disk, network, random, log } = ports;
  const startedAt = clock.now();
  let storage: Storage | null = null;
  /** The data here are lost: this node rejoins. */
  let lost: { readonly damaged: Damaged; readonly why: string; replacing: boolean } | null = null;
  let listener: Listener | null = null;
  let self: Member | null = null;
  let clusterId: ClusterId | null = null;
  let serving: ClusterMember | null = null;
  let bootstrapping: Bootstrap | null = null;
  /** It may still bootstrap: reported to the other founders as "fresh". Once false, it stays so. */
  let mayBootstrap = false;
  let joining: JoinAttempt | null = null;
  /** It writes a first entry, or was let in: the other way to a cluster is closed, even while the disk still writes. */
  let settled = false;
  /** The first entry, as soon as it is durable: every founder that asks from then on must receive it, or would never adopt it. */
  let firstEntry: Entry | null = null;
  let stopping = false;
  /** Set as soon as the node ends. */
  let ending: { readonly error: RaftqError | null } | null = null;

  const acceptor: Acceptor = createAcceptor({
    clock,
    limits: WIRE,
    maxConnections: settings.maxConnections,
    maxBufferedBytes: settings.maxBufferedBytes,
    log,
    refused: createLogThrottle(clock, SERVER, log),
    self: () => self,
    clusterId: () => clusterId,
    serving: () => serving,
    whyNotServing: () =>
      lost === null
        ? failure("STARTING", "this node is not a member of a cluster yet")
        : failure("RECOVERING", `${settings.id} has lost its data (${lost.why}); ${joining?.state() ?? "starting"}`),
    onBootstrapStatement: (from, theirs) => {
      const own = ownStatement();
      // Later, so that our statement still reaches the other side when theirs makes us refuse.
      clock.after(0, () => bootstrapping?.received(from, theirs));
      return own;
    },
    onForeignMember: (theirs, from) => {
      if (bootstrapping !== null) return abandonBootstrap(from);
      if (serving !== null && settings.join.length === 0 && isUnusedAndAlone(serving.replica.raft))
        fatal(givesWay(theirs, from));
    },
  });

  const givesWay = (theirs: ClusterId, from: Member): RaftqError => {
    const why = `cluster ${theirs}, of ${from.id} at ${from.address}, has ${settings.id} as a member, but this node founded ${clusterId} alone`;
    return new RaftqError("CLUSTER_MISMATCH", `${why}; start it with an empty --data and --join ${from.address}`);
  };

  const storageSettings = {
    nodeId: settings.id,
    newIncarnation: drawIncarnation(),
    drawSalt: () => random.below(0x1_0000_0000),
    onFailure: (error: Error) =>
      fatal(
        error instanceof RaftqError ? error : new RaftqError("DISK_FAILED", `the disk failed: ${error.message}`, error),
      ),
    after: (ms: number, callback: () => void) => clock.after(ms, callback),
    segmentBytes: settings.segmentBytes,
    newerContent: NEWER_CONTENT,
    reservedBytes: (free: number) => serving?.diskSpace.bytesKept(free) ?? 0,
    onSpaceChanged: () => serving?.diskSpace.measure(),
  };
  if (distrusted === null) openStorage(disk, storageSettings, took);
  else openDistrusted(disk, storageSettings, distrusted, took);

  function took(opened: Opened): void {
    if (!opened.ok) return opened.damaged === null ? finish(opened.error) : rejoin(opened.error, opened.damaged);
    const taken = opened.storage;
    storage = taken;
    if (ending !== null) return closeStorage(ending.error);
    checkFiles(clock, SERVER.fileCheckMs, taken, () => ending !== null);
    const { identity, summary } = taken.recovered;
    const own = { id: settings.id, incarnation: identity.incarnation, address: settings.advertise };
    self = own;
    log({ level: "info", event: "recovered", text: `recovered ${summary}` });
    listen(() => begin(taken, own));
  }

  /** The other members must let this node in again, under a new incarnation, before anything here is changed. */
  function rejoin(why: RaftqError, damaged: Damaged): void {
    const addresses = rejoinAddresses(settings, damaged.addresses);
    lost = { damaged, why: why.message, replacing: false };
    if (ending !== null) return closeStorage(ending.error);
    if (addresses.length === 0) return fatal(noKnownMember(why));
    lost.replacing = true;
    damaged.recordIncarnation((error) => {
      lost = { damaged, why: why.message, replacing: false };
      if (ending !== null) return closeStorage(ending.error);
      if (error !== null) return fatal(error);
      const own = { id: settings.id, incarnation: damaged.incarnation, address: settings.advertise };
      self = own;
      logDamaged(log, why, own, addresses);
      listen(() => {
        onStarted({ id: own.id, address: own.address, clusterId: damaged.clusterId, role: "recovering" });
        requestJoin(own, addresses, damaged.clusterId);
      });
    });
  }

  function drawIncarnation(): Incarnation {
    const digits = [0, 1, 2, 3].map(() => random.below(0x1_0000).toString(16).padStart(4, "0")).join("");
    if (!isIncarnation(digits)) throw new Error(`"${digits}" is no incarnation`);
    return digits;
  }

  function listen(then: () => void): void {
    network.listen(settings.host, settings.port, acceptor.accept, (error, bound) => {
      if (ending !== null) return bound?.close();
      if (error !== null)
        return fatal(error instanceof RaftqError ? error : new RaftqError("PORT_IN_USE", error.message, error));
      listener = bound;
      try {
        then();
      } catch (problem) {
        if (!(problem instanceof RaftqError)) throw problem;
        fatal(problem);
      }
    });
  }

  function begin(opened: Storage, own: Member): void {
    const { identity, entries, hadData, knownMembers } = opened.recovered;
    const others = rejoinAddresses(settings, knownMembers?.addresses ?? []);
    const started = (role: Started["role"]): void => onStarted({ id: own.id, address: own.address, clusterId, role });
    const first = entries[0];
    if (identity.clusterId !== null) {
      clusterId = identity.clusterId;
      const { replica } = serve(opened, own, opened.recovered.entries);
      started(replica.raft.role);
      if (replica.raft.configuration.voters.length === 0 && others.length > 0)
        requestJoin(own, others, identity.clusterId);
    } else if (first !== undefined && first.index === 1 && first.kind === "config") {
      // Killed between the first entry and the cluster id: the id follows from the entry.
      establish(opened, own, first, ({ raft }) => started(raft.role));
    } else if (hadData && others.length > 0) {
      started("joining");
      requestJoin(own, others, knownMembers?.clusterId);
    } else if (settings.join.length > 0 && settings.expect === null) {
      started("joining");
      requestJoin(own, settings.join);
    } else if (hadData) {
      fatal(new RaftqError("CORRUPT", "this directory held data of a cluster but names none any more"));
    } else if (settings.join.length > 0 || (settings.expect ?? 1) > 1) {
      started("bootstrapping");
      bootstrapTogether(opened, own);
    } else {
      writeFirstEntry(opened, own, bootstrapEntry([own]), ({ raft }) => started(raft.role));
    }
  }

  /**
   * "Fresh" until its first entry is durable, also while it takes over another founder's. Only the lowest id concludes anything from
   * that, and it has written this very entry, unless its disk was lost meanwhile: then it may bootstrap once more with those that are
   * fresh. Both clusters have the same members' addresses, and each node belongs to one of them for good: only one ever has a
   * majority, so nothing acknowledged is lost; the nodes of the other one log CLUSTER_MISMATCH until a person wipes them. "Not fresh"
   * without an entry would be worse: its receiver would ask to be let into a cluster that may never begin.
   */
  function ownStatement(): BootstrapStatement {
    const set = bootstrapSet(settings.join, settings.advertise);
    const record = (serving === null ? firstEntry : firstEntryOf(serving.replica.raft))?.record ?? null;
    return { expect: settings.expect ?? set.length, set, fresh: mayBootstrap, record };
  }

  /** A founder that missed the bootstrap needs it to vote: it may be the one that makes a majority when others have lost their disks. */
  function firstEntryOf(raft: Raft): Entry | null {
    const first = entryAt(raft.log, 1);
    if (first !== undefined) return first.kind === "config" ? first : null;
    return clusterId === null ? null : bootstrapEntryFrom(raft.configuration, clusterId);
  }

  function bootstrapTogether(opened: Storage, own: Member): void {
    const set = bootstrapSet(settings.join, settings.advertise);
    const expect = settings.expect ?? set.length;
    if (set.length !== expect) {
      return fatal(
        new RaftqError("USAGE", `--expect ${expect} does not fit the ${set.length} founders named: ${set.join(", ")}`),
      );
    }
    const statement = { expect, set, fresh: true, record: null };
    mayBootstrap = true;
    bootstrapping = bootstrap({ network, clock, limits: WIRE, settings: BOOTSTRAP, log }, own, statement, (result) => {
      switch (result.type) {
        case "founded":
          settled = true;
          joining?.stop();
          joining = null;
          return writeFirstEntry(opened, own, result.entry, () => {});
        case "join":
          mayBootstrap = false;
          log({ level: "info", event: "joining", text: "a cluster exists there already: asking to be let in" });
          return requestJoin(
            own,
            settings.join.filter((address) => address !== own.address),
          );
        case "refused":
          return fatal(result.error);
      }
    });
  }

  /**
   * A member of a living cluster knows this address: this directory was wiped. The node must be let in again by that cluster, under a
   * new incarnation, and bootstraps no other one.
   */
  function abandonBootstrap(from: Member): void {
    // A founder of our own set that was quicker: asked, it gives us its first entry.
    if (settled || ownStatement().set.includes(from.address)) return;
    bootstrapping?.stop();
    bootstrapping = null;
    mayBootstrap = false;
    log({
      level: "info",
      event: "joining",
      text: `${from.id} of an existing cluster knows this address: asking to be let in`,
    });
    const own = must(self, "this node as a member");
    requestJoin(own, [from.address, ...settings.join.filter((address) => address !== own.address)]);
  }

  /**
   * The entry first, the cluster id second: a crash between the two leaves a log from which the id follows. On a full disk the entry
   * waits for space, and the id for the entry: a directory that names a cluster and holds nothing of it could never go on.
   */
  function writeFirstEntry(opened: Storage, own: Member, entry: Entry, served: (replica: Replica) => void): void {
    opened.persist({ seq: 0, hardState: null, entries: [entry], snapshot: null, sendAfter: [] }, (unwritten) => {
      if (ending !== null) return;
      if (unwritten === null) return establish(opened, own, entry, served);
      const text = "the disk is too full for the first entry of the log: this node bootstraps when there is space";
      log({ level: "warn", event: "disk-low", text });
      opened.whenSpace(() => {
        if (ending === null) writeFirstEntry(opened, own, entry, served);
      });
    });
  }

  function establish(opened: Storage, own: Member, entry: Entry, served: (replica: Replica) => void): void {
    firstEntry = entry;
    mayBootstrap = false;
    const id = clusterIdOf(entry);
    opened.setCluster(id, () => {
      if (ending !== null) return;
      clusterId = id;
      bootstrapping = null;
      const alone = settings.join.length === 0;
      log({
        level: alone ? "warn" : "info",
        event: "founded",
        text: alone ? `FOUNDED new cluster ${id}` : `member of the new cluster ${id}`,
      });
      served(serve(opened, own, [entry]).replica);
    });
  }

  /** `known`: the cluster that it must be. */
  function requestJoin(own: Member, addresses: readonly string[], known: ClusterId | null = null): void {
    joining?.stop();
    const joinPorts = { network, clock, limits: WIRE, settings: JOIN, log };
    const joined = (id: ClusterId): void => {
      joining = null;
      bootstrapping?.stop();
      bootstrapping = null;
      if (serving !== null || ending !== null || settled) return;
      settled = true;
      if (lost !== null) return resumeEmpty(lost, own, id);
      const opened = must(storage, "the storage");
      opened.setCluster(id, () => {
        if (ending !== null) return;
        clusterId = id;
        log({ level: "info", event: "joined", text: `let into cluster ${id} as a learner` });
        serve(opened, own, []);
      });
    };
    joining = join(joinPorts, own, addresses, known, joined, fatal);
  }

  /** A majority has let the new incarnation in: the lost data are quarantined, and the node starts with an empty log. */
  function resumeEmpty(from: NonNullable<typeof lost>, own: Member, id: ClusterId): void {
    from.replacing = true;
    from.damaged.quarantineAndReopen(id, (opened) => {
      lost = null;
      if (!opened.ok) {
        opened.damaged?.unlock();
        ending ??= { error: opened.error };
        quiet();
        return finish(ending.error, isLoss(ending.error));
      }
      storage = opened.storage;
      if (ending !== null) return closeStorage(ending.error);
      checkFiles(clock, SERVER.fileCheckMs, opened.storage, () => ending !== null);
      clusterId = id;
      logQuarantined(log, id);
      serve(opened.storage, own, []);
    });
  }

  function serve(opened: Storage, own: Member, entries: readonly Entry[]): ClusterMember {
    const name = { own, clusterId: must(clusterId, "the cluster id"), startedAt };
    const begun = createClusterMember(ports, settings, opened, name, entries, fatal);
    serving = begun;
    const { raft } = begun.replica;
    begun.peers.start(begun.replica);
    const moved = (addresses: readonly string[]): void => {
      if (joining === null) requestJoin(own, addresses, clusterId);
    };
    const { membershipCheckMs: intervalMs } = SERVER;
    refreshAddress({ clock, log, storage: opened, intervalMs, isEnding: () => ending !== null, moved }, own, raft);
    return begun;
  }

  function fatal(error: RaftqError): void {
    if (ending !== null) return;
    ending = { error };
    quiet();
    closeStorage(error);
  }

  function quiet(): void {
    bootstrapping?.stop();
    joining?.stop();
    listener?.close();
    serving?.replica.halt();
    serving?.peers.stop();
    serving?.diskSpace.stop();
    acceptor.closeAll(failure("CONNECTION_LOST", "this node is stopping"));
  }

  /** What opens or replaces the directory at this moment checks `ending` when it is done. */
  function closeStorage(error: RaftqError | null): void {
    if (storage !== null) return storage.close(() => finish(error, isLoss(error)));
    if (lost === null || lost.replacing) return;
    lost.damaged.unlock();
    finish(error);
  }

  function finish(error: RaftqError | null, dataLost = false): void {
    clock.after(0, () => onEnded(error, dataLost));
  }

  function stop(): void {
    if (ending !== null || stopping) return;
    stopping = true;
    const close = (): void => {
      if (ending !== null) return;
      ending = { error: null };
      quiet();
      closeStorage(null);
    };
    if (serving === null) close();
    else stopGracefully(serving, clock, log, close);
  }

  return {
    id: settings.id,
    status: (): NodeStatus | null => (serving === null ? null : statusOf(serving.replica, serving.sources)),
    clusterId: () => clusterId,
    stop,
    inspect: () => (serving === null ? null : { raft: serving.replica.raft, queue: serving.replica.queue() }),
  };
}
