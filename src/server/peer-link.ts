// A member's own link to another member: dials it, dials it again after a loss, and gives up a connection that owes an answer for too
// long. Requests leave on it, and their replies come back on it.
import { WIRE } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { formatDuration } from "../lib/durations.ts";
import { type ErrorCode, type Failure, failure } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { problemWith } from "../raft/admission.ts";
import type { Link } from "../raft/effects.ts";
import type { RaftMessage } from "../raft/messages.ts";
import { OWN_LINK } from "../raft/outbox.ts";
import type { Raft } from "../raft/raft.ts";
import { type ClusterId, type Member, type MemberId, memberId } from "../raft/types.ts";
import type { Connection, Message } from "../wire/connection.ts";
import { dialNode, isStranger } from "../wire/dial.ts";
import type { Network } from "../wire/network.ts";
import { dialsNode, type HelloAnswer } from "../wire/protocol.ts";
import { addInput, addLinkRate, addMessage, type Inbox } from "./inbox.ts";
import { addTime, type Stages } from "./stages.ts";
import type { Traces } from "./traces.ts";
import type { LogEvent } from "./types.ts";

/** What all links of a member share. */
export interface LinkPorts {
  readonly self: Member;
  readonly clusterId: ClusterId;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: (line: LogEvent) => void;
  readonly stages: Stages;
  readonly traces: Traces;
  readonly raft: Raft;
  readonly inbox: Inbox;
  /** A member that owes an answer, and acknowledges and sends nothing for so long, is dialed again. */
  readonly silenceMs: number;
  /** Connections with something that was sent in this turn. */
  readonly unflushed: Set<Connection>;
}

export interface PeerLink {
  readonly ports: LinkPorts;
  readonly member: Member;
  readonly id: MemberId;
  connection: Connection | null;
  /** Ends the dial or the connection. */
  hangUp: () => void;
  /** The other side answered hello as exactly this member: raft may use the link. */
  isUp: boolean;
  /** Another node answers at the address, and that was logged. */
  isMismatchLogged: boolean;
  /** Why the two refuse each other, as last logged; null: they do not. */
  refusal: string | null;
  /** The last pause before a dial; the next one is twice as long. */
  pauseMs: number;
  cancelRetry: () => void;
  /** When bytes came from that member, on this link or on one that it dialed. */
  receivedAtMs: number;
  /** When the first message left after which nothing came; null: nothing is owed. */
  owedSinceMs: number | null;
  /** The member left the configuration, its address changed, or the node stops: this link is not used again. */
  isDropped: boolean;
}

/** Refusals that come again at every dial, until a person repairs the cause. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["CLUSTER_MISMATCH", "VERSION", "UNAUTHORISED"]);

type RaftReply = Extract<RaftMessage, { type: `${string}Reply` }>;

const REPLIES = {
  RequestVoteReply: true,
  AppendEntriesReply: true,
  HeartbeatReply: true,
  InstallSnapshotReply: true,
  ProbeReply: true,
} as const satisfies Readonly<Record<RaftReply["type"], true>>;

const isReply = (message: Message): message is RaftReply => Object.hasOwn(REPLIES, message.type);

/** Dials at once. */
export function openLink(ports: LinkPorts, member: Member): PeerLink {
  const link: PeerLink = {
    ports,
    member,
    id: memberId(member),
    connection: null,
    hangUp: () => undefined,
    isUp: false,
    isMismatchLogged: false,
    refusal: null,
    pauseMs: 0,
    cancelRetry: () => undefined,
    receivedAtMs: Number.NEGATIVE_INFINITY,
    owedSinceMs: null,
    isDropped: false,
  };
  dial(link);
  return link;
}

/** For good, without a word to raft. */
export function endLink(link: PeerLink): void {
  link.isDropped = true;
  link.cancelRetry();
  link.hangUp();
}

/** The member is no longer there to be dialed. */
export function dropLink(link: PeerLink): void {
  endLink(link);
  if (link.isUp) addInput(link.ports.inbox, { type: "linkDown", member: link.id });
  link.isUp = false;
}

function dial(link: PeerLink): void {
  if (link.isDropped) return;
  const { clusterId, clock, self, stages, network } = link.ports;
  const { id, address } = link.member;
  link.hangUp = dialNode(
    { network, clock, limits: WIRE },
    {
      address,
      timeoutMs: WIRE.dialTimeoutMs,
      hello: { role: "peer", clusterId, node: self, features: [dialsNode(id)] },
      onUnreachable: (why, isRefused) => unreachable(link, why, isRefused),
      onConnected: (connection) => {
        link.connection = connection;
        link.owedSinceMs = clock.now();
      },
      onMessage: (connection, message) => receive(link, connection, message),
      onClosed: (connection, why) => lost(link, connection, why),
      onRead: (connection, milliseconds) => {
        addTime(stages, "decode", milliseconds);
        if (link.connection !== connection) return;
        link.receivedAtMs = clock.now();
        link.owedSinceMs = null;
      },
      onProgress: (connection, progress) => {
        if (progress.type === "acknowledged" && progress.bytes > 0) reportRate(link, connection);
      },
    },
  );
}

function receive(link: PeerLink, connection: Connection, message: Message): void {
  if (message.type === "helloAnswer") return helloReceived(link, connection, message);
  if (isReply(message) && link.isUp) deliver(link.ports, connection, link.id, OWN_LINK, message);
}

function helloReceived(link: PeerLink, connection: Connection, { node, clusterId }: HelloAnswer): void {
  const { ports } = link;
  // A joiner that has not received yet that it was let in: it will in a moment.
  if (clusterId === null && memberId(node) === link.id) return connection.close(null);
  if (clusterId !== ports.clusterId || memberId(node) !== link.id) {
    // It may be a wiped node that will be swapped in under its new incarnation: dial again, slowly, and log it once.
    link.pauseMs = WIRE.reconnectMaxMs;
    if (!link.isMismatchLogged) logMismatch(link, `${memberId(node)} of cluster ${clusterId ?? "(none yet)"}`);
    link.isMismatchLogged = true;
    return connection.close(null);
  }
  link.isUp = true;
  link.isMismatchLogged = false;
  link.refusal = null;
  link.pauseMs = 0;
  addInput(ports.inbox, { type: "linkUp", member: link.id });
  reportRate(link, connection);
}

function logMismatch({ ports, member, id }: PeerLink, found: string): void {
  const text = `${member.address} should be ${id} of cluster ${ports.clusterId} but is ${found}: not used`;
  ports.log({ level: "warn", event: "peer-mismatch", text });
}

function reportRate({ ports, id, isUp }: PeerLink, connection: Connection): void {
  const rate = connection.bytesPerSecond();
  if (rate !== null && isUp) addLinkRate(ports.inbox, id, rate);
}

/** A message that no correct member sends ends its connection. */
export function deliver(
  { raft, inbox, traces, log }: Pick<LinkPorts, "raft" | "inbox" | "traces" | "log">,
  connection: Connection,
  from: MemberId,
  link: Link,
  message: RaftMessage,
): void {
  const problem = problemWith(raft, from, message);
  if (problem !== null) {
    log({ level: "warn", event: "peer-refused", text: `${problem}: this cannot be, the connection was closed` });
    return connection.close(failure("BAD_REQUEST", `this cannot be: ${problem}`));
  }
  if (message.type === "AppendEntriesReply" && message.success) traces.durable(from, message.matchIndex);
  addMessage(inbox, raft, from, link, message);
}

/** The connection that the message was given to; null: there is none, and the message is lost. */
export function sendOnLink(link: PeerLink, message: RaftMessage): Connection | null {
  const { connection } = link;
  if (!link.isUp || connection === null) return null;
  if (isStalled(link)) giveUp(link, connection);
  else {
    link.owedSinceMs ??= link.ports.clock.now();
    connection.send(message);
  }
  return connection;
}

/**
 * A system that sends lost bytes again waits longer each time, for seconds after the network works again: a new connection does
 * not. What is sent is answered at once, except for what waits for a hung disk, which a new connection does not hurt; and bulk
 * is acknowledged fragment by fragment, each so small that the slowest link has carried it by then.
 */
function isStalled({ owedSinceMs, ports }: PeerLink): boolean {
  return owedSinceMs !== null && ports.clock.now() - owedSinceMs > ports.silenceMs;
}

/**
 * Pings a member from which nothing came for `pingAfterMs`. `stoodStill`: this node did not run for as long, so what the member has
 * sent meanwhile is still unread.
 */
export function checkSilence(link: PeerLink, pingAfterMs: number, stoodStill: boolean): void {
  const { connection, owedSinceMs } = link;
  if (connection === null) return;
  const now = link.ports.clock.now();
  if (stoodStill && owedSinceMs !== null) link.owedSinceMs = now;
  if (isStalled(link)) return giveUp(link, connection);
  if (!link.isUp) return;
  if (now - link.receivedAtMs < pingAfterMs) return;
  link.owedSinceMs ??= now;
  connection.ping();
}

function giveUp(link: PeerLink, connection: Connection): void {
  const { ports, member, isUp, owedSinceMs } = link;
  const now = ports.clock.now();
  // Until its end is reported, in a later event, further messages find nothing owed.
  link.owedSinceMs = null;
  const silence = formatDuration(now - (owedSinceMs ?? now));
  const bulk = connection.bulkInFlight();
  const inFlight =
    bulk === null
      ? ""
      : `; it has acknowledged ${bulk.acknowledged} of ${bulk.bytes} bytes of the ${bulk.type} in flight for ${formatDuration(now - bulk.sinceMs)}`;
  const text = `${member.id} at ${member.address} has not answered for ${silence}${inFlight}: dialing it again`;
  // Only the loss of a link that worked is worth a warning: a member that is paused is dialed again and again.
  if (isUp) ports.log({ level: "warn", event: "peer-stalled", text });
  // What waits here is sent again on the new link, so the old one need not carry it first.
  connection.abandon(failure("TIMEOUT", `${member.id} has not answered for ${silence}`));
}

function lost(link: PeerLink, connection: Connection, why: Failure | null): void {
  link.ports.unflushed.delete(connection);
  if (link.connection !== connection) return;
  link.connection = null;
  link.owedSinceMs = null;
  const wasUp = link.isUp;
  link.isUp = false;
  if (link.isDropped) return;
  if (wasUp) addInput(link.ports.inbox, { type: "linkDown", member: link.id });
  if (why !== null && (REFUSALS.has(why.code) || isStranger(connection, why))) refused(link, why.message);
  // The first try after a loss is immediate: a leader's port that refuses means that its process is gone.
  if (wasUp) dial(link);
  else redialLater(link);
}

function unreachable(link: PeerLink, why: Failure, isRefused: boolean): void {
  const { raft, inbox } = link.ports;
  if (why.code === "UNAUTHORISED") refused(link, why.message);
  if (isRefused && raft.leader === link.id) addInput(inbox, { type: "leaderGone", leader: link.id });
  redialLater(link);
}

/** Logged once; dialed again slowly, since a person may repair it. */
function refused(link: PeerLink, why: string): void {
  link.pauseMs = WIRE.reconnectMaxMs;
  if (link.refusal === why) return;
  link.refusal = why;
  link.ports.log({ level: "error", event: "peer-refused", text: `no link to ${link.member.address}: ${why}` });
}

function redialLater(link: PeerLink): void {
  const { clock, random } = link.ports;
  const pauseMs = Math.min(WIRE.reconnectMaxMs, Math.max(WIRE.reconnectMinMs, link.pauseMs * 2));
  link.pauseMs = pauseMs;
  link.cancelRetry();
  link.cancelRetry = clock.after(random.between(Math.ceil(pauseMs / 2), pauseMs), () => dial(link));
}
