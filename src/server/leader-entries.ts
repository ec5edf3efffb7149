// Which entries does a leader propose on its own? The version of the state machine, touches of connected sessions, and ticks: for a
// checkpoint, or for what is due.
import type { Clock } from "../lib/clock.ts";
import { encodeTick, encodeTouch, encodeVersion, type TickPurpose } from "../queue/commands.ts";
import type { QueueLimits } from "../queue/limits.ts";
import { firstDueTime, isCheckpoint, isLive, STATE_MACHINE_VERSION } from "../queue/queue.ts";
import type { Draft } from "../raft/entry.ts";
import type { EntryOutcome, Replica } from "./replica.ts";
import type { LogEvent } from "./types.ts";

/** A change of leader restarts the interval, so several must fit into one expiry. */
const TOUCHES_PER_EXPIRY = 8;
/** A session that is touched so often is used again before it may become dormant. */
const TOUCHES_PER_DORMANCY = 3;
/** Of the sessions there may be: from here on touches are frequent, and the log warns; below the lower share it may warn again. */
const CROWDED = 0.8;
const NOT_CROWDED = 0.7;

export interface LeaderEntryLimits {
  /** How often a leader makes a checkpoint when a snapshot needs one, and otherwise. */
  readonly neededCheckpointMs: number;
  readonly checkpointMs: number;
  /** Ticks for due times come no faster. */
  readonly dueTickMs: number;
}

export interface LeaderEntryPorts {
  readonly clock: Clock;
  /** What a new cluster starts with. */
  readonly queueLimits: QueueLimits;
  /** Of the clients that are connected to this node. */
  readonly connectedSessions: () => ReadonlySet<number>;
  readonly needsCheckpoint: () => boolean;
  readonly log: (line: LogEvent) => void;
}

export interface LeaderEntries {
  /** Inside `RequestSource.takeRequests`, before the requests of the turn. */
  propose(): void;
  /** An OPEN is about to be proposed: it may make a session dormant, and that must be none that is connected. Call the result when it has ended. */
  openProposed(): () => void;
  /** Nothing can be served before that was proposed, in a turn of its own. */
  isVersionWanted(): boolean;
}

export function createLeaderEntries(
  replica: Replica,
  limits: LeaderEntryLimits,
  { clock, queueLimits, connectedSessions, needsCheckpoint, log }: LeaderEntryPorts,
): LeaderEntries {
  let isVersionProposed = false;
  let isDueTickProposed = false;
  let dueTickFrom = 0;
  let neededCheckpointFrom = 0;
  let checkpointFrom = clock.now() + limits.checkpointMs;
  let touchedAt = clock.now();
  let opensProposed = 0;
  let hasWarned = false;

  function propose(kind: Draft["kind"], body: Uint8Array, completed: (outcome: EntryOutcome) => void): void {
    replica.propose({ kind, session: 0, number: 0, acknowledgedThrough: 0, body }, { complete: completed });
  }
  const tick = (purpose: TickPurpose, completed: () => void): void => propose("tick", encodeTick(purpose), completed);

  /** While leadership is handed over nothing is taken: to ask for turns then would never end. */
  const isVersionWanted = (): boolean =>
    replica.hasAppliedNoop() && replica.queue().version === 0 && !isVersionProposed && replica.raft.transfer === null;

  /** Once in the life of a cluster; when leadership is lost before the commit, the next leader proposes it. */
  function proposeVersion(): void {
    if (!isVersionWanted()) return;
    isVersionProposed = true;
    propose("version", encodeVersion({ version: STATE_MACHINE_VERSION, limits: queueLimits }), () => {
      isVersionProposed = false;
    });
  }

  const crowd = (): number => (replica.queue().sessionCount + opensProposed) / replica.queue().limits.maxSessions;

  /** Sessions that are connected but silent are kept alive by one entry for all. */
  function touch(): void {
    const now = clock.now();
    const { sessionExpiryMs, dormantAfterMs } = replica.queue().limits;
    const interval = crowd() >= CROWDED ? dormantAfterMs / TOUCHES_PER_DORMANCY : sessionExpiryMs / TOUCHES_PER_EXPIRY;
    if (now < touchedAt + interval) return;
    const before = touchedAt;
    touchedAt = now;
    const sessions = [...connectedSessions()].filter((session) => isLive(replica.queue(), session));
    if (sessions.length === 0) return;
    propose("touch", encodeTouch(sessions), ({ type }) => {
      // Not taken: the next turn tries again.
      if (type === "failed") touchedAt = before;
    });
  }

  /** A snapshot, which shortens the log, stands for a checkpoint: it need not wait for the next one that the entries bring. */
  function makeCheckpoint(): void {
    if (isCheckpoint(replica.queue())) return;
    const now = clock.now();
    if (now < neededCheckpointFrom) return;
    const isNeeded = needsCheckpoint() || replica.raft.progress.values().some(({ diskLow }) => diskLow);
    if (!isNeeded && now < checkpointFrom) return;
    neededCheckpointFrom = now + limits.neededCheckpointMs;
    checkpointFrom = now + limits.checkpointMs;
    tick("checkpoint", () => {});
  }

  /** Time in an entry makes what is due happen; where no other entry comes, a tick does. */
  function makeDueHappen(): void {
    const dueAt = firstDueTime(replica.queue());
    const now = clock.now();
    if (dueAt === null || dueAt > Math.floor(replica.raft.clusterTime) || isDueTickProposed || now < dueTickFrom)
      return;
    isDueTickProposed = true;
    dueTickFrom = now + limits.dueTickMs;
    tick("due times", () => {
      isDueTickProposed = false;
    });
  }

  function warnOfCrowd(): void {
    const { sessionCount, dormantCount, limits: of } = replica.queue();
    const ids = sessionCount + dormantCount;
    const share = Math.max(sessionCount / of.maxSessions, ids / of.maxClientIds);
    if (share < NOT_CROWDED) hasWarned = false;
    if (share < CROWDED || hasWarned) return;
    hasWarned = true;
    const text =
      ids / of.maxClientIds >= CROWDED
        ? `${ids} of ${of.maxClientIds} client ids are in use: when all are, new ones are refused until old ones are forgotten. Use an --id again instead of a new one each time`
        : `${sessionCount} of ${of.maxSessions} sessions are live: when all are, those that nobody has used for the longest become dormant`;
    log({ level: "warn", event: "sessions", text });
  }

  return {
    propose: () => {
      proposeVersion();
      if (!replica.isReadyLeader()) return;
      touch();
      makeCheckpoint();
      makeDueHappen();
      warnOfCrowd();
    },
    openProposed: () => {
      opensProposed++;
      touch();
      return () => void opensProposed--;
    },
    isVersionWanted,
  };
}
