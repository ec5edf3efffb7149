// How are nodes asked? Over one kept connection each, in the client's own language; changes of membership go to the leader.
import { randomBytes } from "node:crypto";
import { type ClientSettings, createClient, type Query } from "../client/client.ts";
import { dialNode, type Link, type LinkPorts } from "../client/link.ts";
import { CLIENT, CLUSTER, WIRE } from "../config.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { isNodeId } from "../raft/types.ts";
import type { ServerMessage } from "../wire/protocol.ts";
import type { NodeAccess } from "./status.ts";

/** One address: its connection, and the questions that wait for their answer on it. */
interface Peer {
  readonly address: string;
  link: Promise<Link | null> | null;
  readonly waiting: Map<number, (answer: ServerMessage | null) => void>;
  lastFrameId: number;
}

export function createNodeAccess(given: LinkPorts): NodeAccess {
  const ports = { ...given, role: "admin" } as const;
  const peers = new Map<string, Peer>();
  const peerAt = (address: string): Peer => {
    const peer = peers.get(address) ?? { address, link: null, waiting: new Map(), lastFrameId: 0 };
    peers.set(address, peer);
    return peer;
  };
  let refusal: Failure | null = null;
  const refused = (why: Failure): void => {
    if (why.code === "UNAUTHORISED") refusal = why;
  };
  return {
    refusal: () => refusal,
    status: async (address) => {
      const answer = await ask(ports, peerAt(address), refused, { type: "status", linearizable: false });
      if (answer?.type === "statusAnswer") return answer.status;
      const isRecovering = answer?.type === "failure" && answer.failure.code === "RECOVERING";
      return isRecovering ? { recovering: answer.failure.message } : null;
    },
    serves: async (address) => {
      const answer = await ask(ports, peerAt(address), refused, { type: "status", linearizable: true });
      return answer?.type === "statusAnswer";
    },
    remove: async (addresses, id) =>
      isNodeId(id) ? askLeader(ports, addresses, { type: "remove", ids: [id] }) : unknownNode(id),
    readmit: async (addresses, id) =>
      isNodeId(id) ? askLeader(ports, addresses, { type: "readmit", id }) : unknownNode(id),
    transfer: async (addresses, to) =>
      to === null || isNodeId(to) ? askLeader(ports, addresses, { type: "transfer", to }) : unknownNode(to),
    close: () => {
      for (const peer of peers.values()) void peer.link?.then((link) => link?.close());
    },
  };
}

/** The node's answer; null when it cannot be reached, or not in time. */
async function ask(
  ports: LinkPorts,
  peer: Peer,
  refused: (why: Failure) => void,
  query: Query,
): Promise<ServerMessage | null> {
  peer.link ??= dial(ports, peer, refused);
  const link = await peer.link;
  if (link === null) return null;
  const frameId = ++peer.lastFrameId;
  return new Promise((resolve) => {
    const cancel = ports.clock.after(CLUSTER.statusTimeoutMs, () => {
      peer.waiting.delete(frameId);
      resolve(null);
    });
    peer.waiting.set(frameId, (answer) => {
      cancel();
      peer.waiting.delete(frameId);
      resolve(answer);
    });
    link.send({ ...query, frameId });
    link.flush();
  });
}

function dial(ports: LinkPorts, peer: Peer, refused: (why: Failure) => void): Promise<Link | null> {
  return new Promise((resolve) => {
    dialNode(ports, peer.address, WIRE.dialTimeoutMs, (result) => {
      if (!result.ok) {
        if (result.fatal !== null) refused(result.fatal);
        peer.link = null;
        return resolve(null);
      }
      const { link } = result;
      link.onMessage = (message) => peer.waiting.get(message.frameId)?.(message);
      link.onClosed = () => {
        peer.link = null;
        for (const answer of peer.waiting.values()) answer(null);
      };
      resolve(link);
    });
  });
}

function askLeader(ports: LinkPorts, addresses: readonly string[], query: Query): Promise<Failure | null> {
  const settings: ClientSettings = {
    addresses,
    clientId: "cluster",
    nonce: randomBytes(16),
    timeoutMs: CLUSTER.membershipTimeoutMs,
    follow: true,
    numbered: false,
    gather: false,
    acknowledge: { when: "told", earlier: "refused", whenIdle: false },
    generated: true,
    closeOnLeave: true,
    limits: CLIENT.limits,
  };
  const client = createClient(ports, settings, () => {});
  return new Promise((resolve) => {
    client.ask(query, (answer) => {
      client.close(() => {});
      if (!("type" in answer)) resolve(answer);
      else if (answer.type === "failure") resolve(answer.failure);
      else resolve(null);
    });
  });
}

const unknownNode = (id: string): Failure => failure("UNKNOWN_NODE", `"${id}" is no node id`);
