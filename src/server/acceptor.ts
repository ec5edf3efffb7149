// Accepts connections: each sends its hello, and then is refused, or is a member's, a founder's or a client's.
import { WIRE } from "../config.ts";
import { must } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { isRemoved } from "../raft/admission.ts";
import { leaderLives } from "../raft/election.ts";
import { isVoter, namesMember } from "../raft/configuration.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type Configuration, type Member, type MemberId, memberId } from "../raft/types.ts";
import { type Connection, type Message, openConnection } from "../wire/connection.ts";
import { isStranger } from "../wire/dial.ts";
import type { ByteStream } from "../wire/network.ts";
import { type ClientMessage, dialsNode, type Hello } from "../wire/protocol.ts";
import { allows } from "../wire/secret.ts";
import { foreignMemberDialed, founderStated } from "./bootstrap-phase.ts";
import { clientClosed, clientEnded, type Clients } from "./clients.ts";
import {
  type BufferBudget,
  type ConnectionLimiter,
  countAccepted,
  countAdmin,
  countClient,
  countPeer,
  createBufferBudget,
  createConnectionLimiter,
  type Eviction,
  uncount,
} from "./connection-limits.ts";
import { createLogThrottle } from "./log-throttle.ts";
import { leaderAddressOf, membersOf } from "./members.ts";
import { acceptMember, memberBytesReceived, memberClosed, memberProgress, type Peers } from "./peers.ts";
import { acceptClient } from "./requests.ts";
import { isClientMessage, refusalOf } from "./roles.ts";
import { replicaOf, type Run } from "./run.ts";
import { addTime } from "./stages.ts";
import type { NodeSettings, Ports } from "./types.ts";

/** The accepted connections of a run. */
export interface Connections {
  readonly open: Map<Connection, AcceptedConnection>;
  readonly limiter: ConnectionLimiter<Connection>;
  readonly budget: BufferBudget<Connection>;
  /** A connection or a message was refused: whose, and why. */
  readonly logRefusal: (text: string) => void;
}

interface AcceptedConnection {
  readonly connection: Connection;
  from: Caller;
}

/** Who is at the other end. */
type Caller =
  /** It has not sent its hello, or was refused. */
  { readonly type: "unknown" } | Peer | Client;

/** A member, or a founder, as its hello claims. */
interface Peer {
  readonly type: "peer";
  readonly node: Member;
  readonly id: MemberId;
  /** Of the cluster that it named; null: it has none, as a founder. */
  readonly clusterId: ClusterId | null;
  /** Takes its messages, and its place among the members; null: it has sent none. */
  receiver: { readonly peers: Peers; readonly receive: (message: Message) => void } | null;
  /** The last configuration that was seen to name it: asked again only when that changes. */
  memberOf: Configuration | null;
}

interface Client {
  readonly type: "client";
  /** Takes its requests; null: it has sent none. */
  receiver: { readonly clients: Clients; readonly receive: (message: ClientMessage) => void } | null;
}

export function createConnections(
  { clock, log }: Pick<Ports, "clock" | "log">,
  { maxConnections, maxBufferedBytes }: Pick<NodeSettings, "maxConnections" | "maxBufferedBytes">,
): Connections {
  return {
    open: new Map(),
    limiter: createConnectionLimiter(maxConnections),
    budget: createBufferBudget(maxBufferedBytes),
    logRefusal: createLogThrottle(clock, log),
  };
}

export function accept(run: Run, stream: ByteStream): void {
  const { connections, ports } = run;
  const { remote } = stream;
  const connection = openConnection({
    stream,
    clock: ports.clock,
    limits: WIRE,
    side: "accepted",
    onMessage: (message) => receive(run, accepted, message),
    introduce: () => (run.self === null ? null : { clusterId: run.clusterId, node: run.self }),
    onClosed: (why) => closed(run, accepted, why),
    onEnded: () => {
      const { from } = accepted;
      return from.type === "client" && from.receiver !== null && clientEnded(from.receiver.clients, connection);
    },
    onRead: (milliseconds) => {
      const replica = replicaOf(run);
      if (replica === null) return;
      addTime(replica.stages, "decode", milliseconds);
      const { from } = accepted;
      if (from.type === "peer" && from.clusterId !== null) memberBytesReceived(replica.peers, from.id);
    },
    onProgress: (progress) => {
      const replica = replicaOf(run);
      if (replica !== null) memberProgress(replica.peers, connection, progress);
    },
    onBuffered: (bytes) => limitBuffers(run, accepted, bytes),
  });
  const accepted: AcceptedConnection = { connection, from: { type: "unknown" } };
  connections.open.set(connection, accepted);
  evict(countAccepted(connections.limiter, connection, remote));
}

function receive(run: Run, accepted: AcceptedConnection, message: Message): void {
  const { connection, from } = accepted;
  switch (from.type) {
    case "unknown":
      if (message.type === "hello") accepted.from = helloReceived(run, connection, message);
      return;
    case "peer":
      return receiveFromPeer(run, connection, from, message);
    case "client":
      return receiveFromClient(run, connection, from, message);
  }
}

function helloReceived(run: Run, connection: Connection, hello: Hello): Caller {
  const refused = problemWith(run, hello) ?? reserveSlot(run, connection, hello);
  if (refused !== null) {
    connection.close(refused);
    return { type: "unknown" };
  }
  answerHello(run, connection);
  const { role, node, clusterId } = hello;
  return role === "peer" && node !== null
    ? { type: "peer", node, id: memberId(node), clusterId, receiver: null, memberOf: null }
    : { type: "client", receiver: null };
}

function problemWith(run: Run, { role, node, clusterId, features }: Hello): Failure | null {
  const { self, clusterId: own, connections } = run;
  if (self === null) return failure("STARTING", "this node is still recovering its log");
  if (role === "peer" && node === null) return failure("BAD_REQUEST", "a peer's hello names its node");
  if (clusterId === null) return null;
  if (clusterId === own) return node === null ? null : outsiderProblem(replicaOf(run)?.raft, node);
  if (node !== null && features.includes(dialsNode(self.id))) foreignMemberDialed(run, clusterId, node);
  if (own === null) return null;
  const why = `this node belongs to cluster ${own}, not to ${clusterId}`;
  connections.logRefusal(`${node?.id ?? "a client"}: ${why}`);
  return failure("CLUSTER_MISMATCH", why);
}

function reserveSlot(run: Run, connection: Connection, { node, role }: Hello): Failure | null {
  const { limiter } = run.connections;
  if (node === null) {
    // Without credentials the role is the one that the hello claims.
    const isAdmin = role === "admin" && allows(must(connection.who, "the identity behind a hello").role, role);
    if (!isAdmin) return countClient(limiter, connection);
    evict(countAdmin(limiter, connection));
    return null;
  }
  const { refused, eviction } = countPeer(limiter, connection, memberId(node), (id) => isMember(run, id));
  evict(eviction);
  return refused;
}

/** Of the present configuration. */
function isMember(run: Run, id: MemberId): boolean {
  const replica = replicaOf(run);
  return replica !== null && namesMember(replica.raft.configuration, id);
}

function answerHello(run: Run, connection: Connection): void {
  const raft = replicaOf(run)?.raft;
  connection.send({
    type: "helloAnswer",
    version: WIRE.protocolVersion,
    features: [],
    clusterId: run.clusterId,
    node: must(run.self, "this node as a member"),
    leader: raft === undefined ? null : leaderAddressOf(raft),
    term: raft?.currentTerm ?? 0,
    members: raft === undefined ? [] : membersOf(raft).map(({ member }) => member.address),
    maxFrameBytes: WIRE.maxClientFrameBytes,
    maxPayloadBytes: WIRE.maxPayloadBytes,
  });
  connection.flush();
}

function receiveFromPeer(run: Run, connection: Connection, from: Peer, message: Message): void {
  if (message.type === "bootstrap") {
    const { expect, set, fresh, record } = message;
    connection.send({ type: "bootstrapAnswer", ...founderStated(run, from.node, { expect, set, fresh, record }) });
    return connection.flush();
  }
  const replica = replicaOf(run);
  if (replica === null || from.clusterId === null)
    return connection.close(failure("STARTING", "this node is not a member of a cluster yet"));
  const { raft, self, peers } = replica;
  if (from.id === memberId(self)) return connection.close(failure("CONFLICT", "this is your own id"));
  from.receiver ??= { peers, receive: acceptMember(peers, connection, from.node) };
  if (raft.configuration !== from.memberOf) {
    const outsider = outsiderProblem(raft, from.node);
    if (outsider !== null) return connection.close(outsider);
    if (namesMember(raft.configuration, from.id)) from.memberOf = raft.configuration;
  }
  from.receiver.receive(message);
}

function receiveFromClient(run: Run, connection: Connection, from: Client, message: Message): void {
  if (!isClientMessage(message))
    return connection.close(failure("BAD_REQUEST", `a ${message.type} is not a client's message`));
  const { frameId } = message;
  const replica = replicaOf(run);
  if (replica === null) {
    connection.send({ type: "failure", frameId, failure: whyNotServing(run) });
    return connection.flush();
  }
  const refusal = refusalOf(message, must(connection.who, "the identity behind a hello"));
  if (refusal !== null) {
    run.connections.logRefusal(`${hostOf(connection.remote)}: ${refusal.message}`);
    connection.send({ type: "failure", frameId, failure: refusal });
    return connection.flush();
  }
  from.receiver ??= { clients: replica.clients, receive: acceptClient(replica, connection) };
  from.receiver.receive(message);
}

function whyNotServing({ phase, join, settings }: Run): Failure {
  if (phase.type !== "rejoining") return failure("STARTING", "this node is not a member of a cluster yet");
  return failure("REJOINING", `${settings.id} has lost its data (${phase.why}); ${join?.state ?? "starting"}`);
}

function closed(run: Run, { connection, from }: AcceptedConnection, why: Failure | null): void {
  const { connections, ports } = run;
  if (from.type === "peer" && from.receiver !== null) memberClosed(from.receiver.peers, connection);
  if (from.type === "client" && from.receiver !== null) clientClosed(from.receiver.clients, connection);
  connections.open.delete(connection);
  uncount(connections.limiter, connection);
  connections.budget.leave(connection);
  if (why === null) return;
  const { greeting } = connection;
  if (why.code === "TIMEOUT" && greeting?.type === "hello" && greeting.node !== null) {
    const text = `the link from ${greeting.node.id} ended: ${why.message}`;
    ports.log({ level: "warn", event: "peer-timeout", text });
  }
  if (why.code === "UNAUTHORISED" || isStranger(connection, why))
    connections.logRefusal(`${hostOf(connection.remote)}: ${why.message}`);
}

/** Counts the memory that the connection takes now. Above the limit for all connections, those that make no progress are closed. */
function limitBuffers(run: Run, { connection, from }: AcceptedConnection, bytes: number): void {
  const { budget } = run.connections;
  const owner = { remote: connection.remote, isMember: from.type === "peer" && isMember(run, from.id) };
  for (const slow of budget.update(connection, owner, bytes)) {
    const why = `all connections together hold more than ${run.settings.maxBufferedBytes} bytes, and this one made no progress for the longest`;
    slow.abandon(failure("OVERLOADED", why));
  }
}

function evict(eviction: Eviction<Connection> | null): void {
  eviction?.connection.abandon(eviction.why);
}

/**
 * Why this node is not accepted as a member; null: it is. Voters always refuse a node that was removed: one that was let in again becomes
 * a voter when all voters have the entry of it. A learner may have the entry of the removal only, and need that very node as its leader: it
 * refuses it only while there is another leader. An earlier incarnation of a member is refused only while there is a leader: its votes
 * are ignored then anyway, and a node that was let in by a leader unknown to this node must reach it when that leader fails.
 */
function outsiderProblem(raft: Raft | undefined, from: Member): Failure | null {
  if (raft === undefined) return null;
  const id = memberId(from);
  if (isRemoved(raft, from.id)) {
    if (!isVoter(raft.members, raft.self) && (raft.leader === id || !leaderLives(raft))) return null;
  } else {
    if (raft.leader === null || raft.configurationIndex > raft.commitIndex) return null;
    if (namesMember(raft.configuration, id)) return null;
    const wasMember = raft.configurations.some(({ configuration }) => namesMember(configuration, id));
    if (raft.role !== "leader" && !wasMember) return null;
  }
  return failure("UNAUTHORISED", `${from.id} is no member of this cluster any more: it was removed, or replaced`);
}

/** Without the port, which is another one for every connection. */
const hostOf = (remote: string): string => remote.slice(0, remote.lastIndexOf(":"));
