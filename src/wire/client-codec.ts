// How do a client's questions and a node's answers look in bytes? Positional arrays: type number, frameId, fields.
import { WIRE } from "../config.ts";
import { Malformed, type Reader, type Writer } from "../lib/msgpack.ts";
import {
  MAX_LIST,
  readClusterId,
  readFailure,
  readList,
  readMember,
  readNodeId,
  readU48,
  writeFailure,
  writeMember,
  writeOptionalText,
  writeTexts,
} from "./fields.ts";
import { TYPE } from "./message-types.ts";
import type { ClientMessage, Peeked, ServerMessage } from "./protocol.ts";
import { readLogPage, readStatus, readTrace, writeLogPage, writeStatus, writeTrace } from "./status-codec.ts";

export const NONCE_BYTES = 16;
const MAX_CLIENT_ID_BYTES = 256;
/** Values of a join, which says whether it comes back only if it does. */
const SHORT_JOIN = 3;
export const LONG_JOIN = 4;
const MAX_BINARY_BYTES = WIRE.maxClientFrameBytes;
const MAX_ENCODING = 0xff;
const NOTHING = new Uint8Array(0);

export function writeClientMessage(writer: Writer, message: ClientMessage): void {
  const { frameId } = message;
  switch (message.type) {
    case "request":
      writer.array(7).uint(TYPE.request).uint(frameId).uint(message.group).uint(message.session);
      writer.uint(message.number).uint(message.answeredUpTo).binary(message.command);
      return;
    case "open":
      writer.array(5).uint(TYPE.open).uint(frameId).uint(message.group).text(message.clientId).binary(message.nonce);
      return;
    case "close":
      writer.array(4).uint(TYPE.close).uint(frameId).uint(message.group).uint(message.session);
      return;
    case "status":
      writer.array(3).uint(TYPE.status).uint(frameId).boolean(message.linearizable);
      return;
    case "peek":
      writer.array(2).uint(TYPE.peek).uint(frameId);
      return;
    case "log":
      writer.array(5).uint(TYPE.log).uint(frameId).uint(message.from).uint(message.to).boolean(message.local);
      return;
    case "trace":
      writer.array(3).uint(TYPE.trace).uint(frameId).uint(message.index);
      return;
    case "join":
      writer
        .array(message.comesBack ? LONG_JOIN : SHORT_JOIN)
        .uint(TYPE.join)
        .uint(frameId);
      writeMember(writer, message.member);
      if (message.comesBack) writer.boolean(true);
      return;
    case "remove":
      writer.array(3).uint(TYPE.remove).uint(frameId);
      writeTexts(writer, message.ids);
      return;
    case "readmit":
      writer.array(3).uint(TYPE.readmit).uint(frameId).text(message.id);
      return;
    case "transfer":
      writer.array(3).uint(TYPE.transfer).uint(frameId);
      writeOptionalText(writer, message.to);
      return;
    case "ping":
      writer.array(2).uint(TYPE.ping).uint(frameId);
      return;
  }
}

/** Null: `type` is no client's message. The array's head, `length` values in all, and `type` have been read. */
export function readClientMessage(reader: Reader, type: number, length: number): ClientMessage | null {
  switch (type) {
    case TYPE.request: {
      const frameId = reader.uint();
      const group = readGroup(reader);
      const session = readU48(reader);
      const number = readU48(reader);
      const answeredUpTo = readU48(reader);
      return {
        type: "request",
        frameId,
        group,
        session,
        number,
        answeredUpTo,
        command: reader.ownBinary(MAX_BINARY_BYTES),
      };
    }
    case TYPE.open: {
      const frameId = reader.uint();
      const group = readGroup(reader);
      const clientId = reader.text(MAX_CLIENT_ID_BYTES);
      return { type: "open", frameId, group, clientId, nonce: readNonce(reader) };
    }
    case TYPE.close:
      return { type: "close", frameId: reader.uint(), group: readGroup(reader), session: readU48(reader) };
    case TYPE.status:
      return { type: "status", frameId: reader.uint(), linearizable: reader.boolean() };
    case TYPE.peek:
      return { type: "peek", frameId: reader.uint() };
    case TYPE.log:
      return {
        type: "log",
        frameId: reader.uint(),
        from: readU48(reader),
        to: readU48(reader),
        local: reader.boolean(),
      };
    case TYPE.trace:
      return { type: "trace", frameId: reader.uint(), index: readU48(reader) };
    case TYPE.join:
      return {
        type: "join",
        frameId: reader.uint(),
        member: readMember(reader),
        comesBack: readComesBack(reader, length),
      };
    case TYPE.remove:
      return { type: "remove", frameId: reader.uint(), ids: readList(reader, MAX_LIST, () => readNodeId(reader)) };
    case TYPE.readmit:
      return { type: "readmit", frameId: reader.uint(), id: readNodeId(reader) };
    case TYPE.transfer:
      return { type: "transfer", frameId: reader.uint(), to: reader.nil() ? null : readNodeId(reader) };
    case TYPE.ping:
      return { type: "ping", frameId: reader.uint() };
    default:
      return null;
  }
}

export function writeServerMessage(writer: Writer, message: ServerMessage): void {
  const { frameId } = message;
  switch (message.type) {
    case "reply":
      writer.array(4).uint(TYPE.reply).uint(frameId).boolean(message.duplicate).binary(message.reply);
      return;
    case "failure":
      writer.array(3).uint(TYPE.failure).uint(frameId);
      writeFailure(writer, message.failure);
      return;
    case "statusAnswer":
      writer.array(3).uint(TYPE.statusAnswer).uint(frameId);
      writeStatus(writer, message.status);
      return;
    case "logAnswer":
      writer.array(3).uint(TYPE.logAnswer).uint(frameId);
      writeLogPage(writer, message.page);
      return;
    case "peekAnswer":
      writer.array(7).uint(TYPE.peekAnswer).uint(frameId);
      writePeeked(writer, message.peeked);
      return;
    case "traceAnswer":
      writer.array(3).uint(TYPE.traceAnswer).uint(frameId);
      writeTrace(writer, message.trace);
      return;
    case "done":
      writer.array(4).uint(TYPE.done).uint(frameId).uint(message.index);
      writeOptionalText(writer, message.clusterId);
      return;
    case "pong":
      writer.array(2).uint(TYPE.pong).uint(frameId);
      return;
  }
}

/** Null: `type` is no node's answer. */
export function readServerMessage(reader: Reader, type: number): ServerMessage | null {
  switch (type) {
    case TYPE.reply:
      return {
        type: "reply",
        frameId: reader.uint(),
        duplicate: reader.boolean(),
        reply: reader.ownBinary(MAX_BINARY_BYTES),
      };
    case TYPE.failure:
      return { type: "failure", frameId: reader.uint(), failure: readFailure(reader) };
    case TYPE.statusAnswer:
      return { type: "statusAnswer", frameId: reader.uint(), status: readStatus(reader) };
    case TYPE.logAnswer:
      return { type: "logAnswer", frameId: reader.uint(), page: readLogPage(reader) };
    case TYPE.peekAnswer:
      return { type: "peekAnswer", frameId: reader.uint(), peeked: readPeeked(reader) };
    case TYPE.traceAnswer:
      return { type: "traceAnswer", frameId: reader.uint(), trace: readTrace(reader) };
    case TYPE.done:
      return { type: "done", frameId: reader.uint(), index: readU48(reader), clusterId: readClusterId(reader) };
    case TYPE.pong:
      return { type: "pong", frameId: reader.uint() };
    default:
      return null;
  }
}

function writePeeked(writer: Writer, { job, ready, appliedIndex }: Peeked): void {
  if (job === null) writer.nil().uint(0).binary(NOTHING);
  else writer.uint(job.id).uint(job.encoding).binary(job.payload);
  writer.uint(ready).uint(appliedIndex);
}

function readPeeked(reader: Reader): Peeked {
  if (!reader.nil()) {
    const job = { id: reader.uint(), encoding: reader.uint(MAX_ENCODING), payload: reader.ownBinary(MAX_BINARY_BYTES) };
    return { job, ready: reader.uint(), appliedIndex: readU48(reader) };
  }
  reader.uint(0);
  reader.binary(0);
  return { job: null, ready: reader.uint(), appliedIndex: readU48(reader) };
}

/** There is one group for now: number 0. */
function readGroup(reader: Reader): number {
  return reader.uint(0);
}

/** Left out when it is not so. */
function readComesBack(reader: Reader, length: number): boolean {
  if (length < LONG_JOIN) return false;
  if (!reader.boolean()) throw new Malformed("a join that does not come back does not say so");
  return true;
}

function readNonce(reader: Reader): Uint8Array {
  const nonce = reader.ownBinary(NONCE_BYTES);
  if (nonce.length !== NONCE_BYTES) throw new Malformed(`a nonce has ${NONCE_BYTES} bytes, not ${nonce.length}`);
  return nonce;
}
