// One run of a node, from the opening of its data directory to its end: its state, and how it ends.
import { SERVER } from "../config.ts";
import { failure, type RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { Damaged, Storage } from "../storage/types.ts";
import type { Listener } from "../wire/network.ts";
import { type Bootstrap, stopBootstrap } from "./bootstrap.ts";
import type { Connections } from "./acceptor.ts";
import { pendingCount } from "./clients.ts";
import { isFailure, requestTransfer } from "./inbox.ts";
import { type JoinAttempt, stopJoin } from "./join.ts";
import { isLoss } from "./rejoin.ts";
import { type Replica, stopReplica } from "./replica.ts";
import type { NodeSettings, Ports, Started } from "./types.ts";

export type Phase =
  /** The data directory is opened and recovered, and the port is bound. */
  | { readonly type: "opening" }
  /** The data are lost: the other members must let this node in again, under a new incarnation, before anything on disk is changed. */
  | Rejoining
  /** No cluster yet: it founds one together with others that are as fresh. */
  | Bootstrapping
  /** No cluster yet: it asks to be let in. */
  | { readonly type: "joining" }
  /** It has founded a cluster or was let in; what shows that is being written. The other way to a cluster is closed. */
  | Entering
  | Serving
  | Ended;

export interface Rejoining {
  readonly type: "rejoining";
  readonly damaged: Damaged;
  readonly why: string;
  /** The directory is being changed. If the run ends meanwhile, the code that changes it finds that out when it is done. */
  isWriting: boolean;
}

export interface Bootstrapping {
  readonly type: "bootstrapping";
  readonly bootstrap: Bootstrap;
  /** It may still bootstrap: reported to the other founders as "fresh". Once false, it stays so. */
  isFresh: boolean;
}

export interface Entering {
  readonly type: "entering";
  isFresh: boolean;
  /** As soon as it is durable: every founder that asks from then on must receive it, or would never adopt it. */
  firstEntry: Entry | null;
}

export interface Serving {
  readonly type: "serving";
  readonly replica: Replica;
  /** It hands over leadership and answers what is pending. */
  isStopping: boolean;
}

export interface Ended {
  readonly type: "ended";
  readonly error: RaftqError | null;
  /** What it served with: shown until the directory is closed. */
  readonly replica: Replica | null;
}

export interface Run {
  readonly ports: Ports;
  readonly settings: NodeSettings;
  /** By the node's clock. */
  readonly startedAt: number;
  readonly onStarted: (started: Started) => void;
  /** `isDataLost`: the error means that the data on this disk cannot be trusted. */
  readonly onEnded: (error: RaftqError | null, isDataLost: boolean) => void;
  readonly connections: Connections;
  phase: Phase;
  storage: Storage | null;
  listener: Listener | null;
  /** This node as a member; null while the log is recovered. */
  self: Member | null;
  clusterId: ClusterId | null;
  /** It asks to be let in, or reports its new address; null: neither. */
  join: JoinAttempt | null;
}

/** It serves no more, even if its directory is still being closed. */
export function hasEnded(run: Run): boolean {
  return run.phase.type === "ended";
}

/** What it serves with, or served with when it ended; null: it never served. */
export function replicaOf({ phase }: Run): Replica | null {
  return phase.type === "serving" || phase.type === "ended" ? phase.replica : null;
}

/**
 * Ends the run, once; `error` null: it was asked to. Its owner receives that from `finish`, which is called once, when nobody uses the
 * directory any more: by `closeStorage` if it is open; here if it is only locked, since its data are lost; and otherwise by whoever is
 * busy with it, and then finds that the run has ended: `openDirectory` while it is opened, `rejoin` while the new incarnation is recorded,
 * `replaceData` while the lost data are quarantined.
 */
export function endRun(run: Run, error: RaftqError | null): void {
  const { phase } = run;
  if (phase.type === "ended") return;
  run.phase = { type: "ended", error, replica: replicaOf(run) };
  shutDown(run, phase, error);
  if (run.storage !== null) closeStorage(run, run.storage, error);
  else if (phase.type === "rejoining" && !phase.isWriting) {
    phase.damaged.unlock();
    // Also if the error is the loss itself: this run has begun with it, and another one would end alike.
    finish(run, error, false);
  }
}

/** Nothing is sent or received any more. */
function shutDown(run: Run, phase: Phase, error: RaftqError | null): void {
  if (phase.type === "bootstrapping") stopBootstrap(phase.bootstrap);
  if (run.join !== null) stopJoin(run.join);
  run.listener?.close();
  if (phase.type === "serving") stopReplica(phase.replica);
  const why = failure("CONNECTION_LOST", "this node is stopping");
  for (const connection of run.connections.open.keys()) {
    // What was answered from data that cannot be trusted is not sent any more.
    if (isLoss(error)) connection.abandon(why);
    else connection.close(why);
  }
}

/** Finishes a run that has ended, when what was being written is written and the directory is closed. */
export function closeStorage(run: Run, storage: Storage, error: RaftqError | null): void {
  storage.close(() => finish(run, error, isLoss(error)));
}

/**
 * Reports the end of the run to its owner, in an event of its own: whoever calls this may still use the run. `isDataLost`: the owner
 * begins another run, which does not trust the data here.
 */
export function finish(run: Run, error: RaftqError | null, isDataLost: boolean): void {
  run.ports.clock.after(0, () => run.onEnded(error, isDataLost));
}

/** A serving node hands over leadership and answers its pending requests before it ends. */
export function stopRun(run: Run): void {
  const { phase } = run;
  if (phase.type !== "serving") return endRun(run, null);
  if (phase.isStopping) return;
  phase.isStopping = true;
  const { raft, inbox, clock, log } = phase.replica;
  const deadline = clock.now() + SERVER.stopTimeoutMs;
  if (raft.role !== "leader" || raft.configuration.voters.length < 2) return drain(run, phase.replica, deadline);
  requestTransfer(inbox, null, (result) => {
    if (isFailure(result))
      log({ level: "warn", event: "transfer", text: `leadership was not handed over: ${result.message}` });
    drain(run, phase.replica, deadline);
  });
}

/** Ends the run when no request is pending any more, or when the time is over. */
function drain(run: Run, replica: Replica, deadline: number): void {
  const { clock, clients } = replica;
  replica.requests.isDraining = true;
  if (pendingCount(clients) === 0 || clock.now() >= deadline) return endRun(run, null);
  clock.after(SERVER.drainCheckMs, () => drain(run, replica, deadline));
}
