// Connects the members: each has its own link to every other member, and answers on the connections that the others have dialed.
import { SERVER } from "../config.ts";
import { failure } from "../lib/errors.ts";
import type { Link, Outgoing } from "../raft/effects.ts";
import type { RaftMessage } from "../raft/messages.ts";
import { type Configuration, type Member, type MemberId, memberId } from "../raft/types.ts";
import type { Connection, Message, Progress } from "../wire/connection.ts";
import { addBytesReceived } from "./inbox.ts";
import {
  checkSilence,
  deliver,
  dropLink,
  endLink,
  type LinkPorts,
  openLink,
  type PeerLink,
  sendOnLink,
} from "./peer-link.ts";
import { membersOf } from "./members.ts";

export interface Peers extends LinkPorts {
  /** Our own, by member. */
  readonly links: Map<MemberId, PeerLink>;
  /** Connections that members have dialed, by the number that raft knows each by. */
  readonly accepted: Map<Link, Connection>;
  readonly senders: Map<Connection, { readonly link: Link; readonly from: MemberId }>;
  nextLink: Link;
  /** There is a link to each member of it. */
  linkedConfiguration: Configuration | null;
  cancelSilenceCheck: () => void;
}

export function createPeers(ports: Omit<LinkPorts, "unflushed">): Peers {
  return {
    ...ports,
    unflushed: new Set(),
    links: new Map(),
    accepted: new Map(),
    senders: new Map(),
    nextLink: 1,
    linkedConfiguration: null,
    cancelSilenceCheck: () => undefined,
  };
}

export function startPeers(peers: Peers): void {
  linkMembers(peers);
  scheduleSilenceCheck(peers);
}

export function stopPeers(peers: Peers): void {
  peers.cancelSilenceCheck();
  for (const link of peers.links.values()) endLink(link);
  for (const connection of peers.accepted.values()) connection.close(null);
  peers.links.clear();
}

/** Dials the members that are new in the configuration, and drops the links to those that left it. */
function linkMembers(peers: Peers): void {
  const { raft, links, self } = peers;
  if (raft.configuration === peers.linkedConfiguration) return;
  peers.linkedConfiguration = raft.configuration;
  const wanted = new Map(membersOf(raft).map(({ member }) => [memberId(member), member]));
  for (const link of links.values()) {
    if (wanted.get(link.id)?.address === link.member.address) continue;
    links.delete(link.id);
    dropLink(link);
  }
  for (const [id, member] of wanted) {
    // An earlier incarnation of this very node is nowhere, least of all at this node's own address.
    if (member.id !== self.id && !links.has(id)) links.set(id, openLink(peers, member));
  }
}

/**
 * Members that have nothing to send to each other, as followers of one leader have, ping each other: so what status reports of them
 * stays true, and a dead link is replaced before it is needed. A leader's heartbeats make that unnecessary.
 */
function scheduleSilenceCheck(peers: Peers): void {
  const { clock, links } = peers;
  const { memberPingMs } = SERVER;
  const due = clock.now() + memberPingMs;
  peers.cancelSilenceCheck = clock.after(memberPingMs, () => {
    const stoodStill = clock.now() - due > memberPingMs;
    for (const link of links.values()) checkSilence(link, memberPingMs, stoodStill);
    scheduleSilenceCheck(peers);
  });
}

/** Leaves at the next flush. A reply goes back on the connection that its request came on. */
export function sendToMember(peers: Peers, { to, link: answered, message }: Outgoing): void {
  const connection = answered === 0 ? sendOnOwnLink(peers, to, message) : reply(peers, answered, message);
  if (connection !== null) peers.unflushed.add(connection);
}

function sendOnOwnLink({ links }: Peers, to: MemberId, message: RaftMessage): Connection | null {
  const link = links.get(to);
  return link === undefined ? null : sendOnLink(link, message);
}

function reply({ accepted }: Peers, answered: Link, message: RaftMessage): Connection | null {
  const connection = accepted.get(answered);
  connection?.send(message);
  return connection ?? null;
}

/** One socket write per connection. */
export function flushPeers(peers: Peers): void {
  linkMembers(peers);
  for (const connection of peers.unflushed) connection.flush();
  peers.unflushed.clear();
}

type RaftRequest = Exclude<RaftMessage, { type: `${string}Reply` }>;

const REQUESTS = {
  RequestVote: true,
  AppendEntries: true,
  Heartbeat: true,
  TimeoutNow: true,
  InstallSnapshot: true,
  StaleDisk: true,
  Probe: true,
} as const satisfies Readonly<Record<RaftRequest["type"], true>>;

const isRequest = (message: Message): message is RaftRequest => Object.hasOwn(REQUESTS, message.type);

/** A connection with a member's hello. The result takes its messages. */
export function acceptMember(peers: Peers, connection: Connection, from: Member): (message: Message) => void {
  const link = peers.nextLink++;
  const fromId = memberId(from);
  peers.accepted.set(link, connection);
  peers.senders.set(connection, { link, from: fromId });
  return (message) => {
    if (isRequest(message)) deliver(peers, connection, fromId, link, message);
    else connection.close(failure("BAD_REQUEST", `a ${message.type} is not allowed on this connection`));
  };
}

/** On a connection that a member has dialed. */
export function memberProgress({ senders, inbox }: Peers, connection: Connection, progress: Progress): void {
  const sender = senders.get(connection);
  if (sender !== undefined && progress.type === "received") addBytesReceived(inbox, sender.from);
}

export function memberClosed({ senders, accepted, unflushed }: Peers, connection: Connection): void {
  const sender = senders.get(connection);
  if (sender !== undefined) accepted.delete(sender.link);
  senders.delete(connection);
  unflushed.delete(connection);
}

/** Bytes came from it, on a connection that it dialed as this very member. */
export function memberBytesReceived({ links, clock }: Peers, member: MemberId): void {
  const link = links.get(member);
  if (link !== undefined) link.receivedAtMs = clock.now();
}

/** It serves as this very incarnation, and something came from it a moment ago, on either connection. */
export function isReachable({ links, clock }: Peers, member: MemberId): boolean {
  const link = links.get(member);
  return link !== undefined && link.isUp && clock.now() - link.receivedAtMs <= SERVER.reachableMs;
}
