// Queries nodes over one kept connection each; sends changes of membership to the leader.
import { randomBytes } from "node:crypto";
import { type ClientSettings, createClient, type Query } from "../client/client.ts";
import { type ClientPorts, SESSION_NONCE_BYTES } from "../client/types.ts";
import { CLIENT, CLUSTER, WIRE } from "../config.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { isNodeId } from "../raft/types.ts";
import { connectNode, fatalFor, type NoAnswer, type NodeConnection } from "../wire/node-connection.ts";
import type { ServerMessage } from "../wire/protocol.ts";
import type { Answer, NodeAccess } from "./status.ts";

/** One address: its connection, and the questions that wait for their answer on it. */
interface Peer {
  readonly address: string;
  link: Promise<NodeConnection | NoAnswer> | null;
  readonly waiting: Map<number, (answer: ServerMessage | NoAnswer) => void>;
  lastFrameId: number;
}

export function createNodeAccess(given: ClientPorts): NodeAccess {
  const ports = { ...given, role: "admin" } as const;
  const peers = new Map<string, Peer>();
  const peerAt = (address: string): Peer => {
    const peer = peers.get(address) ?? { address, link: null, waiting: new Map(), lastFrameId: 0 };
    peers.set(address, peer);
    return peer;
  };
  let refusal: Failure | null = null;
  const refused = (why: Failure): void => {
    refusal = why;
  };
  return {
    refusal: () => refusal,
    status: async (address) => {
      const answer = await ask(ports, peerAt(address), refused, { type: "status", linearizable: false });
      return typeof answer === "string" ? without(answer) : answerIn(answer);
    },
    serves: async (address) => {
      const answer = await ask(ports, peerAt(address), refused, { type: "status", linearizable: true });
      return typeof answer !== "string" && answer.type === "statusAnswer";
    },
    remove: async (addresses, id) =>
      isNodeId(id) ? askLeader(ports, addresses, { type: "remove", ids: [id] }) : unknownNode(id),
    readmit: async (addresses, id) =>
      isNodeId(id) ? askLeader(ports, addresses, { type: "readmit", id }) : unknownNode(id),
    transfer: async (addresses, to) =>
      to === null || isNodeId(to) ? askLeader(ports, addresses, { type: "transfer", to }) : unknownNode(to),
    close: () => {
      for (const peer of peers.values())
        void peer.link?.then((link) => (typeof link === "string" ? undefined : link.close()));
    },
  };
}

function answerIn(message: ServerMessage): Answer {
  if (message.type === "statusAnswer") return message.status;
  if (message.type !== "failure") return null;
  const { code, message: why } = message.failure;
  if (code === "REJOINING") return { rejoining: why };
  return code === "STARTING" ? { starting: why } : null;
}

function without(answer: NoAnswer): Answer {
  switch (answer) {
    case "silent":
      return { silent: true };
    case "starting":
      return { starting: "it is still recovering its log" };
    case "down":
    case "failed":
      return null;
  }
}

/** The node's answer, or why there is none in time. */
async function ask(
  ports: ClientPorts,
  peer: Peer,
  refused: (why: Failure) => void,
  query: Query,
): Promise<ServerMessage | NoAnswer> {
  peer.link ??= dial(ports, peer, refused);
  const link = await peer.link;
  if (typeof link === "string") return link;
  const frameId = ++peer.lastFrameId;
  return new Promise((resolve) => {
    const cancel = ports.clock.after(CLUSTER.statusTimeoutMs, () => {
      peer.waiting.delete(frameId);
      resolve("silent");
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

function dial(ports: ClientPorts, peer: Peer, refused: (why: Failure) => void): Promise<NodeConnection | NoAnswer> {
  return new Promise((resolve) => {
    const { address } = peer;
    const { dialTimeoutMs } = WIRE;
    const target = { address, role: "admin", clusterId: null, dialTimeoutMs, timeoutMs: dialTimeoutMs } as const;
    connectNode({ ...ports, limits: WIRE }, target, (result) => {
      if (!result.ok) {
        const fatal = fatalFor(result.why, address);
        if (fatal !== null) refused(fatal);
        peer.link = null;
        return resolve(result.state);
      }
      const { link } = result;
      link.onMessage = (message) => peer.waiting.get(message.frameId)?.(message);
      link.onClosed = () => {
        peer.link = null;
        for (const answer of peer.waiting.values()) answer("failed");
      };
      resolve(link);
    });
  });
}

function askLeader(ports: ClientPorts, addresses: readonly string[], query: Query): Promise<Failure | null> {
  const settings: ClientSettings = {
    addresses,
    clientId: "cluster",
    nonce: randomBytes(SESSION_NONCE_BYTES),
    timeoutMs: CLUSTER.membershipTimeoutMs,
    follow: true,
    numbered: false,
    batch: false,
    acknowledge: { when: "delivered", earlier: "refused", whenIdle: false },
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
