// How does a message become a frame and back? Strict: whatever is not exactly a known message is Malformed.
import { WIRE } from "../config.ts";
import { crc32, crc32Behind } from "../lib/crc32.ts";
import { createReader, createWriter, Malformed, part, type Reader, type Writer } from "../lib/msgpack.ts";
import {
  LONG_JOIN,
  readClientMessage,
  readServerMessage,
  writeClientMessage,
  writeServerMessage,
} from "./client-codec.ts";
import {
  MAX_LIST,
  readAddress,
  readClusterId,
  readFailure,
  readList,
  readMember,
  readName,
  readOneOf,
  readOptionalAddress,
  readU48,
  writeFailure,
  writeMember,
  writeOptionalText,
  writeTexts,
} from "./fields.ts";
import { LENGTH_BYTES } from "./frame.ts";
import { TYPE } from "./message-types.ts";
import { decodePeerMessage, encodePeerMessage } from "./peer-codec.ts";
import {
  type Challenge,
  type Goodbye,
  type Hello,
  type HelloAnswer,
  type PeerFrame,
  type PeerFragment,
  type Proof,
  ROLES,
  type WireMessage,
} from "./protocol.ts";

/** Nonces and proofs: the length of a SHA-256. */
const PROOF_BYTES = 32;
const MAX_U32 = 0xffff_ffff;
/** What a member's message leaves free in front of it: length, array, type, sequence, checksum, length of the message. */
export const PEER_HEADROOM = 25;
const HEAD_BYTES = 64;

/** The whole frame, length included. */
export function encodeMessage(message: WireMessage): Uint8Array {
  if (message.type === "peer") return peerFrame(message.sequence, encodePeerMessage(message.message, PEER_HEADROOM));
  const writer = createWriter(0, HEAD_BYTES + bulkBytes(message));
  writeFrame(writer, message);
  return writer.finish();
}

/** The whole frame, length included, behind what `writer` holds already. */
export function writeFrame(writer: Writer, message: Exclude<WireMessage, PeerFrame>): void {
  const start = writer.length();
  writer.u32(0, start);
  writeMessage(writer, message);
  writer.u32(writer.length() - start - LENGTH_BYTES, start);
}

/** A peer's frame; the message is encoded already, behind its headroom. The sequence number is known only when it leaves. */
export function peerFrame(sequence: number, encoded: Uint8Array): Uint8Array {
  const length = encoded.length - PEER_HEADROOM;
  const checksum = crc32Behind(encoded, PEER_HEADROOM);
  const head = createWriter(LENGTH_BYTES).array(4).uint(TYPE.peer).uint(sequence).uint(checksum).binaryHead(length);
  const start = PEER_HEADROOM - head.length();
  head.u32(head.length() - LENGTH_BYTES + length, 0);
  encoded.set(head.finish(), start);
  return part(encoded, start);
}

function bulkBytes(message: Exclude<WireMessage, PeerFrame>): number {
  if (message.type === "request") return message.command.length;
  if (message.type === "peekAnswer") return message.peeked.job?.payload.length ?? 0;
  if (message.type === "fragment") return message.bytes.length;
  return message.type === "reply" ? message.reply.length : 0;
}

function writeMessage(writer: Writer, message: Exclude<WireMessage, PeerFrame>): void {
  switch (message.type) {
    case "hello":
      return writeHello(writer, message);
    case "helloAnswer":
      return writeHelloAnswer(writer, message);
    case "goodbye":
      writer.array(2).uint(TYPE.goodbye);
      return writeFailure(writer, message.failure);
    case "challenge":
      writer.array(LENGTHS.challenge).uint(TYPE.challenge).binary(message.nonce);
      writeOptionalText(writer, message.clusterId);
      return writeMember(writer, message.node);
    case "proof":
      writer.array(LENGTHS.proof).uint(TYPE.proof).binary(message.proof);
      return;
    case "fragment":
      writer.array(LENGTHS.fragment).uint(TYPE.fragment).uint(message.sequence).uint(crc32(message.bytes));
      writer.uint(message.left).binary(message.bytes);
      return;
    case "request":
    case "open":
    case "close":
    case "status":
    case "peek":
    case "log":
    case "trace":
    case "join":
    case "remove":
    case "readmit":
    case "transfer":
    case "ping":
      return writeClientMessage(writer, message);
    case "reply":
    case "failure":
    case "statusAnswer":
    case "logAnswer":
    case "peekAnswer":
    case "traceAnswer":
    case "done":
    case "pong":
      return writeServerMessage(writer, message);
  }
}

/** The message of one frame; bytes inside it are its own. Throws Malformed, nothing else. */
export function decodeMessage(body: Uint8Array): WireMessage {
  const reader = createReader(body);
  const length = reader.array(1, MAX_VALUES);
  const type = reader.uint();
  const message =
    readConnectionMessage(reader, type) ?? readClientMessage(reader, type, length) ?? readServerMessage(reader, type);
  if (message === null) throw new Malformed(`the message type ${type} is unknown`);
  const expected = message.type === "join" && message.comesBack ? LONG_JOIN : LENGTHS[message.type];
  if (length !== expected) throw new Malformed(`a ${message.type} has ${expected} values, not ${length}`);
  reader.end();
  return message;
}

/** As `decodeMessage`, before both sides know each other: nothing but a greeting is decoded at all. */
export function decodeGreeting(body: Uint8Array): WireMessage {
  const reader = createReader(body);
  reader.array(1, MAX_VALUES);
  const type = reader.uint();
  if (type > TYPE.proof) throw new Malformed(`the first message is a hello, not one of type ${type}`);
  return decodeMessage(body);
}

/** The protocol version of a hello or its answer: in every version the second value. Null: it is neither. */
export function versionOf(body: Uint8Array): number | null {
  try {
    const reader = createReader(body);
    reader.array(2, MAX_U32);
    const type = reader.uint();
    return type === TYPE.hello || type === TYPE.helloAnswer ? reader.uint() : null;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

const LENGTHS: Readonly<Record<WireMessage["type"], number>> = {
  hello: 7,
  helloAnswer: 11,
  goodbye: 2,
  challenge: 4,
  proof: 2,
  request: 7,
  open: 5,
  close: 4,
  status: 3,
  peek: 2,
  log: 5,
  trace: 3,
  join: 3,
  remove: 3,
  readmit: 3,
  transfer: 3,
  ping: 2,
  reply: 4,
  failure: 3,
  statusAnswer: 3,
  logAnswer: 3,
  peekAnswer: 7,
  traceAnswer: 3,
  done: 4,
  pong: 2,
  peer: 4,
  fragment: 5,
};
const MAX_VALUES = Math.max(...Object.values(LENGTHS));

type ConnectionMessage = Hello | Challenge | Proof | HelloAnswer | Goodbye | PeerFrame | PeerFragment;

function readConnectionMessage(reader: Reader, type: number): ConnectionMessage | null {
  switch (type) {
    case TYPE.hello:
      return readHello(reader);
    case TYPE.helloAnswer:
      return readHelloAnswer(reader);
    case TYPE.goodbye:
      return { type: "goodbye", failure: readFailure(reader) };
    case TYPE.challenge:
      return {
        type: "challenge",
        nonce: readDigest(reader),
        clusterId: readClusterId(reader),
        node: readMember(reader),
      };
    case TYPE.proof:
      return { type: "proof", proof: readDigest(reader) };
    case TYPE.peer:
      return readPeerFrame(reader);
    case TYPE.fragment:
      return readFragment(reader);
    default:
      return null;
  }
}

function writeHello(writer: Writer, hello: Hello): void {
  writer.array(LENGTHS.hello).uint(TYPE.hello).uint(hello.version);
  writeTexts(writer, hello.features);
  writer.text(hello.role);
  writeOptionalText(writer, hello.clusterId);
  if (hello.node === null) writer.nil();
  else writeMember(writer, hello.node);
  writeOptionalBinary(writer, hello.nonce);
}

function readHello(reader: Reader): Hello {
  const version = reader.uint(MAX_U32);
  const features = readList(reader, MAX_LIST, () => readName(reader));
  const role = readOneOf(reader, ROLES, "role");
  const clusterId = readClusterId(reader);
  const node = reader.nil() ? null : readMember(reader);
  if ((node === null) === (role === "peer")) throw new Malformed("a peer, and only a peer, says which node it is");
  const nonce = reader.nil() ? {} : { nonce: readDigest(reader) };
  return { type: "hello", version, features, role, clusterId, node, ...nonce };
}

function writeHelloAnswer(writer: Writer, answer: HelloAnswer): void {
  writer.array(LENGTHS.helloAnswer).uint(TYPE.helloAnswer).uint(answer.version);
  writeTexts(writer, answer.features);
  writeOptionalText(writer, answer.clusterId);
  writeMember(writer, answer.node);
  writeOptionalText(writer, answer.leader);
  writer.uint(answer.term);
  writeTexts(writer, answer.members);
  writer.uint(answer.maxFrameBytes).uint(answer.maxPayloadBytes);
  writeOptionalBinary(writer, answer.proof);
}

function readHelloAnswer(reader: Reader): HelloAnswer {
  const answer: HelloAnswer = {
    type: "helloAnswer",
    version: reader.uint(MAX_U32),
    features: readList(reader, MAX_LIST, () => readName(reader)),
    clusterId: readClusterId(reader),
    node: readMember(reader),
    leader: readOptionalAddress(reader),
    term: readU48(reader),
    members: readList(reader, MAX_LIST, () => readAddress(reader)),
    maxFrameBytes: reader.uint(MAX_U32),
    maxPayloadBytes: reader.uint(MAX_U32),
  };
  return reader.nil() ? answer : { ...answer, proof: readDigest(reader) };
}

function writeOptionalBinary(writer: Writer, bytes: Uint8Array | undefined): void {
  if (bytes === undefined) writer.nil();
  else writer.binary(bytes);
}

/** A nonce or a proof, kept longer than the frame it came in. */
function readDigest(reader: Reader): Uint8Array {
  const bytes = reader.binary(PROOF_BYTES);
  if (bytes.length !== PROOF_BYTES)
    throw new Malformed(`nonces and proofs have ${PROOF_BYTES} bytes, not ${bytes.length}`);
  return bytes.slice();
}

function readPeerFrame(reader: Reader): PeerFrame {
  const sequence = reader.uint();
  const checksum = reader.uint(MAX_U32);
  const bytes = reader.binary(WIRE.maxPeerFrameBytes);
  if (crc32(bytes) !== checksum) throw new Malformed(`the checksum of peer frame ${sequence} does not match its bytes`);
  return { type: "peer", sequence, message: decodePeerMessage(bytes) };
}

function readFragment(reader: Reader): PeerFragment {
  const sequence = reader.uint();
  const checksum = reader.uint(MAX_U32);
  const left = reader.uint(WIRE.maxPeerFrameBytes);
  const bytes = reader.ownBinary(WIRE.maxPeerFrameBytes);
  if (crc32(bytes) !== checksum) throw new Malformed(`the checksum of fragment ${sequence} does not match its bytes`);
  return { type: "fragment", sequence, left, bytes };
}
