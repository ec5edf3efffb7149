// How do a node's status, a page of its log and an entry's path look in bytes?
import { SERVER, WIRE } from "../config.ts";
import type { Reader, Writer } from "../lib/msgpack.ts";
import {
  MAX_LIST,
  readAddress,
  readCheckpoint,
  readClusterId,
  readIncarnation,
  readList,
  readMember,
  readName,
  readNodeId,
  readOneOf,
  readOptionalAddress,
  readU48,
  writeCheckpoint,
  writeList,
  writeMember,
  writeOptionalText,
} from "./fields.ts";
import type {
  LogLine,
  LogPage,
  MemberRole,
  MemberStatus,
  NodeState,
  NodeStatus,
  StageTimes,
  Trace,
} from "./protocol.ts";

const MEMBER_ROLES = ["voter", "learner", "outgoing"] as const satisfies readonly MemberRole[];
const NODE_STATES = ["leader", "follower", "candidate", "learner", "starting"] as const satisfies readonly NodeState[];
const MAX_CLIENT_BYTES = 256;

export function writeStatus(writer: Writer, status: NodeStatus): void {
  writer.array(20);
  writeMember(writer, status.node);
  writeOptionalText(writer, status.clusterId);
  writer.text(status.state).uint(status.term);
  writeOptionalText(writer, status.leader);
  writeOptionalText(writer, status.leaderAddress);
  writer
    .uint(status.commitIndex)
    .uint(status.appliedIndex)
    .uint(status.firstIndex)
    .uint(status.lastIndex)
    .uint(status.snapshotIndex);
  writeList(writer, status.members, (member) => {
    writer.array(7).text(member.id).text(member.incarnation).text(member.address);
    writer.text(member.role).boolean(member.reachable).uint(member.matchIndex).boolean(member.diskLow);
  });
  writer.uint(status.ready).uint(status.readyBytes).uint(status.sessions);
  writer.uint(status.uptimeMs).uint(status.residentBytes).uint(status.logBytes);
  if (status.checkpoint === null) writer.nil();
  else writeCheckpoint(writer, status.checkpoint);
  writeTimes(writer, status.times);
}

function writeTimes(writer: Writer, times: StageTimes | null): void {
  if (times === null) return void writer.nil();
  writer.array(2).uint(times.windowMs);
  writeList(writer, times.stages, ({ name, count, microseconds, longestMicroseconds }) =>
    writer.array(4).text(name).uint(count).uint(microseconds).uint(longestMicroseconds),
  );
}

export function readStatus(reader: Reader): NodeStatus {
  // Nodes of early builds leave the checkpoint out, or the times.
  const fields = reader.array(18, 20);
  return {
    node: readMember(reader),
    clusterId: readClusterId(reader),
    state: readOneOf(reader, NODE_STATES, "state of a node"),
    term: readU48(reader),
    leader: reader.nil() ? null : readNodeId(reader),
    leaderAddress: readOptionalAddress(reader),
    commitIndex: readU48(reader),
    appliedIndex: readU48(reader),
    firstIndex: readU48(reader),
    lastIndex: readU48(reader),
    snapshotIndex: readU48(reader),
    members: readList(reader, MAX_LIST, () => readMemberStatus(reader)),
    ready: reader.uint(),
    readyBytes: reader.uint(),
    sessions: reader.uint(),
    uptimeMs: reader.uint(),
    residentBytes: reader.uint(),
    logBytes: reader.uint(),
    checkpoint: fields === 18 || reader.nil() ? null : readCheckpoint(reader),
    times: fields < 20 || reader.nil() ? null : readTimes(reader),
  };
}

function readTimes(reader: Reader): StageTimes {
  reader.array(2, 2);
  const windowMs = reader.uint();
  const stages = readList(reader, MAX_LIST, () => {
    reader.array(4, 4);
    return {
      name: readName(reader),
      count: reader.uint(),
      microseconds: reader.uint(),
      longestMicroseconds: reader.uint(),
    };
  });
  return { windowMs, stages };
}

function readMemberStatus(reader: Reader): MemberStatus {
  // Without the last one from a node that is a little older.
  const fields = reader.array(6, 7);
  return {
    id: readNodeId(reader),
    incarnation: readIncarnation(reader),
    address: readAddress(reader),
    role: readOneOf(reader, MEMBER_ROLES, "role of a member"),
    reachable: reader.boolean(),
    matchIndex: readU48(reader),
    diskLow: fields > 6 && reader.boolean(),
  };
}

export function writeLogPage(writer: Writer, page: LogPage): void {
  writer
    .array(9)
    .text(page.node)
    .uint(page.term)
    .uint(page.snapshotIndex)
    .uint(page.commitIndex)
    .uint(page.appliedIndex);
  writer.uint(page.firstIndex).uint(page.lastIndex).boolean(page.more);
  writeList(writer, page.entries, (line) => {
    writer.array(7).uint(line.index).uint(line.term).text(line.kind).uint(line.wall);
    writer.text(line.client).uint(line.requestNumber).binary(line.body);
  });
}

export function readLogPage(reader: Reader): LogPage {
  reader.array(9, 9);
  return {
    node: readNodeId(reader),
    term: readU48(reader),
    snapshotIndex: readU48(reader),
    commitIndex: readU48(reader),
    appliedIndex: readU48(reader),
    firstIndex: readU48(reader),
    lastIndex: readU48(reader),
    more: reader.boolean(),
    entries: readList(reader, SERVER.maxLogPageEntries, () => readLogLine(reader)),
  };
}

function readLogLine(reader: Reader): LogLine {
  reader.array(7, 7);
  return {
    index: readU48(reader),
    term: readU48(reader),
    kind: readName(reader),
    wall: readU48(reader),
    client: reader.text(MAX_CLIENT_BYTES),
    requestNumber: readU48(reader),
    body: reader.ownBinary(WIRE.maxClientFrameBytes),
  };
}

export function writeTrace(writer: Writer, trace: Trace): void {
  writer.array(6).uint(trace.index).uint(trace.term).text(trace.leader);
  writeList(writer, trace.durable, ({ id, microseconds }) => writer.array(2).text(id).uint(microseconds));
  writer.uint(trace.committedMicroseconds).uint(trace.voters);
}

export function readTrace(reader: Reader): Trace {
  reader.array(6, 6);
  return {
    index: readU48(reader),
    term: readU48(reader),
    leader: readNodeId(reader),
    durable: readList(reader, MAX_LIST, () => {
      reader.array(2, 2);
      return { id: readNodeId(reader), microseconds: reader.uint() };
    }),
    committedMicroseconds: reader.uint(),
    voters: reader.uint(MAX_LIST),
  };
}
