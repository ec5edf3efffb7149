// What a node reports about itself: read-only pictures of raft, queue and storage for `status`, `log` and `trace`.
import { SERVER } from "../config.ts";
import { Malformed } from "../lib/messagepack.ts";
import { decodeOpen } from "../queue/commands.ts";
import { clientOf } from "../queue/queue.ts";
import { fieldsOf } from "../raft/entry.ts";
import { entryAt } from "../raft/log.ts";
import type { Raft } from "../raft/raft.ts";
import { type LogIndex, type MemberId, memberId, nodeIdOf } from "../raft/types.ts";
import type { LogLine, LogPage, MemberStatus, NodeState, NodeStatus, Trace } from "../wire/protocol.ts";
import { leaderAddressOf, membersOf } from "./members.ts";
import { isReachable } from "./peers.ts";
import type { Replica } from "./replica.ts";
import { stageTimes } from "./stages.ts";

export function statusOf(replica: Replica): NodeStatus {
  const { raft, peers, storage, clock } = replica;
  const { queue } = replica.stateMachine;
  const members = membersOf(raft).map(({ member, role }): MemberStatus => {
    const id = memberId(member);
    const reachable = id === raft.self || isReachable(peers, id);
    const matchIndex = raft.role === "leader" ? matchOf(raft, id) : 0;
    const diskLow = id === raft.self ? raft.diskLow : (raft.progress.get(id)?.diskLow ?? false);
    const { id: name, incarnation, address } = member;
    return { id: name, incarnation, address, role, reachable, matchIndex, diskLow };
  });
  return {
    node: replica.self,
    clusterId: replica.clusterId,
    state: raft.role satisfies NodeState,
    term: raft.currentTerm,
    leader: raft.leader === null ? null : nodeIdOf(raft.leader),
    leaderAddress: leaderAddressOf(raft),
    commitIndex: raft.commitIndex,
    appliedIndex: queue.appliedIndex,
    firstIndex: raft.log.firstIndex,
    lastIndex: raft.log.lastIndex,
    snapshotIndex: raft.snapshot?.index ?? 0,
    members,
    ready: queue.ready,
    readyBytes: queue.readyBytes,
    sessions: queue.sessionCount,
    dormantSessions: queue.dormantCount,
    uptimeMs: Math.round(clock.now() - replica.startedAt),
    residentBytes: replica.residentBytes(),
    logBytes: storage.logBytes(),
    checkpoint: replica.stateCheck.compared,
    times: stageTimes(replica.stages),
  };
}

/** The leader's own match is what its own disk has confirmed. */
function matchOf(raft: Raft, member: MemberId): LogIndex {
  return member === raft.self ? raft.log.durableIndex : (raft.progress.get(member)?.matchIndex ?? 0);
}

/** Whose session it was, when it is closed: its OPEN has the session's id as its index. "": the log no longer holds that. */
function openerOf(raft: Raft, session: number): string {
  const opening = entryAt(raft.log, session);
  if (opening === undefined) return "";
  const { kind, body } = fieldsOf(opening);
  if (kind !== "open") return "";
  try {
    return decodeOpen(body).clientId;
  } catch (error) {
    if (error instanceof Malformed) return "";
    throw error;
  }
}

/** Entries from..to (`to` 0: the last), the newest that fit into one answer, oldest first. */
export function logPageOf({ raft, stateMachine, self }: Replica, from: LogIndex, to: LogIndex): LogPage {
  const { queue } = stateMachine;
  const last = to === 0 ? raft.log.lastIndex : Math.min(to, raft.log.lastIndex);
  const first = Math.max(from, raft.log.firstIndex);
  const entries: LogLine[] = [];
  let bytes = 0;
  let index = last;
  for (; index >= first && entries.length < SERVER.maxLogPageEntries; index--) {
    const entry = entryAt(raft.log, index);
    if (entry === undefined) break;
    bytes += entry.record.length;
    if (bytes > SERVER.maxLogPageBytes && entries.length > 0) break;
    const { term, kind, wall, session, number, body } = fieldsOf(entry);
    const client = session === 0 ? "" : (clientOf(queue, session) ?? openerOf(raft, session));
    entries.push({ index, term, kind, wall, client, requestNumber: number, body });
  }
  return {
    node: self.id,
    term: raft.currentTerm,
    snapshotIndex: raft.snapshot?.index ?? 0,
    commitIndex: raft.commitIndex,
    appliedIndex: queue.appliedIndex,
    firstIndex: raft.log.firstIndex,
    lastIndex: raft.log.lastIndex,
    more: index >= first,
    entries: entries.reverse(),
  };
}

/** The way of the entry at `index`, as this leader saw it; null: that is no longer known. */
export function traceOf({ raft, traces, self }: Replica, index: LogIndex): Trace | null {
  const times = traces.timesOf(index);
  if (times === null) return null;
  const durable = times.durable.map(({ member, microseconds }) => ({ id: nodeIdOf(member), microseconds }));
  const { committedMicroseconds } = times;
  const voters = raft.configuration.voters.length;
  return { index, term: raft.currentTerm, leader: self.id, durable, committedMicroseconds, voters };
}
