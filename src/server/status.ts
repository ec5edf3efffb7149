// What does a node report about itself? Read-only pictures of raft, queue and storage for `status` and `log`.
import type { Clock } from "../lib/clock.ts";
import { Malformed } from "../lib/messagepack.ts";
import { decodeOpen } from "../queue/commands.ts";
import { clientOf } from "../queue/queue.ts";
import { fieldsOf } from "../raft/entry.ts";
import { entryAt } from "../raft/log.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type LogIndex, type Member, type MemberId, memberId, nodeIdOf } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import type { LogLine, LogPage, MemberRole, MemberStatus, NodeState, NodeStatus, Trace } from "../wire/protocol.ts";
import type { Replica } from "./replica.ts";

/** What does not change while a node serves, and what only the edge knows. */
export interface StatusSources {
  readonly self: Member;
  readonly clusterId: ClusterId;
  readonly clock: Clock;
  readonly startedAt: number;
  readonly storage: Storage;
  readonly isReachable: (member: MemberId) => boolean;
  readonly residentBytes: () => number;
  /** The log should be shortened: all that a snapshot lacks is a checkpoint. */
  readonly needsCheckpoint: () => boolean;
  readonly maxLogPageEntries: number;
  readonly maxLogPageBytes: number;
}

/** Every member of the configuration once: a voter of both halves of a joint configuration is a voter. */
export function membersOf(raft: Raft): readonly { readonly member: Member; readonly role: MemberRole }[] {
  const { voters, outgoing, learners } = raft.configuration;
  const seen = new Map<MemberId, { readonly member: Member; readonly role: MemberRole }>();
  const add = (members: readonly Member[], role: MemberRole): void => {
    for (const member of members) if (!seen.has(memberId(member))) seen.set(memberId(member), { member, role });
  };
  add(voters, "voter");
  add(outgoing, "outgoing");
  add(learners, "learner");
  return [...seen.values()];
}

export function leaderAddressOf(raft: Raft): string | null {
  if (raft.leader === null) return null;
  return membersOf(raft).find(({ member }) => memberId(member) === raft.leader)?.member.address ?? null;
}

export function statusOf(replica: Replica, sources: StatusSources): NodeStatus {
  const { raft } = replica;
  const queue = replica.queue();
  const members = membersOf(raft).map(({ member, role }): MemberStatus => {
    const id = memberId(member);
    const reachable = id === raft.self || sources.isReachable(id);
    const matchIndex = raft.role === "leader" ? matchOf(raft, id) : 0;
    const diskLow = id === raft.self ? raft.diskLow : (raft.progress.get(id)?.diskLow ?? false);
    const { id: name, incarnation, address } = member;
    return { id: name, incarnation, address, role, reachable, matchIndex, diskLow };
  });
  return {
    node: sources.self,
    clusterId: sources.clusterId,
    state: raft.role satisfies NodeState,
    term: raft.currentTerm,
    leader: raft.leader === null ? null : nodeIdOf(raft.leader),
    leaderAddress: leaderAddressOf(raft),
    commitIndex: raft.commitIndex,
    appliedIndex: replica.appliedIndex(),
    firstIndex: raft.log.firstIndex,
    lastIndex: raft.log.lastIndex,
    snapshotIndex: raft.snapshot?.index ?? 0,
    members,
    ready: queue.ready,
    readyBytes: queue.readyBytes,
    sessions: queue.sessionCount,
    dormantSessions: queue.dormantCount,
    uptimeMs: Math.round(sources.clock.now() - sources.startedAt),
    residentBytes: sources.residentBytes(),
    logBytes: sources.storage.logBytes(),
    checkpoint: replica.stateCheck.compared(),
    times: replica.stages.times(),
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
export function logPageOf(replica: Replica, sources: StatusSources, from: LogIndex, to: LogIndex): LogPage {
  const { raft } = replica;
  const last = to === 0 ? raft.log.lastIndex : Math.min(to, raft.log.lastIndex);
  const first = Math.max(from, raft.log.firstIndex);
  const entries: LogLine[] = [];
  let bytes = 0;
  let index = last;
  for (; index >= first && entries.length < sources.maxLogPageEntries; index--) {
    const entry = entryAt(raft.log, index);
    if (entry === undefined) break;
    bytes += entry.record.length;
    if (bytes > sources.maxLogPageBytes && entries.length > 0) break;
    const { term, kind, wall, session, number, body } = fieldsOf(entry);
    const client = session === 0 ? "" : (clientOf(replica.queue(), session) ?? openerOf(raft, session));
    entries.push({ index, term, kind, wall, client, requestNumber: number, body });
  }
  return {
    node: sources.self.id,
    term: raft.currentTerm,
    snapshotIndex: raft.snapshot?.index ?? 0,
    commitIndex: raft.commitIndex,
    appliedIndex: replica.appliedIndex(),
    firstIndex: raft.log.firstIndex,
    lastIndex: raft.log.lastIndex,
    more: index >= first,
    entries: entries.reverse(),
  };
}

/** The way of the entry at `index`, as this leader saw it; null: that is no longer known. */
export function traceOf({ raft, traces }: Replica, { self }: StatusSources, index: LogIndex): Trace | null {
  const times = traces.timesOf(index);
  if (times === null) return null;
  const durable = times.durable.map(({ member, microseconds }) => ({ id: nodeIdOf(member), microseconds }));
  const { committedMicroseconds } = times;
  const voters = raft.configuration.voters.length;
  return { index, term: raft.currentTerm, leader: self.id, durable, committedMicroseconds, voters };
}
