// Which messages do the wire tests speak of? One small example of every type, one at every limit, and random ones from a seed.
import { SERVER, WIRE } from "../../src/config.ts";
import { ERRORS, type ErrorCode, failure, type Failure } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import { encodeEntry, type Entry, KIND_NAMES } from "../../src/raft/entry.ts";
import type { ClusterId, Incarnation, Member, NodeId, SnapshotMeta } from "../../src/raft/types.ts";
import type { PeerMessage } from "../../src/wire/peer-codec.ts";
import type { LogLine, MemberStatus, NodeStatus, PeerFrame, WireMessage } from "../../src/wire/protocol.ts";

export const MAX_U48 = 0xffff_ffff_ffff;
const MAX = Number.MAX_SAFE_INTEGER;

export function member(number: number): Member {
  const incarnation = number.toString(16).padStart(16, "0") as Incarnation;
  return { id: `n${number}` as NodeId, incarnation, address: `127.0.0.1:${2999 + number}` };
}

export const CLUSTER = "7f3a00112233ccdd" as ClusterId;
export const LONG_NODE = `n${"9".repeat(31)}` as NodeId;
const LONG_ADDRESS = `${`${"a".repeat(63)}.`.repeat(3)}${"a".repeat(61)}:65535`;
const bytes = (count: number, fill = 0x5a): Uint8Array => new Uint8Array(count).fill(fill);

export function entry(index: number, term: number, body = bytes(3)): Entry {
  const stamp = { index, term, time: Math.min(index * 10, MAX_U48), wall: 1_700_000_000_000 };
  return encodeEntry(stamp, { kind: "command", session: 4, number: index, answeredUpTo: 0, body });
}

const meta: SnapshotMeta = {
  index: 500,
  term: 7,
  configuration: {
    voters: [member(1), member(2)],
    outgoing: [],
    learners: [{ ...member(3), replaces: null }],
    removed: [],
  },
  configurationIndex: 400,
  time: 123_456,
};

const status: NodeStatus = {
  node: member(1),
  clusterId: CLUSTER,
  state: "leader",
  term: 2,
  leader: member(1).id,
  leaderAddress: member(1).address,
  commitIndex: 9,
  appliedIndex: 9,
  firstIndex: 1,
  lastIndex: 10,
  snapshotIndex: 0,
  members: [{ ...member(1), role: "voter", reachable: true, matchIndex: 10, diskLow: true }],
  ready: 3,
  readyBytes: 12,
  sessions: 1,
  uptimeMs: 60_000,
  residentBytes: 100_000_000,
  logBytes: 4_096,
  checkpoint: { index: 8, digest: 0xdeadbeef },
  times: {
    windowMs: 14_000,
    stages: [
      { name: "apply", count: 900, microseconds: 45_000, longestMicroseconds: 310 },
      { name: "disk", count: 899, microseconds: 700_000, longestMicroseconds: 12_000 },
    ],
  },
};

const line: LogLine = {
  index: 4,
  term: 2,
  kind: "command",
  wall: 1_700_000_000_000,
  client: "c1",
  requestNumber: 1,
  body: bytes(2),
};

const page = {
  node: member(3).id,
  term: 2,
  snapshotIndex: 0,
  commitIndex: 5,
  appliedIndex: 5,
  firstIndex: 1,
  lastIndex: 5,
  more: false,
  entries: [line],
};

export const PEER_EXAMPLES: readonly PeerMessage[] = [
  { type: "RequestVote", term: 3, preVote: true, transfer: false, lastLogIndex: 12, lastLogTerm: 2 },
  { type: "RequestVoteReply", term: 3, preVote: false, requestedTerm: 3, voteGranted: true },
  {
    type: "AppendEntries",
    term: 3,
    prevLogIndex: 12,
    prevLogTerm: 2,
    leaderCommit: 11,
    entries: [entry(13, 3), entry(14, 3)],
  },
  {
    type: "AppendEntriesReply",
    term: 3,
    success: false,
    matchIndex: 0,
    rejectedIndex: 12,
    hintIndex: 9,
    hintTerm: 1,
    diskLow: true,
  },
  { type: "Heartbeat", term: 3, leaderCommit: 11, time: 98_765, readContext: 17, agreed: { index: 8, digest: 7 } },
  { type: "HeartbeatReply", term: 3, readContext: 17, diskLow: false, checkpoints: [{ index: 8, digest: 7 }] },
  { type: "TimeoutNow", term: 3 },
  { type: "InstallSnapshot", term: 8, meta, manifest: bytes(5, 1), part: 1, parts: 3, offset: 0, bytes: bytes(7, 2) },
  { type: "InstallSnapshotReply", term: 8, index: 500, nextPart: 2, nextOffset: 0, matchIndex: 0 },
  { type: "StaleDisk", term: 8, acknowledgedIndex: 499 },
  { type: "Probe", term: 8, token: 5 },
  { type: "ProbeReply", term: 8, token: 5 },
  { type: "found", expect: 3, set: [member(1).address, member(2).address], fresh: true, record: null },
  { type: "foundAnswer", expect: 3, set: [member(1).address, "[::1]:3001"], fresh: false, record: entry(1, 1).record },
];

export const EXAMPLES: readonly Exclude<WireMessage, PeerFrame>[] = [
  { type: "hello", version: WIRE.protocolVersion, features: [], role: "client", clusterId: null, node: null },
  {
    type: "helloAnswer",
    version: WIRE.protocolVersion,
    features: ["later"],
    clusterId: CLUSTER,
    node: member(2),
    leader: member(1).address,
    term: 2,
    members: [member(1).address, member(2).address],
    maxFrameBytes: WIRE.maxClientFrameBytes,
    maxPayloadBytes: WIRE.maxPayloadBytes,
  },
  { type: "challenge", nonce: bytes(32, 3), clusterId: CLUSTER, node: member(2) },
  { type: "proof", proof: bytes(32, 4) },
  { type: "goodbye", failure: failure("CLUSTER_MISMATCH", "another cluster") },
  { type: "request", frameId: 1, group: 0, session: 4, number: 1, answeredUpTo: 0, command: bytes(4) },
  { type: "open", frameId: 2, group: 0, clientId: "c1", nonce: bytes(16, 7) },
  { type: "close", frameId: 3, group: 0, session: 4 },
  { type: "status", frameId: 4, linearizable: true },
  { type: "log", frameId: 5, from: 1, to: 0, local: false },
  { type: "trace", frameId: 6, index: 12 },
  { type: "join", frameId: 7, member: member(4), comesBack: false },
  { type: "remove", frameId: 8, ids: [member(4).id, member(5).id] },
  { type: "transfer", frameId: 9, to: null },
  { type: "ping", frameId: 10 },
  { type: "peek", frameId: 11 },
  { type: "readmit", frameId: 12, id: member(4).id },
  { type: "reply", frameId: 1, duplicate: false, reply: bytes(6) },
  {
    type: "failure",
    frameId: 1,
    failure: failure("NOT_LEADER", "n1 leads", { leader: member(1).address, retryAfterMs: 20 }),
  },
  { type: "statusAnswer", frameId: 4, status },
  { type: "logAnswer", frameId: 5, page },
  {
    type: "traceAnswer",
    frameId: 6,
    trace: {
      index: 12,
      term: 2,
      leader: member(3).id,
      durable: [{ id: member(3).id, microseconds: 1_800 }],
      committedMicroseconds: 2_100,
      voters: 5,
    },
  },
  { type: "done", frameId: 7, index: 20, clusterId: CLUSTER },
  { type: "pong", frameId: 10 },
  {
    type: "peekAnswer",
    frameId: 11,
    peeked: { job: { id: 7, encoding: 1, payload: bytes(3) }, ready: 2, appliedIndex: 9 },
  },
  { type: "fragment", sequence: 1, left: 70_000, bytes: bytes(5, 0x90) },
];

/** Of messages that have one. */
export const SECOND_FORMS: readonly WireMessage[] = [
  { type: "join", frameId: 7, member: member(4), comesBack: true },
  { type: "peekAnswer", frameId: 11, peeked: { job: null, ready: 0, appliedIndex: 9 } },
  {
    type: "peer",
    sequence: 2,
    message: {
      type: "InstallSnapshot",
      term: 8,
      meta,
      manifest: bytes(5, 1),
      part: 1,
      parts: 3,
      offset: 7,
      bytes: bytes(7, 2),
    },
  },
  {
    type: "peer",
    sequence: 2,
    message: { type: "InstallSnapshotReply", term: 8, index: 500, nextPart: 1, nextOffset: 14, matchIndex: 0 },
  },
  {
    type: "peer",
    sequence: 1,
    message: {
      type: "InstallSnapshot",
      term: 8,
      meta: { ...meta, configuration: { ...meta.configuration, removed: [{ id: member(4).id, readmitted: true }] } },
      manifest: bytes(5, 1),
      part: 0,
      parts: 1,
      offset: 0,
      bytes: bytes(7, 2),
    },
  },
];

export const asPeerFrame = (message: PeerMessage, sequence = 1): PeerFrame => ({ type: "peer", sequence, message });

const everyCode = Object.keys(ERRORS) as ErrorCode[];

/** Every field as large, long or full as it may be. */
export function atLimits(): readonly WireMessage[] {
  const longest: Member = { id: LONG_NODE, incarnation: "f".repeat(16) as Incarnation, address: LONG_ADDRESS };
  const worst: Failure = {
    code: "CHANGE_IN_PROGRESS",
    applied: "unknown",
    message: "x".repeat(1024),
    retryAfterMs: MAX_U48,
    leader: LONG_ADDRESS,
  };
  const memberStatus: MemberStatus = {
    ...longest,
    role: "outgoing",
    reachable: false,
    matchIndex: MAX_U48,
    diskLow: false,
  };
  const many = Array.from({ length: 64 }, () => memberStatus);
  const room = WIRE.maxClientFrameBytes - 64;
  const checkpoint = { index: MAX_U48, digest: 0xffff_ffff };
  const head = { term: MAX_U48, prevLogIndex: MAX_U48 - 2, prevLogTerm: MAX_U48, leaderCommit: MAX_U48 };
  const peers: PeerMessage[] = [
    { type: "RequestVote", term: MAX_U48, preVote: false, transfer: true, lastLogIndex: MAX_U48, lastLogTerm: MAX_U48 },
    { type: "RequestVoteReply", term: MAX_U48, preVote: true, requestedTerm: MAX_U48, voteGranted: false },
    { type: "AppendEntries", ...head, entries: [entry(MAX_U48 - 1, MAX_U48, bytes(1 << 20)), entry(MAX_U48, MAX_U48)] },
    { type: "AppendEntries", ...head, entries: [] },
    {
      type: "AppendEntriesReply",
      term: MAX_U48,
      success: true,
      matchIndex: MAX_U48,
      rejectedIndex: 0,
      hintIndex: MAX_U48,
      hintTerm: MAX_U48,
      diskLow: false,
    },
    { type: "Heartbeat", term: MAX_U48, leaderCommit: MAX_U48, time: MAX_U48, readContext: MAX },
    { type: "Heartbeat", term: MAX_U48, leaderCommit: MAX_U48, time: MAX_U48, readContext: MAX, agreed: checkpoint },
    { type: "HeartbeatReply", term: MAX_U48, readContext: MAX, diskLow: true },
    { type: "HeartbeatReply", term: MAX_U48, readContext: MAX, diskLow: true, checkpoints: Array(64).fill(checkpoint) },
    {
      type: "InstallSnapshot",
      term: MAX_U48,
      meta: { ...meta, index: MAX_U48, configurationIndex: MAX_U48, time: MAX_U48 },
      manifest: bytes(100_000),
      part: MAX_U48 - 1,
      parts: MAX_U48,
      offset: MAX_U48,
      bytes: bytes(2 << 20),
    },
    {
      type: "InstallSnapshotReply",
      term: MAX_U48,
      index: MAX_U48,
      nextPart: MAX_U48,
      nextOffset: MAX_U48,
      matchIndex: MAX_U48,
    },
    { type: "StaleDisk", term: MAX_U48, acknowledgedIndex: MAX_U48 },
    { type: "Probe", term: MAX_U48, token: MAX },
    { type: "ProbeReply", term: MAX_U48, token: MAX },
    {
      type: "found",
      expect: 64,
      set: Array.from({ length: 64 }, () => LONG_ADDRESS),
      fresh: false,
      record: bytes(1000),
    },
  ];
  return [
    {
      type: "hello",
      version: 0xffff_ffff,
      features: Array.from({ length: 64 }, () => "f".repeat(64)),
      role: "peer",
      clusterId: CLUSTER,
      node: longest,
      nonce: bytes(32, 0xff),
    },
    {
      type: "helloAnswer",
      version: WIRE.protocolVersion,
      features: [],
      clusterId: null,
      node: longest,
      leader: null,
      term: MAX_U48,
      members: Array.from({ length: 64 }, () => LONG_ADDRESS),
      maxFrameBytes: 0xffff_ffff,
      maxPayloadBytes: 0xffff_ffff,
      proof: bytes(32, 0xff),
    },
    { type: "challenge", nonce: bytes(32, 0xff), clusterId: null, node: longest },
    { type: "goodbye", failure: worst },
    ...everyCode.map(
      (code) => ({ type: "failure", frameId: MAX, failure: failure(code, `the code ${code}`) }) as const,
    ),
    { type: "failure", frameId: MAX, failure: worst },
    {
      type: "request",
      frameId: MAX,
      group: 0,
      session: MAX_U48,
      number: MAX_U48,
      answeredUpTo: MAX_U48,
      command: bytes(room),
    },
    { type: "request", frameId: 0, group: 0, session: 0, number: 0, answeredUpTo: 0, command: bytes(0) },
    { type: "open", frameId: MAX, group: 0, clientId: "ü".repeat(128), nonce: bytes(16) },
    { type: "log", frameId: MAX, from: MAX_U48, to: MAX_U48, local: true },
    { type: "join", frameId: MAX, member: longest, comesBack: true },
    { type: "remove", frameId: MAX, ids: Array.from({ length: 64 }, () => LONG_NODE) },
    { type: "remove", frameId: MAX, ids: [] },
    { type: "readmit", frameId: MAX, id: LONG_NODE },
    { type: "transfer", frameId: MAX, to: LONG_NODE },
    { type: "reply", frameId: MAX, duplicate: true, reply: bytes(room) },
    {
      type: "statusAnswer",
      frameId: MAX,
      status: {
        ...status,
        members: many,
        clusterId: null,
        leader: null,
        leaderAddress: null,
        readyBytes: MAX,
        times: null,
      },
    },
    {
      type: "logAnswer",
      frameId: MAX,
      page: {
        ...page,
        more: true,
        entries: Array.from({ length: SERVER.maxLogPageEntries }, () => ({ ...line, client: "ü".repeat(32) })),
      },
    },
    {
      type: "peekAnswer",
      frameId: MAX,
      peeked: { job: { id: MAX, encoding: 0xff, payload: bytes(room) }, ready: MAX, appliedIndex: MAX_U48 },
    },
    { type: "done", frameId: MAX, index: MAX_U48, clusterId: null },
    ...peers.map((message) => asPeerFrame(message, MAX)),
    { type: "fragment", sequence: MAX, left: WIRE.maxPeerFrameBytes, bytes: bytes(2 << 20) },
  ];
}

/** A random valid message: an example with a random choice of its numbers, flags, texts and bytes replaced by other valid ones. */
export function randomMessage(random: Random): WireMessage {
  if (random.chance(50)) return varied(EXAMPLES[random.below(EXAMPLES.length)]!, random);
  const message = PEER_EXAMPLES[random.below(PEER_EXAMPLES.length)]!;
  const sequence = random.below(1_000_000);
  if (message.type === "AppendEntries") return asPeerFrame(randomAppend(random), sequence);
  return asPeerFrame(varied(message, random), sequence);
}

function randomAppend(random: Random): PeerMessage {
  const prevLogIndex = random.below(1000);
  let term = random.between(1, 5);
  const prevLogTerm = term;
  const entries = Array.from({ length: random.below(6) }, (_, at): Entry => {
    term += random.below(2);
    const draft = {
      kind: KIND_NAMES[random.below(KIND_NAMES.length)]!,
      session: 1,
      number: 2,
      answeredUpTo: 0,
      body: bytes(random.below(300)),
    };
    return encodeEntry({ index: prevLogIndex + 1 + at, term, time: 5, wall: 6 }, draft);
  });
  return {
    type: "AppendEntries",
    term: term + random.below(3),
    prevLogIndex,
    prevLogTerm,
    leaderCommit: random.below(2000),
    entries,
  };
}

/** Fields whose every value would be valid in its range. */
const FREE_NUMBERS = new Set([
  "frameId",
  "session",
  "number",
  "answeredUpTo",
  "commitIndex",
  "lastIndex",
  "matchIndex",
  "time",
  "readContext",
  "token",
  "microseconds",
]);

/** Bytes of which there is exactly one right number. */
const FIXED_LENGTHS = new Set(["nonce", "proof"]);

function varied<T>(value: T, random: Random, key = ""): T {
  if (Array.isArray(value)) return value.map((item) => varied(item, random)) as T;
  if (value instanceof Uint8Array) {
    if (FIXED_LENGTHS.has(key) || random.chance(50)) return value;
    return Uint8Array.from({ length: random.below(400) }, () => random.below(256)) as T;
  }
  if (typeof value === "boolean") return random.chance(50) as T;
  if (typeof value === "number" && FREE_NUMBERS.has(key) && random.chance(50)) {
    return (2 ** random.below(48) - random.below(2)) as T;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, varied(field, random, name)])) as T;
}
