// How do members reach each other? Each dials every other member: its requests leave on that link, replies come back on it.
import { type ErrorCode, type Failure, failure } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { Random } from "../lib/random.ts";
import type { Link, Outgoing } from "../raft/effects.ts";
import { problemWith } from "../raft/admission.ts";
import type { RaftMessage } from "../raft/messages.ts";
import { OWN_LINK } from "../raft/outbox.ts";
import { type ClusterId, type Member, type MemberId, memberId } from "../raft/types.ts";
import { formatDuration } from "../lib/durations.ts";
import type { Connection, ConnectionLimits, Message, Progress } from "../wire/connection.ts";
import { dialNode, isStranger } from "../wire/dial.ts";
import type { Network } from "../wire/network.ts";
import { dialsNode } from "../wire/protocol.ts";
import { membersOf } from "./status.ts";
import type { Links, Replica } from "./replica.ts";
import type { Stages } from "./stages.ts";
import type { LogEvent } from "./types.ts";

export interface PeerSettings {
  readonly dialTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  /** A member that owes an answer, and acknowledges and sends nothing for so long, is dialed again. */
  readonly silenceMs: number;
  /** A member from which nothing came for so long is pinged. */
  readonly memberPingMs: number;
  /** A member is reachable from which bytes came within this time. */
  readonly reachableMs: number;
}

export interface PeerPorts {
  readonly self: Member;
  readonly clusterId: ClusterId;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly stages: Pick<Stages, "add">;
  readonly limits: ConnectionLimits;
  readonly settings: PeerSettings;
  readonly log: (line: LogEvent) => void;
}

export interface Peers extends Links {
  start(replica: Replica): void;
  /** For a connection with a member's hello: its messages go to the replica, replies go back on the same connection. */
  accept(connection: Connection, from: Member): (message: Message) => void;
  /** On an accepted connection. */
  progress(connection: Connection, progress: Progress): void;
  closed(connection: Connection): void;
  /** Bytes came from it, on a connection that it dialed as this very member. */
  bytesReceived(member: MemberId): void;
  /** It serves as this very incarnation, and something came from it a moment ago, on either connection. */
  isReachable(member: MemberId): boolean;
  stop(): void;
}

/** Our own link to one member. */
interface PeerLink {
  readonly member: Member;
  readonly id: MemberId;
  connection: Connection | null;
  /** Ends the dial or the connection. */
  hangUp: () => void;
  /** The other side answered hello as exactly this member: raft may use the link. */
  up: boolean;
  /** Another node answers at the address, and that was logged. */
  mismatch: boolean;
  /** Why the two refuse each other, as last logged; null: they do not. */
  refusal: string | null;
  waitMs: number;
  cancelRetry: (() => void) | null;
  /** When bytes came from that member, on this link or on one that it dialed. */
  receivedAtMs: number;
  /** When the first message left after which nothing came; null: nothing is owed. */
  owedSinceMs: number | null;
  /** The member left the configuration, or its address changed: this link is not used again. */
  dropped: boolean;
}

export function createPeers(ports: PeerPorts): Peers {
  const { self, clock, settings } = ports;
  const links = new Map<MemberId, PeerLink>();
  const accepted = new Map<Link, Connection>();
  const senders = new Map<Connection, { readonly link: Link; readonly from: MemberId }>();
  const unflushed = new Set<Connection>();
  let replica: Replica | null = null;
  let nextLink: Link = 1;
  let stopped = false;
  let followedConfiguration: unknown = null;
  let cancelSilenceCheck = (): void => {};

  function follow(): void {
    const { raft } = replica ?? {};
    if (raft === undefined || raft.configuration === followedConfiguration) return;
    followedConfiguration = raft.configuration;
    const wanted = new Map(membersOf(raft).map(({ member }) => [memberId(member), member]));
    for (const link of links.values()) {
      const member = wanted.get(link.id);
      if (member === undefined || member.address !== link.member.address) drop(link);
    }
    for (const [id, member] of wanted) {
      // An earlier incarnation of this very node is nowhere, least of all at this node's own address.
      if (member.id === self.id || links.has(id)) continue;
      const link: PeerLink = {
        member,
        id,
        connection: null,
        hangUp: () => undefined,
        up: false,
        mismatch: false,
        refusal: null,
        waitMs: 0,
        cancelRetry: null,
        receivedAtMs: Number.NEGATIVE_INFINITY,
        owedSinceMs: null,
        dropped: false,
      };
      links.set(id, link);
      dial(link);
    }
  }

  function drop(link: PeerLink): void {
    link.dropped = true;
    links.delete(link.id);
    link.cancelRetry?.();
    link.hangUp();
    if (link.up) replica?.input({ type: "linkDown", member: link.id });
    link.up = false;
  }

  function dial(link: PeerLink): void {
    if (link.dropped || stopped) return;
    const { id, address } = link.member;
    link.hangUp = dialNode(ports, {
      address,
      timeoutMs: settings.dialTimeoutMs,
      hello: { role: "peer", clusterId: ports.clusterId, node: self, features: [dialsNode(id)] },
      onUnreachable: (why, isRefused) => {
        if (why.code === "UNAUTHORISED") refused(link, why.message);
        unreachable(link, isRefused);
      },
      onConnected: (connection) => {
        link.connection = connection;
        link.owedSinceMs = clock.now();
      },
      onMessage: (connection, message) => receive(link, connection, message),
      onClosed: (connection, why) => lost(link, connection, why),
      onRead: (connection, milliseconds) => {
        ports.stages.add("decode", milliseconds);
        if (link.connection !== connection) return;
        link.receivedAtMs = clock.now();
        link.owedSinceMs = null;
      },
      onProgress: (connection, progress) => noteProgress(link, connection, progress),
    });
  }

  /**
   * A system that sends lost bytes again waits longer each time, for seconds after the network works again: a new connection does
   * not. What is sent is answered at once, except for what waits for a hung disk, which a new connection does not hurt; and bulk
   * is acknowledged fragment by fragment, each so small that the slowest link has carried it by then.
   */
  const isStalled = ({ owedSinceMs }: PeerLink): boolean =>
    owedSinceMs !== null && clock.now() - owedSinceMs > settings.silenceMs;

  function sendOn(link: PeerLink, connection: Connection, message: RaftMessage): void {
    if (isStalled(link)) return giveUp(link, connection);
    link.owedSinceMs ??= clock.now();
    connection.send(message);
  }

  /**
   * Members that have nothing to send to each other, as followers of one leader have, ping each other: so what status reports of them
   * stays true, and a dead link is replaced before it is needed. A leader's heartbeats spare it that.
   */
  function scheduleSilenceCheck(): void {
    const due = clock.now() + settings.memberPingMs;
    cancelSilenceCheck = clock.after(settings.memberPingMs, () => {
      // Then what the others sent meanwhile is still unread.
      const stoodStill = clock.now() - due > settings.memberPingMs;
      for (const link of links.values()) checkSilence(link, stoodStill);
      scheduleSilenceCheck();
    });
  }

  function checkSilence(link: PeerLink, stoodStill: boolean): void {
    const { connection, up, owedSinceMs } = link;
    if (connection === null) return;
    if (stoodStill && owedSinceMs !== null) link.owedSinceMs = clock.now();
    if (isStalled(link)) return giveUp(link, connection);
    if (!up) return;
    if (clock.now() - link.receivedAtMs < settings.memberPingMs) return;
    link.owedSinceMs ??= clock.now();
    connection.ping();
  }

  function giveUp(link: PeerLink, connection: Connection): void {
    const silence = formatDuration(clock.now() - (link.owedSinceMs ?? clock.now()));
    const bulk = connection.bulkInFlight();
    const inFlight =
      bulk === null
        ? ""
        : `; it has acknowledged ${bulk.acknowledged} of ${bulk.bytes} bytes of the ${bulk.type} in flight for ${formatDuration(clock.now() - bulk.sinceMs)}`;
    const text = `${link.member.id} at ${link.member.address} has not answered for ${silence}${inFlight}: dialing it again`;
    // Only the loss of a link that worked is worth a warning: a member that is paused is dialed again and again.
    if (link.up) ports.log({ level: "warn", event: "peer-stalled", text });
    // What waits here is sent again on the new link, so the old one need not carry it first.
    connection.abandon(failure("TIMEOUT", `${link.member.id} has not answered for ${silence}`));
  }

  function noteProgress(link: PeerLink, connection: Connection, progress: Progress): void {
    if (progress.type === "acknowledged" && progress.bytes > 0) noteRate(link, connection);
  }

  function noteRate(link: PeerLink, connection: Connection): void {
    const rate = connection.bytesPerSecond();
    if (rate !== null && link.up) replica?.linkProgress(link.id, rate);
  }

  function receive(link: PeerLink, connection: Connection, message: Message): void {
    if (message.type !== "helloAnswer") {
      if (isReply(message) && link.up) deliver(connection, link.id, OWN_LINK, message);
      return;
    }
    const { node, clusterId } = message;
    // A joiner that has not received yet that it was let in: it will in a moment.
    if (clusterId === null && memberId(node) === link.id) return connection.close(null);
    if (clusterId !== ports.clusterId || memberId(node) !== link.id) {
      // It may be a wiped node that will be swapped in under its new incarnation: dial again, slowly, and log it once.
      link.waitMs = settings.reconnectMaxMs;
      if (link.mismatch) return connection.close(null);
      link.mismatch = true;
      const found = `${memberId(node)} of cluster ${clusterId ?? "(none yet)"}`;
      ports.log({
        level: "warn",
        event: "peer-mismatch",
        text: `${link.member.address} should be ${link.id} of cluster ${ports.clusterId} but is ${found}: not used`,
      });
      return connection.close(null);
    }
    link.up = true;
    link.mismatch = false;
    link.refusal = null;
    link.waitMs = 0;
    replica?.input({ type: "linkUp", member: link.id });
    noteRate(link, connection);
  }

  function deliver(connection: Connection, from: MemberId, link: Link, message: RaftMessage): void {
    if (replica === null) return;
    const problem = problemWith(replica.raft, from, message);
    if (problem === null) return replica.receive(from, link, message);
    ports.log({ level: "warn", event: "peer-refused", text: `${problem}: this cannot be, the connection was closed` });
    connection.close(failure("BAD_REQUEST", `this cannot be: ${problem}`));
  }

  function lost(link: PeerLink, connection: Connection, why: Failure | null): void {
    unflushed.delete(connection);
    if (link.connection !== connection) return;
    link.connection = null;
    link.owedSinceMs = null;
    const wasUp = link.up;
    link.up = false;
    if (link.dropped || stopped) return;
    if (wasUp) replica?.input({ type: "linkDown", member: link.id });
    if (why !== null && (REFUSALS.has(why.code) || isStranger(connection, why))) refused(link, why.message);
    // The first try after a loss is immediate: a leader's port that refuses means that its process is gone.
    if (wasUp) dial(link);
    else redialLater(link);
  }

  /** Logged once; dialed again slowly, since a person may repair it. */
  function refused(link: PeerLink, why: string): void {
    link.waitMs = settings.reconnectMaxMs;
    if (link.refusal === why) return;
    link.refusal = why;
    ports.log({ level: "error", event: "peer-refused", text: `no link to ${link.member.address}: ${why}` });
  }

  function unreachable(link: PeerLink, refused: boolean): void {
    if (refused && replica?.raft.leader === link.id) replica.input({ type: "leaderGone", leader: link.id });
    redialLater(link);
  }

  function redialLater(link: PeerLink): void {
    const waitMs = Math.min(settings.reconnectMaxMs, Math.max(settings.reconnectMinMs, link.waitMs * 2));
    link.waitMs = waitMs;
    link.cancelRetry?.();
    link.cancelRetry = clock.after(ports.random.between(Math.ceil(waitMs / 2), waitMs), () => dial(link));
  }

  /** The connection that it was given to; null: there is none, and it is lost. */
  function give({ to, link: answered, message }: Outgoing): Connection | null {
    if (answered !== 0) {
      const connection = accepted.get(answered);
      connection?.send(message);
      return connection ?? null;
    }
    const link = links.get(to);
    if (link === undefined || !link.up || link.connection === null) return null;
    const { connection } = link;
    sendOn(link, connection, message);
    return connection;
  }

  return {
    start: (given) => {
      replica = given;
      follow();
      scheduleSilenceCheck();
    },
    send: (outgoing) => {
      const connection = give(outgoing);
      if (connection !== null) unflushed.add(connection);
    },
    flush: () => {
      follow();
      for (const connection of unflushed) connection.flush();
      unflushed.clear();
    },
    accept: (connection, from) => {
      const link = nextLink++;
      const fromId = memberId(from);
      accepted.set(link, connection);
      senders.set(connection, { link, from: fromId });
      return (message) => {
        if (isRequest(message)) deliver(connection, fromId, link, message);
        else connection.close(failure("BAD_REQUEST", `a ${message.type} is not allowed on this connection`));
      };
    },
    progress: (connection, progress) => {
      const sender = senders.get(connection);
      if (sender !== undefined && progress.type === "received") replica?.bytesReceived(sender.from);
    },
    closed: (connection) => {
      const sender = senders.get(connection);
      if (sender !== undefined) accepted.delete(sender.link);
      senders.delete(connection);
      unflushed.delete(connection);
    },
    bytesReceived: (member) => {
      const link = links.get(member);
      if (link !== undefined) link.receivedAtMs = clock.now();
    },
    isReachable: (member) => {
      const link = links.get(member);
      return link !== undefined && link.up && clock.now() - link.receivedAtMs <= settings.reachableMs;
    },
    stop: () => {
      stopped = true;
      cancelSilenceCheck();
      for (const link of links.values()) {
        link.cancelRetry?.();
        link.hangUp();
      }
      for (const connection of accepted.values()) connection.close(null);
      links.clear();
    },
  };
}

/** Refusals that come again at every dial, until a person repairs the cause. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["CLUSTER_MISMATCH", "VERSION", "UNAUTHORISED"]);

type RaftReply = Extract<RaftMessage, { type: `${string}Reply` }>;
type RaftRequest = Exclude<RaftMessage, RaftReply>;

const REPLIES: ReadonlySet<string> = new Set<RaftReply["type"]>([
  "RequestVoteReply",
  "AppendEntriesReply",
  "HeartbeatReply",
  "InstallSnapshotReply",
  "ProbeReply",
]);
const REQUESTS: ReadonlySet<string> = new Set<RaftRequest["type"]>([
  "RequestVote",
  "AppendEntries",
  "Heartbeat",
  "TimeoutNow",
  "InstallSnapshot",
  "StaleDisk",
  "Probe",
]);

function isReply(message: Message): message is RaftReply {
  return REPLIES.has(message.type);
}

function isRequest(message: Message): message is RaftRequest {
  return REQUESTS.has(message.type);
}
