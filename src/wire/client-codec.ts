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
import type { ClientMessage, ServerMessage } from "./protocol.ts";
import { readLogPage, readStatus, readTrace, writeLogPage, writeStatus, writeTrace } from "./status-codec.ts";

export const NONCE_BYTES = 16;
const MAX_CLIENT_ID_BYTES = 256;
const MAX_BINARY_BYTES = WIRE.maxClientFrameBytes;

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
    case "log":
      writer.array(5).uint(TYPE.log).uint(frameId).uint(message.from).uint(message.to).boolean(message.local);
      return;
    case "trace":
      writer.array(3).uint(TYPE.trace).uint(frameId).uint(message.index);
      return;
    case "join":
      writer.array(3).uint(TYPE.join).uint(frameId);
      writeMember(writer, message.member);
      return;
    case "remove":
      writer.array(3).uint(TYPE.remove).uint(frameId);
      writeTexts(writer, message.ids);
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

/** Null: `type` is no client's message. The array's head and `type` have been read. */
export function readClientMessage(reader: Reader, type: number): ClientMessage | null {
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
        command: reader.binary(MAX_BINARY_BYTES),
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
      return { type: "join", frameId: reader.uint(), member: readMember(reader) };
    case TYPE.remove:
      return { type: "remove", frameId: reader.uint(), ids: readList(reader, MAX_LIST, () => readNodeId(reader)) };
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
        reply: reader.binary(MAX_BINARY_BYTES),
      };
    case TYPE.failure:
      return { type: "failure", frameId: reader.uint(), failure: readFailure(reader) };
    case TYPE.statusAnswer:
      return { type: "statusAnswer", frameId: reader.uint(), status: readStatus(reader) };
    case TYPE.logAnswer:
      return { type: "logAnswer", frameId: reader.uint(), page: readLogPage(reader) };
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

/** There is one group for now: number 0. */
function readGroup(reader: Reader): number {
  return reader.uint(0);
}

function readNonce(reader: Reader): Uint8Array {
  const nonce = reader.binary(NONCE_BYTES);
  if (nonce.length !== NONCE_BYTES) throw new Malformed(`a nonce has ${NONCE_BYTES} bytes, not ${nonce.length}`);
  return nonce;
}
