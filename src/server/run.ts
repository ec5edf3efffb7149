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
  /** The directory is being changed: what does that goes on, and then finds that the run has ended. */
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

/** Asked by whatever goes on behind a callback: nothing more is begun in a run that has ended. */
export function hasEnded(run: Run): boolean {
  return run.phase.type === "ended";
}

/** What serves, or served until the end: its status is shown in both. */
export function replicaOf({ phase }: Run): Replica | null {
  return phase.type === "serving" || phase.type === "ended" ? phase.replica : null;
}

/**
 * Ends the run, once; `error` null: it was asked to. `finish` follows once nothing holds the directory any more. Who calls it:
 * - while the directory is opened, or its damage is written down (`isWriting`): whoever does that, when it finds that the run has ended;
 * - with an open storage: `closeStorage`, when it is closed;
 * - rejoining, and nothing is being written: this function.
 */
export function endRun(run: Run, error: RaftqError | null): void {
  const { phase } = run;
  if (phase.type === "ended") return;
  run.phase = { type: "ended", error, replica: replicaOf(run) };
  shutDown(run, phase, error);
  if (run.storage !== null) closeStorage(run, run.storage, error);
  else if (phase.type === "rejoining" && !phase.isWriting) {
    phase.damaged.unlock();
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

export function closeStorage(run: Run, storage: Storage, error: RaftqError | null): void {
  storage.close(() => finish(run, error, isLoss(error)));
}

/**
 * Reports the end, and not from inside the call that ends it. `isDataLost`: data that were trusted until now are lost, so the node asks
 * to be let in again. False where they were known to be lost before: that would be tried again for ever.
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
