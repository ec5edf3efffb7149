// How do the members' messages look in bytes? Raft's and the founders', inside peer frames.
import { WIRE } from "../config.ts";
import { createReader, createWriter, Malformed, type Reader, type Writer } from "../lib/msgpack.ts";
import { decodeConfiguration, encodeConfiguration } from "../raft/configuration.ts";
import { decodeEntry, type Entry } from "../raft/entry.ts";
import type { AppendEntries, RaftMessage } from "../raft/messages.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import {
  MAX_LIST,
  readAddress,
  readCheckpoint,
  readList,
  readReserved,
  readU48,
  writeCheckpoint,
  writeList,
  writeTexts,
} from "./fields.ts";
import { PEER_TYPE } from "./message-types.ts";
import type { FoundingMessage } from "./protocol.ts";

export type PeerMessage = RaftMessage | FoundingMessage;

const MAX_BINARY_BYTES = WIRE.maxPeerFrameBytes;
/** Room for everything but the bulk, so that the writer does not have to grow around it. */
const HEAD_BYTES = 96;

/** Behind `headroom` bytes for the frame around it. */
export function encodePeerMessage(message: PeerMessage, headroom = 0): Uint8Array {
  const writer = createWriter(headroom, HEAD_BYTES + bulkBytes(message));
  writePeerMessage(writer, message);
  return writer.finish();
}

function bulkBytes(message: PeerMessage): number {
  if (message.type === "AppendEntries") return recordBytes(message.entries);
  if (message.type === "InstallSnapshot") return message.manifest.length + message.bytes.length;
  return 0;
}

function recordBytes(entries: readonly Entry[]): number {
  return entries.reduce((sum, entry) => sum + entry.record.length, 0);
}

function writePeerMessage(writer: Writer, message: PeerMessage): void {
  switch (message.type) {
    case "RequestVote":
      writer.array(6).uint(PEER_TYPE.RequestVote).uint(message.term).boolean(message.preVote).boolean(message.transfer);
      writer.uint(message.lastLogIndex).uint(message.lastLogTerm);
      return;
    case "RequestVoteReply":
      writer.array(5).uint(PEER_TYPE.RequestVoteReply).uint(message.term).boolean(message.preVote);
      writer.uint(message.requestedTerm).boolean(message.voteGranted);
      return;
    case "AppendEntries":
      writer
        .array(6)
        .uint(PEER_TYPE.AppendEntries)
        .uint(message.term)
        .uint(message.prevLogIndex)
        .uint(message.prevLogTerm);
      writer.uint(message.leaderCommit);
      writeRecords(writer, message.entries);
      return;
    case "AppendEntriesReply":
      writer
        .array(9)
        .uint(PEER_TYPE.AppendEntriesReply)
        .uint(message.term)
        .boolean(message.success)
        .uint(message.matchIndex);
      writer.uint(message.rejectedIndex).uint(message.hintIndex).uint(message.hintTerm).boolean(message.diskLow).nil();
      return;
    case "Heartbeat":
      writer.array(6).uint(PEER_TYPE.Heartbeat).uint(message.term).uint(message.leaderCommit);
      writer.uint(message.time).uint(message.readContext);
      if (message.agreed === undefined) writer.nil();
      else writeCheckpoint(writer, message.agreed);
      return;
    case "HeartbeatReply":
      writer
        .array(5)
        .uint(PEER_TYPE.HeartbeatReply)
        .uint(message.term)
        .uint(message.readContext)
        .boolean(message.diskLow);
      if (message.checkpoints === undefined) writer.nil();
      else writeList(writer, message.checkpoints, (checkpoint) => writeCheckpoint(writer, checkpoint));
      return;
    case "TimeoutNow":
      writer.array(2).uint(PEER_TYPE.TimeoutNow).uint(message.term);
      return;
    case "InstallSnapshot":
      writer.array(8).uint(PEER_TYPE.InstallSnapshot).uint(message.term);
      writeMeta(writer, message.meta);
      writer.binary(message.manifest).uint(message.part).uint(message.parts);
      writer.uint(message.offset).binary(message.bytes);
      return;
    case "InstallSnapshotReply":
      writer.array(6).uint(PEER_TYPE.InstallSnapshotReply).uint(message.term).uint(message.index);
      writer.uint(message.nextPart).uint(message.nextOffset).uint(message.matchIndex);
      return;
    case "StaleDisk":
      writer.array(3).uint(PEER_TYPE.StaleDisk).uint(message.term).uint(message.acknowledgedIndex);
      return;
    case "Probe":
      writer.array(3).uint(PEER_TYPE.Probe).uint(message.term).uint(message.token);
      return;
    case "ProbeReply":
      writer.array(3).uint(PEER_TYPE.ProbeReply).uint(message.term).uint(message.token);
      return;
    case "found":
    case "foundAnswer":
      writer.array(5).uint(PEER_TYPE[message.type]).uint(message.expect);
      writeTexts(writer, message.set);
      writer.boolean(message.fresh);
      if (message.record === null) writer.nil();
      else writer.binary(message.record);
      return;
  }
}

/** Bytes in the message are its own. Throws Malformed. */
export function decodePeerMessage(bytes: Uint8Array): PeerMessage {
  const reader = createReader(bytes);
  const length = reader.array(1, 9);
  const type = reader.uint();
  const message = readRaftMessage(reader, type) ?? readFoundingMessage(reader, type);
  if (message === null) throw new Malformed(`a peer frame holds a message of the unknown type ${type}`);
  if (length !== LENGTHS[message.type])
    throw new Malformed(`a ${message.type} has ${LENGTHS[message.type]} values, not ${length}`);
  reader.end();
  return message;
}

const LENGTHS: Readonly<Record<PeerMessage["type"], number>> = {
  RequestVote: 6,
  RequestVoteReply: 5,
  AppendEntries: 6,
  AppendEntriesReply: 9,
  Heartbeat: 6,
  HeartbeatReply: 5,
  TimeoutNow: 2,
  InstallSnapshot: 8,
  InstallSnapshotReply: 6,
  StaleDisk: 3,
  Probe: 3,
  ProbeReply: 3,
  found: 5,
  foundAnswer: 5,
};

function readRaftMessage(reader: Reader, type: number): RaftMessage | null {
  switch (type) {
    case PEER_TYPE.RequestVote: {
      const term = readU48(reader);
      const preVote = reader.boolean();
      const transfer = reader.boolean();
      return {
        type: "RequestVote",
        term,
        preVote,
        transfer,
        lastLogIndex: readU48(reader),
        lastLogTerm: readU48(reader),
      };
    }
    case PEER_TYPE.RequestVoteReply: {
      const term = readU48(reader);
      const preVote = reader.boolean();
      return { type: "RequestVoteReply", term, preVote, requestedTerm: readU48(reader), voteGranted: reader.boolean() };
    }
    case PEER_TYPE.AppendEntries:
      return readAppendEntries(reader);
    case PEER_TYPE.AppendEntriesReply: {
      const term = readU48(reader);
      const success = reader.boolean();
      const [matchIndex, rejectedIndex, hintIndex, hintTerm] = [
        readU48(reader),
        readU48(reader),
        readU48(reader),
        readU48(reader),
      ];
      const diskLow = reader.boolean();
      readReserved(reader);
      return { type: "AppendEntriesReply", term, success, matchIndex, rejectedIndex, hintIndex, hintTerm, diskLow };
    }
    case PEER_TYPE.Heartbeat: {
      const term = readU48(reader);
      const leaderCommit = readU48(reader);
      const time = readU48(reader);
      const beat = { type: "Heartbeat", term, leaderCommit, time, readContext: reader.uint() } as const;
      return reader.nil() ? beat : { ...beat, agreed: readCheckpoint(reader) };
    }
    case PEER_TYPE.HeartbeatReply: {
      const term = readU48(reader);
      const readContext = reader.uint();
      const reply = { type: "HeartbeatReply", term, readContext, diskLow: reader.boolean() } as const;
      if (reader.nil()) return reply;
      return { ...reply, checkpoints: readList(reader, MAX_LIST, () => readCheckpoint(reader)) };
    }
    case PEER_TYPE.TimeoutNow:
      return { type: "TimeoutNow", term: readU48(reader) };
    case PEER_TYPE.InstallSnapshot: {
      const term = readU48(reader);
      const meta = readMeta(reader);
      const manifest = reader.ownBinary(MAX_BINARY_BYTES);
      const [part, parts] = [readU48(reader), readU48(reader)];
      if (part >= parts) throw new Malformed(`part ${part} of ${parts} cannot be`);
      const offset = readU48(reader);
      const bytes = reader.ownBinary(MAX_BINARY_BYTES);
      return { type: "InstallSnapshot", term, meta, manifest, part, parts, offset, bytes };
    }
    case PEER_TYPE.InstallSnapshotReply: {
      const term = readU48(reader);
      return {
        type: "InstallSnapshotReply",
        term,
        index: readU48(reader),
        nextPart: readU48(reader),
        nextOffset: readU48(reader),
        matchIndex: readU48(reader),
      };
    }
    case PEER_TYPE.StaleDisk:
      return { type: "StaleDisk", term: readU48(reader), acknowledgedIndex: readU48(reader) };
    case PEER_TYPE.Probe:
      return { type: "Probe", term: readU48(reader), token: reader.uint() };
    case PEER_TYPE.ProbeReply:
      return { type: "ProbeReply", term: readU48(reader), token: reader.uint() };
    default:
      return null;
  }
}

function readFoundingMessage(reader: Reader, type: number): FoundingMessage | null {
  switch (type) {
    case PEER_TYPE.found:
      return { type: "found", ...readFoundingWord(reader) };
    case PEER_TYPE.foundAnswer:
      return { type: "foundAnswer", ...readFoundingWord(reader) };
    default:
      return null;
  }
}

function readFoundingWord(reader: Reader): {
  readonly expect: number;
  readonly set: readonly string[];
  readonly fresh: boolean;
  readonly record: Uint8Array | null;
} {
  return {
    expect: reader.uint(MAX_LIST),
    set: readList(reader, MAX_LIST, () => readAddress(reader)),
    fresh: reader.boolean(),
    record: reader.nil() ? null : reader.ownBinary(MAX_BINARY_BYTES),
  };
}

/** One blob of whole records, as they are in the log: nothing is encoded a second time. */
function writeRecords(writer: Writer, entries: readonly Entry[]): void {
  writer.binaryHead(recordBytes(entries));
  for (const entry of entries) writer.raw(entry.record);
}

function readAppendEntries(reader: Reader): AppendEntries {
  const term = readU48(reader);
  const prevLogIndex = readU48(reader);
  const prevLogTerm = readU48(reader);
  const leaderCommit = readU48(reader);
  if (prevLogTerm > term)
    throw new Malformed(`an AppendEntries of term ${term} follows an entry of the later term ${prevLogTerm}`);
  const entries = readRecords(reader.binary(MAX_BINARY_BYTES), prevLogIndex, prevLogTerm, term);
  return { type: "AppendEntries", term, prevLogIndex, prevLogTerm, leaderCommit, entries };
}

function readRecords(blob: Uint8Array, prevLogIndex: number, prevLogTerm: number, term: number): readonly Entry[] {
  const entries: Entry[] = [];
  let at = 0;
  let lastIndex = prevLogIndex;
  let lastTerm = prevLogTerm;
  while (at < blob.length) {
    const decoded = decodeEntry(blob, at);
    if (!decoded.ok) throw new Malformed(`entry ${lastIndex + 1}: ${decoded.why}`);
    const { entry } = decoded;
    if (entry.index !== lastIndex + 1) throw new Malformed(`entry ${entry.index} follows entry ${lastIndex}`);
    if (entry.term < lastTerm || entry.term > term || entry.term === 0) {
      throw new Malformed(
        `entry ${entry.index} has term ${entry.term}, behind ${lastTerm}, in a message of term ${term}`,
      );
    }
    entries.push(entry);
    at = decoded.end;
    lastIndex = entry.index;
    lastTerm = entry.term;
  }
  return entries;
}

function writeMeta(writer: Writer, meta: SnapshotMeta): void {
  writer.array(5).uint(meta.index).uint(meta.term).binary(encodeConfiguration(meta.configuration));
  writer.uint(meta.configurationIndex).uint(meta.time);
}

function readMeta(reader: Reader): SnapshotMeta {
  reader.array(5, 5);
  const [index, term] = [readU48(reader), readU48(reader)];
  const configuration = decodeConfiguration(reader.binary(MAX_BINARY_BYTES));
  const [configurationIndex, time] = [readU48(reader), readU48(reader)];
  if (configurationIndex > index) throw new Malformed("a snapshot's configuration comes from behind the snapshot");
  return { index, term, configuration, configurationIndex, time };
}
