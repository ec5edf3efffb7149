// The layout of each frame, which side sends it, the least role that may, and its priority: described once, here (what is inside a
// member's frame in `peer-layouts.ts`). Codec, connection, roles, PROTOCOL.md and the tests' examples follow from it.
import { SERVER, WIRE } from "../config.ts";
import {
  binary,
  binaryView,
  boolean,
  choice,
  type Field,
  list,
  nullable,
  optional,
  placeBinary,
  text,
  tuple,
  uint,
} from "../lib/layout.ts";
import type { Parts } from "../lib/packing.ts";
import { convertedKind, type Kind, kind } from "../lib/union.ts";
import { SESSION_NONCE_BYTES } from "../queue/commands.ts";
import { type Job, MAX_ENCODING } from "../queue/types.ts";
import {
  address,
  checkpoint,
  clusterId,
  failure,
  incarnation,
  MAX_LIST,
  member,
  name,
  nodeId,
  proof,
  u32,
  u48,
} from "./fields.ts";
import {
  type ClientMessage,
  type Goodbye,
  type Challenge,
  type Hello,
  type HelloAnswer,
  type LogLine,
  type LogPage,
  type MemberStatus,
  NODE_STATES,
  type NodeStatus,
  MEMBER_ROLES,
  type Peeked,
  type PeerFragment,
  type Proof,
  type AccessRole,
  ROLES,
  type ServerMessage,
  type StageTime,
  type StageTimes,
  type Trace,
} from "./protocol.ts";

/**
 * What waits behind what, between members: `bulk` behind everything else; of `newest` a later message takes the place of one that
 * waits, since it claims all that the earlier one did. On other connections: `urgent` goes ahead of all that waits.
 */
export type Priority = "urgent" | "newest" | "bulk";

export interface FrameLayout<T> extends Kind<T> {
  /** Which side of a connection sends it. */
  readonly from: "dialer" | "acceptor" | "both";
  /** What the dialer must be allowed to do; null: it is sent before that is known, or claims it itself. */
  readonly leastRole: AccessRole | null;
  readonly priority: Priority;
}

/** The array in a frame of a member: the message inside is encoded already, and may lie in several parts. */
export interface RawPeerFrame {
  readonly type: "peer";
  readonly sequence: number;
  readonly checksum: number;
  readonly message: Uint8Array | Parts;
}
export type RawFragment = Omit<PeerFragment, "bytes"> & {
  readonly checksum: number;
  readonly bytes: Uint8Array | Parts;
};

export type Frame =
  Hello | HelloAnswer | Challenge | Proof | Goodbye | ClientMessage | ServerMessage | RawPeerFrame | RawFragment;

/** More than a client id may have: a node can refuse a longer one with the reason. */
const MAX_CLIENT_ID_BYTES = 256;
const NO_PAYLOAD = new Uint8Array(0);

const clientBytes = binary(WIRE.maxClientFrameBytes);
/** Parts when it is sent, a view when it is received. */
const bulkBytes: Field<Uint8Array | Parts> = {
  ...binaryView(WIRE.maxPeerFrameBytes),
  write: placeBinary,
};
const frameId = uint();
/** There is one group for now. */
const group = uint(0);

const memberStatus = tuple<MemberStatus>("a member's status", {
  id: nodeId,
  incarnation,
  address,
  role: choice("role of a member", MEMBER_ROLES),
  reachable: boolean,
  matchIndex: u48,
  diskLow: boolean,
});

const stageTimes = tuple<StageTimes>("times", {
  windowMs: uint(),
  stages: list(
    tuple<StageTime>("a stage", { name, count: uint(), microseconds: uint(), longestMicroseconds: uint() }),
    MAX_LIST,
  ),
});

const status = tuple<NodeStatus>("a status", {
  node: member,
  clusterId,
  state: choice("state of a node", NODE_STATES),
  term: u48,
  leader: nullable(nodeId),
  leaderAddress: nullable(address),
  commitIndex: u48,
  appliedIndex: u48,
  firstIndex: u48,
  lastIndex: u48,
  snapshotIndex: u48,
  members: list(memberStatus, MAX_LIST),
  ready: uint(),
  readyBytes: uint(),
  sessions: uint(),
  dormantSessions: uint(),
  uptimeMs: uint(),
  residentBytes: uint(),
  logBytes: uint(),
  checkpoint: nullable(checkpoint),
  times: nullable(stageTimes),
});

const page = tuple<LogPage>("a page of the log", {
  node: nodeId,
  term: u48,
  snapshotIndex: u48,
  commitIndex: u48,
  appliedIndex: u48,
  firstIndex: u48,
  lastIndex: u48,
  more: boolean,
  entries: list(
    tuple<LogLine>("an entry", {
      index: u48,
      term: u48,
      kind: name,
      wall: u48,
      client: text(MAX_CLIENT_ID_BYTES),
      requestNumber: u48,
      body: clientBytes,
    }),
    SERVER.maxLogPageEntries,
  ),
});

const trace = tuple<Trace>("a trace", {
  index: u48,
  term: u48,
  leader: nodeId,
  durable: list(tuple<Trace["durable"][number]>("a member's time", { id: nodeId, microseconds: uint() }), MAX_LIST),
  committedMicroseconds: uint(),
  voters: uint(MAX_LIST),
});

/** A peekAnswer as its values lie in the array. */
interface FlatPeekAnswer {
  readonly type: "peekAnswer";
  readonly frameId: number;
  readonly job: number | null;
  readonly encoding: number;
  readonly payload: Uint8Array;
  readonly ready: number;
  readonly appliedIndex: number;
}

const peekAnswer = convertedKind<Extract<ServerMessage, { type: "peekAnswer" }>, FlatPeekAnswer>(
  kind<FlatPeekAnswer>(
    "peekAnswer",
    55,
    {
      frameId,
      job: nullable(uint()),
      encoding: uint(MAX_ENCODING),
      payload: clientBytes,
      ready: uint(),
      appliedIndex: u48,
    },
    {
      check: ({ job, encoding, payload }) =>
        job === null && (encoding !== 0 || payload.length > 0)
          ? "a peek that found nothing has nothing of a job"
          : null,
    },
  ),
  ({ type, frameId: id, peeked: { job, ready, appliedIndex } }) => ({
    type,
    frameId: id,
    job: job?.id ?? null,
    encoding: job?.encoding ?? 0,
    payload: job?.payload ?? NO_PAYLOAD,
    ready,
    appliedIndex,
  }),
  ({ type, frameId: id, job: jobId, encoding, payload, ready, appliedIndex }) => {
    const job: Job | null = jobId === null ? null : { id: jobId, encoding, payload };
    const peeked: Peeked = { job, ready, appliedIndex };
    return { type, frameId: id, peeked };
  },
);

type Delivery = Pick<FrameLayout<Frame>, "from" | "leastRole" | "priority">;
type ClientDelivery = Delivery & { readonly leastRole: AccessRole };

const control = (from: Delivery["from"]): Delivery => ({ from, leastRole: null, priority: "urgent" });
const fromClient = (leastRole: AccessRole, priority: Priority = "bulk"): ClientDelivery => ({
  from: "dialer",
  leastRole,
  priority,
});
const answer = (priority: Priority = "bulk"): Delivery => ({ from: "acceptor", leastRole: null, priority });
const betweenMembers: Delivery = { from: "both", leastRole: "peer", priority: "bulk" };

type FrameOf<Type extends Frame["type"]> = Extract<Frame, { readonly type: Type }>;
type LayoutOf<Type extends Frame["type"]> = FrameLayout<FrameOf<Type>> &
  (Type extends ClientMessage["type"] ? ClientDelivery : Delivery);

/** Numbers are permanent and never used twice. */
export const FRAMES: { readonly [Type in Frame["type"]]: LayoutOf<Type> } = {
  hello: {
    ...control("dialer"),
    ...kind<Hello>(
      "hello",
      1,
      {
        version: u32,
        features: list(name, MAX_LIST),
        role: choice("role", ROLES),
        clusterId,
        node: nullable(member),
        nonce: optional(proof),
      },
      {
        check: ({ node, role }) =>
          (node === null) === (role === "peer") ? "a peer, and only a peer, names its node" : null,
      },
    ),
  },
  helloAnswer: {
    ...control("acceptor"),
    ...kind<HelloAnswer>("helloAnswer", 2, {
      version: u32,
      features: list(name, MAX_LIST),
      clusterId,
      node: member,
      leader: nullable(address),
      term: u48,
      members: list(address, MAX_LIST),
      maxFrameBytes: u32,
      maxPayloadBytes: u32,
      proof: optional(proof),
    }),
  },
  goodbye: { ...control("both"), ...kind<Goodbye>("goodbye", 3, { failure }) },
  challenge: { ...control("acceptor"), ...kind<Challenge>("challenge", 4, { nonce: proof, clusterId, node: member }) },
  proof: { ...control("dialer"), ...kind<Proof>("proof", 5, { proof }) },

  request: {
    ...fromClient("client"),
    ...kind<FrameOf<"request">>("request", 16, {
      frameId,
      group,
      session: u48,
      number: u48,
      acknowledgedThrough: u48,
      command: clientBytes,
    }),
  },
  open: {
    ...fromClient("client"),
    ...kind<FrameOf<"open">>("open", 17, {
      frameId,
      group,
      clientId: text(MAX_CLIENT_ID_BYTES),
      nonce: binary(SESSION_NONCE_BYTES, SESSION_NONCE_BYTES),
      generated: boolean,
      resume: boolean,
    }),
  },
  close: {
    ...fromClient("client"),
    ...kind<FrameOf<"close">>("close", 18, { frameId, group, session: u48, acknowledgedThrough: u48 }),
  },
  status: { ...fromClient("read-only"), ...kind<FrameOf<"status">>("status", 19, { frameId, linearizable: boolean }) },
  log: {
    ...fromClient("read-only"),
    ...kind<FrameOf<"log">>("log", 20, { frameId, from: u48, to: u48, local: boolean }),
  },
  trace: { ...fromClient("read-only"), ...kind<FrameOf<"trace">>("trace", 21, { frameId, index: u48 }) },
  join: { ...fromClient("admin"), ...kind<FrameOf<"join">>("join", 22, { frameId, member, comesBack: boolean }) },
  remove: {
    ...fromClient("admin"),
    ...kind<FrameOf<"remove">>("remove", 23, { frameId, ids: list(nodeId, MAX_LIST) }),
  },
  transfer: { ...fromClient("admin"), ...kind<FrameOf<"transfer">>("transfer", 24, { frameId, to: nullable(nodeId) }) },
  ping: { ...fromClient("read-only", "urgent"), ...kind<FrameOf<"ping">>("ping", 25, { frameId }) },
  peek: { ...fromClient("read-only"), ...kind<FrameOf<"peek">>("peek", 26, { frameId }) },
  readmit: { ...fromClient("admin"), ...kind<FrameOf<"readmit">>("readmit", 27, { frameId, id: nodeId }) },

  reply: { ...answer(), ...kind<FrameOf<"reply">>("reply", 48, { frameId, duplicate: boolean, reply: clientBytes }) },
  failure: { ...answer(), ...kind<FrameOf<"failure">>("failure", 49, { frameId, failure }) },
  statusAnswer: { ...answer(), ...kind<FrameOf<"statusAnswer">>("statusAnswer", 50, { frameId, status }) },
  logAnswer: { ...answer(), ...kind<FrameOf<"logAnswer">>("logAnswer", 51, { frameId, page }) },
  traceAnswer: { ...answer(), ...kind<FrameOf<"traceAnswer">>("traceAnswer", 52, { frameId, trace }) },
  done: { ...answer(), ...kind<FrameOf<"done">>("done", 53, { frameId, index: u48, clusterId }) },
  pong: { ...answer("urgent"), ...kind<FrameOf<"pong">>("pong", 54, { frameId }) },
  peekAnswer: { ...answer(), ...peekAnswer },

  peer: {
    ...betweenMembers,
    ...kind<RawPeerFrame>("peer", 64, { sequence: uint(), checksum: u32, message: bulkBytes }),
  },
  fragment: {
    ...betweenMembers,
    ...kind<RawFragment>("fragment", 65, {
      sequence: uint(),
      checksum: u32,
      left: uint(WIRE.maxPeerFrameBytes),
      bytes: bulkBytes,
    }),
  },
};
