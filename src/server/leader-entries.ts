// The entries that a leader proposes on its own: the version of the state machine, touches of connected sessions, and ticks: for a
// checkpoint, or for what is due.
import { SERVER } from "../config.ts";
import { encodeTick, encodeTouch, encodeVersion, type TickPurpose } from "../queue/commands.ts";
import { firstDueTime, isCheckpoint, isLive, STATE_MACHINE_VERSION } from "../queue/queue.ts";
import type { Draft } from "../raft/entry.ts";
import { connectedSessions } from "./clients.ts";
import { type EntryOutcome, hasAppliedNoop, isReadyLeader, propose } from "./proposals.ts";
import type { Replica } from "./replica.ts";
import { isSnapshotDue } from "./snapshots.ts";

/** Waits for an entry that the leader proposed on its own. */
export type LeaderEntry = { readonly type: "leaderEntry" } & (
  | { readonly kind: "version" | "checkpoint" | "due times" }
  /** `before`: when the sessions were touched last before this one. */
  | { readonly kind: "touch"; readonly before: number }
);

export interface LeaderEntries {
  isVersionProposed: boolean;
  isDueTickProposed: boolean;
  /** When the next of each may be proposed. */
  dueTickFrom: number;
  neededCheckpointFrom: number;
  checkpointFrom: number;
  touchedAt: number;
  /** OPENs that are proposed and not applied yet: each may make a session dormant, and that must be none that is connected. */
  opensProposed: number;
  /** That the sessions are becoming many. */
  hasWarned: boolean;
}

export function createLeaderEntries(now: number): LeaderEntries {
  return {
    isVersionProposed: false,
    isDueTickProposed: false,
    dueTickFrom: 0,
    neededCheckpointFrom: 0,
    checkpointFrom: now + SERVER.checkpointMs,
    touchedAt: now,
    opensProposed: 0,
    hasWarned: false,
  };
}

/** Before the requests of the turn. */
export function proposeLeaderEntries(replica: Replica): void {
  proposeVersion(replica);
  if (!isReadyLeader(replica)) return;
  touchSessions(replica);
  makeCheckpoint(replica);
  makeDueHappen(replica);
  warnOfCrowd(replica);
}

/** An OPEN is about to be proposed. */
export function openProposed(replica: Replica): void {
  replica.leaderEntries.opensProposed++;
  touchSessions(replica);
}

export function leaderEntryEnded(entries: LeaderEntries, entry: LeaderEntry, { type }: EntryOutcome): void {
  switch (entry.kind) {
    case "version":
      entries.isVersionProposed = false;
      return;
    case "touch":
      // Not taken: the next turn tries again.
      if (type === "failed") entries.touchedAt = entry.before;
      return;
    case "due times":
      entries.isDueTickProposed = false;
      return;
    case "checkpoint":
      return;
  }
}

function proposeEntry(replica: Replica, kind: Draft["kind"], body: Uint8Array, entry: LeaderEntry): void {
  propose(replica, { kind, session: 0, number: 0, acknowledgedThrough: 0, body }, entry);
}

/** Nothing can be served before it was proposed, in a turn of its own. While leadership is handed over nothing is taken: to ask for turns then would never end. */
export function isVersionWanted(replica: Replica): boolean {
  const { leaderEntries, raft, stateMachine } = replica;
  const isMissing = stateMachine.queue.version === 0 && !leaderEntries.isVersionProposed;
  return isMissing && hasAppliedNoop(replica) && raft.transfer === null;
}

/** Once in the life of a cluster; when leadership is lost before the commit, the next leader proposes it. */
function proposeVersion(replica: Replica): void {
  if (!isVersionWanted(replica)) return;
  replica.leaderEntries.isVersionProposed = true;
  const body = encodeVersion({ version: STATE_MACHINE_VERSION, limits: replica.settings.queueLimits });
  proposeEntry(replica, "version", body, { type: "leaderEntry", kind: "version" });
}

/** Sessions that are connected but silent are kept alive by one entry for all. */
function touchSessions(replica: Replica): void {
  const { leaderEntries, clock, clients } = replica;
  const { queue } = replica.stateMachine;
  const { sessionExpiryMs, dormantAfterMs, maxSessions } = queue.limits;
  const isCrowded = (queue.sessionCount + leaderEntries.opensProposed) / maxSessions >= SERVER.crowded;
  const interval = isCrowded ? dormantAfterMs / SERVER.touchesPerDormancy : sessionExpiryMs / SERVER.touchesPerExpiry;
  const { touchedAt: before } = leaderEntries;
  const now = clock.now();
  if (now < before + interval) return;
  leaderEntries.touchedAt = now;
  const sessions = [...connectedSessions(clients)].filter((session) => isLive(queue, session));
  if (sessions.length === 0) return;
  proposeEntry(replica, "touch", encodeTouch(sessions), { type: "leaderEntry", kind: "touch", before });
}

/** A snapshot, which shortens the log, stands for a checkpoint: it need not wait for the next one that the entries bring. */
function makeCheckpoint(replica: Replica): void {
  const { leaderEntries, clock, raft, snapshots, diskSpace } = replica;
  if (isCheckpoint(replica.stateMachine.queue)) return;
  const now = clock.now();
  if (now < leaderEntries.neededCheckpointFrom) return;
  const isNeeded = isSnapshotDue(snapshots, diskSpace, raft) || raft.progress.values().some(({ diskLow }) => diskLow);
  if (!isNeeded && now < leaderEntries.checkpointFrom) return;
  leaderEntries.neededCheckpointFrom = now + SERVER.neededCheckpointMs;
  leaderEntries.checkpointFrom = now + SERVER.checkpointMs;
  proposeTick(replica, "checkpoint");
}

/** Time in an entry makes what is due happen; where no other entry comes, a tick does. */
function makeDueHappen(replica: Replica): void {
  const { leaderEntries, clock, raft } = replica;
  const dueAt = firstDueTime(replica.stateMachine.queue);
  const now = clock.now();
  if (dueAt === null || dueAt > Math.floor(raft.clusterTime)) return;
  if (leaderEntries.isDueTickProposed || now < leaderEntries.dueTickFrom) return;
  leaderEntries.isDueTickProposed = true;
  leaderEntries.dueTickFrom = now + SERVER.dueTickMs;
  proposeTick(replica, "due times");
}

function proposeTick(replica: Replica, purpose: TickPurpose): void {
  proposeEntry(replica, "tick", encodeTick(purpose), { type: "leaderEntry", kind: purpose });
}

function warnOfCrowd({ leaderEntries, stateMachine, log }: Replica): void {
  const { sessionCount, dormantCount, limits } = stateMachine.queue;
  const ids = sessionCount + dormantCount;
  const share = Math.max(sessionCount / limits.maxSessions, ids / limits.maxClientIds);
  if (share < SERVER.notCrowded) leaderEntries.hasWarned = false;
  if (share < SERVER.crowded || leaderEntries.hasWarned) return;
  leaderEntries.hasWarned = true;
  const text =
    ids / limits.maxClientIds >= SERVER.crowded
      ? `${ids} of ${limits.maxClientIds} client ids are in use: when all are, new ones are refused until old ones are forgotten. Use an --id again instead of a new one each time`
      : `${sessionCount} of ${limits.maxSessions} sessions are live: when all are, those that nobody has used for the longest become dormant`;
  log({ level: "warn", event: "sessions", text });
}
