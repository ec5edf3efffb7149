// What becomes of an accepted connection? It sends its hello; then it is refused, or is a member's, a founder's or a client's.
import { must } from "../lib/assert.ts";
import { type Failure, failure } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import { isRemoved } from "../raft/admission.ts";
import { leaderLives } from "../raft/election.ts";
import { isVoter, namesMember } from "../raft/configuration.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type Configuration, type Member, type MemberId, memberId } from "../raft/types.ts";
import { type Connection, type ConnectionLimits, type Message, openConnection } from "../wire/connection.ts";
import type { ByteStream } from "../wire/network.ts";
import { type ClientMessage, dialsNode, type Hello } from "../wire/protocol.ts";
import { allows } from "../wire/secret.ts";
import type { Clients } from "./clients.ts";
import type { BootstrapStatement } from "./bootstrap-rules.ts";
import { createBufferBudget } from "./buffer-budget.ts";
import type { Peers } from "./peers.ts";
import { createConnectionLimiter, type Eviction, type MaxConnections } from "./connection-limits.ts";
import type { Replica } from "./replica.ts";
import { isClientMessage, refusalOf } from "./roles.ts";
import { leaderAddressOf, membersOf } from "./status.ts";
import type { LogEvent } from "./types.ts";

export interface AcceptorPorts {
  readonly clock: Clock;
  readonly limits: ConnectionLimits & { readonly protocolVersion: number; readonly maxPayloadBytes: number };
  readonly maxConnections: MaxConnections;
  /** Of all connections together. */
  readonly maxBufferedBytes: number;
  readonly log: (line: LogEvent) => void;
  /** A connection or a message was refused: whose, and why. */
  readonly refused: (text: string) => void;
  readonly self: () => Member | null;
  readonly clusterId: () => ClusterId | null;
  readonly serving: () => { readonly replica: Replica; readonly clients: Clients; readonly peers: Peers } | null;
  /** The answer to a client's requests while this node is not a member. */
  readonly whyNotServing: () => Failure;
  /** A founder sends its own statement; this node's statement is the answer. */
  readonly onBootstrapStatement: (from: Member, theirs: BootstrapStatement) => BootstrapStatement;
  /** A member of another cluster dialed this address, and takes this very node for a member of that cluster. */
  readonly onForeignMember: (theirs: ClusterId, from: Member) => void;
}

export interface Acceptor {
  readonly accept: (stream: ByteStream) => void;
  closeAll(why: Failure): void;
}

export function createAcceptor(ports: AcceptorPorts): Acceptor {
  const open = new Map<Connection, { readonly closed: () => void; readonly ended?: () => boolean }>();
  const limiter = createConnectionLimiter<Connection>(ports.maxConnections);
  const budget = createBufferBudget<Connection>(ports.maxBufferedBytes);

  const evict = (eviction: Eviction<Connection> | null): void => eviction?.connection.abandon(eviction.why);

  function accept(stream: ByteStream): void {
    let receive: ((message: Message) => void) | null = null;
    const { remote } = stream;
    let peer: MemberId | null = null;
    /** It dialed as a member of this cluster. */
    let isLink = false;
    const connection = openConnection({
      stream,
      clock: ports.clock,
      limits: ports.limits,
      side: "accepted",
      onMessage: (message) => {
        if (receive !== null) return receive(message);
        if (message.type !== "hello") return;
        receive = answerHello(connection, message);
        if (receive === null || message.node === null) return;
        peer = memberId(message.node);
        isLink = message.clusterId !== null;
      },
      introduce: () => {
        const node = ports.self();
        return node === null ? null : { clusterId: ports.clusterId(), node };
      },
      onClosed: (why) => {
        open.get(connection)?.closed();
        open.delete(connection);
        const from = connection.greeting;
        if (why?.code === "TIMEOUT" && from?.type === "hello" && from.node !== null)
          ports.log({
            level: "warn",
            event: "peer-timeout",
            text: `the link from ${from.node.id} ended: ${why.message}`,
          });
        const isStranger = from === null && why?.code === "BAD_REQUEST";
        if (why?.code === "UNAUTHORISED" || (why !== null && isStranger))
          ports.refused(`${hostOf(stream.remote)}: ${why.message}`);
        limiter.leave(connection);
        budget.leave(connection);
      },
      onEnded: () => open.get(connection)?.ended?.() === true,
      onRead: (milliseconds) => {
        const serving = ports.serving();
        serving?.replica.stages.add("decode", milliseconds);
        if (peer !== null && isLink) serving?.peers.bytesReceived(peer);
      },
      onProgress: (progress) => ports.serving()?.peers.progress(connection, progress),
      onBuffered: (bytes) => {
        const owner = { remote, isMember: peer !== null && isKnown(peer) };
        for (const slow of budget.update(connection, owner, bytes)) slow.abandon(overBudget);
      },
    });
    open.set(connection, { closed: () => {} });
    evict(limiter.enter(connection, stream.remote));
  }

  const overBudget = failure(
    "OVERLOADED",
    `all connections together hold more than ${ports.maxBufferedBytes} bytes, and this one made no progress for the longest`,
  );

  /** Answers a hello and returns the receiver of the messages behind it; null when the connection is refused. */
  function answerHello(connection: Connection, hello: Hello): ((message: Message) => void) | null {
    const refused = problemWith(hello) ?? reserveSlot(connection, hello);
    if (refused !== null) {
      connection.close(refused);
      return null;
    }
    sendHello(connection);
    return hello.role === "peer" && hello.node !== null
      ? admitPeer(connection, hello, hello.node)
      : admitClient(connection);
  }

  function problemWith({ role, node, clusterId, features }: Hello): Failure | null {
    const own = ports.clusterId();
    const self = ports.self();
    if (self === null) return failure("STARTING", "this node is still recovering its log");
    if (role === "peer" && node === null) return failure("BAD_REQUEST", "a peer's hello names its node");
    if (clusterId === null) return null;
    if (clusterId === own) return node === null ? null : outsiderProblem(ports.serving()?.replica.raft, node);
    if (node !== null && features.includes(dialsNode(self.id))) ports.onForeignMember(clusterId, node);
    if (own === null) return null;
    const why = `this node belongs to cluster ${own}, not to ${clusterId}`;
    ports.refused(`${node?.id ?? "a client"}: ${why}`);
    return failure("CLUSTER_MISMATCH", why);
  }

  function reserveSlot(connection: Connection, { node, role }: Hello): Failure | null {
    if (node === null) {
      // Without credentials the role is the one that the hello claims.
      const isAdmin = role === "admin" && allows(must(connection.who, "the identity behind a hello").role, role);
      if (!isAdmin) return limiter.becomeClient(connection);
      evict(limiter.becomeAdmin(connection));
      return null;
    }
    const { refused, eviction } = limiter.becomePeer(connection, memberId(node), isKnown);
    evict(eviction);
    return refused;
  }

  function isKnown(id: MemberId): boolean {
    const raft = ports.serving()?.replica.raft;
    return raft !== undefined && namesMember(raft.configuration, id);
  }

  function sendHello(connection: Connection): void {
    const self = ports.self();
    if (self === null) return;
    const raft = ports.serving()?.replica.raft;
    connection.send({
      type: "helloAnswer",
      version: ports.limits.protocolVersion,
      features: [],
      clusterId: ports.clusterId(),
      node: self,
      leader: raft === undefined ? null : leaderAddressOf(raft),
      term: raft?.currentTerm ?? 0,
      members: raft === undefined ? [] : membersOf(raft).map(({ member }) => member.address),
      maxFrameBytes: ports.limits.maxClientFrameBytes,
      maxPayloadBytes: ports.limits.maxPayloadBytes,
    });
    connection.flush();
  }

  function admitPeer(connection: Connection, hello: Hello, from: Member): (message: Message) => void {
    const self = ports.self();
    let member: ((message: Message) => void) | null = null;
    /** The last configuration that was seen to name it: asked again only when that changes. */
    let memberOf: Configuration | null = null;
    return (message) => {
      if (message.type === "bootstrap") {
        const { expect, set, fresh, record } = message;
        connection.send({
          type: "bootstrapAnswer",
          ...ports.onBootstrapStatement(from, { expect, set, fresh, record }),
        });
        return connection.flush();
      }
      const serving = ports.serving();
      if (serving === null || hello.clusterId === null) {
        return connection.close(failure("STARTING", "this node is not a member of a cluster yet"));
      }
      if (self !== null && memberId(from) === memberId(self))
        return connection.close(failure("CONFLICT", "this is your own id"));
      if (member === null) {
        member = serving.peers.accept(connection, from);
        open.set(connection, { closed: () => serving.peers.closed(connection) });
      }
      const { raft } = serving.replica;
      if (raft.configuration !== memberOf) {
        const outsider = outsiderProblem(raft, from);
        if (outsider !== null) return connection.close(outsider);
        if (namesMember(raft.configuration, memberId(from))) memberOf = raft.configuration;
      }
      member(message);
    };
  }

  function admitClient(connection: Connection): (message: Message) => void {
    let client: ((message: ClientMessage) => void) | null = null;
    return (message) => {
      if (!isClientMessage(message)) {
        return connection.close(failure("BAD_REQUEST", `a ${message.type} is not a client's message`));
      }
      const serving = ports.serving();
      if (serving === null) {
        connection.send({ type: "failure", frameId: message.frameId, failure: ports.whyNotServing() });
        return connection.flush();
      }
      const refusal = refusalOf(message, must(connection.who, "the identity behind a hello"));
      if (refusal !== null) {
        ports.refused(`${hostOf(connection.remote)}: ${refusal.message}`);
        connection.send({ type: "failure", frameId: message.frameId, failure: refusal });
        return connection.flush();
      }
      if (client === null) {
        const { clients } = serving;
        client = clients.accept(connection);
        const ended = (): boolean => clients.ended(connection);
        open.set(connection, { closed: () => clients.closed(connection), ended });
      }
      client(message);
    };
  }

  return {
    accept,
    closeAll: (why) => {
      for (const connection of open.keys()) connection.close(why);
    },
  };
}

/**
 * A node that was removed is refused always by voters: one that was let in again becomes a voter when all voters know of it. A learner
 * may know of the removal only, and need that very node as its leader: it refuses it while another leader lives. An earlier incarnation of a member, only while a leader lives: that is when its votes are
 * ignored anyway, and a node that was let in by a leader unknown to this node must reach it when that leader dies.
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
