// Scripted nodes for tests of clients, with the real wire protocol: one log of sessions for all of them, a leader that the test
// names, and hooks to refuse, hold back or lose what a client sent. Over loopback TCP, or in a simulated network.
import { WIRE } from "../../src/config.ts";
import { type Failure, failure } from "../../src/lib/errors.ts";
import { decodeCommand, encodeOpen } from "../../src/queue/commands.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import type { Job, Reply } from "../../src/queue/types.ts";
import { type Incarnation, isClusterId, isIncarnation, isNodeId, type Member } from "../../src/raft/types.ts";
import type { Clock } from "../../src/lib/clock.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { type Connection, openConnection } from "../../src/wire/connection.ts";
import type { Listener, Network } from "../../src/wire/network.ts";
import type { ClientMessage, LogLine, NodeStatus, Request, ServerMessage } from "../../src/wire/protocol.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";

interface Session {
  readonly clientId: string;
  readonly id: number;
  readonly nonce: string;
  lastNumber: number;
  readonly replies: Map<number, Uint8Array>;
  readonly commands: Map<number, string>;
  acknowledgedThrough: number;
  readonly generated: boolean;
  fenced: boolean;
  closed: boolean;
  /** Its requests are answered by SESSION_EXPIRED until its own process opens it again with `resume`. */
  dormant: boolean;
}

/** What a hook does with a message: let it pass, answer with a failure, or not answer (executing it or not). */
export type Fate = "pass" | "lose" | "executeAndLose" | Failure;

export interface FakeNode {
  readonly id: string;
  readonly address: string;
  isListening: boolean;
  /** `frozen`: its system accepts connections, the process does nothing (SIGSTOP). A failure: it answers hello, and all else with that. */
  condition: "serving" | "frozen" | Failure;
  readonly connections: Set<Connection>;
}

export interface FakeCluster {
  readonly nodes: readonly FakeNode[];
  /** The address of a node, 1 for n1. */
  address(node: number): string;
  addresses(): string[];
  /** 0: nobody leads. */
  lead(node: number): void;
  /** Closes the node's connections and its port. */
  kill(node: number): void;
  /** Closes the connections only. */
  disconnect(node: number): void;
  start(node: number): Promise<void>;
  /** Asked for each message that comes to the leader. */
  fate: (message: ClientMessage, node: FakeNode) => Fate;
  /** Every request that came in, to whatever node. */
  readonly received: {
    readonly node: string;
    readonly number: number;
    readonly command: string;
    readonly acknowledgedThrough: number;
  }[];
  readonly messages: ClientMessage[];
  /** Commands that took effect, in their order. */
  readonly executed: { readonly client: string; readonly number: number; readonly command: string }[];
  readonly queue: Job[];
  /** All that is known of a client id, as after its expiry. */
  forget(clientId: string): void;
  sessionOf(clientId: string): Session | undefined;
  stop(): void;
}

export interface FakeClusterPorts {
  readonly network: (node: string) => Network;
  readonly clock: Clock;
}

const realPorts = (): FakeClusterPorts => {
  const network = createTcpNetwork(WIRE);
  return { network: () => network, clock: createRealClock() };
};

export async function startFakeCluster(size: number, ports: FakeClusterPorts = realPorts()): Promise<FakeCluster> {
  const { clock } = ports;
  const sessions = new Map<number, Session>();
  const log: LogLine[] = [];
  const queue: Job[] = [];
  let nextJob = 1;
  let term = 1;
  let leader = 1;
  const nodes: (FakeNode & { listener: Listener | null; port: number; member: Member })[] = [];
  const cluster: FakeCluster = {
    nodes,
    address: (node) => nodes[node - 1]!.address,
    addresses: () => nodes.map(({ address }) => address),
    lead: (node) => {
      leader = node;
      if (node > 0) term++;
    },
    disconnect: (node) => {
      for (const connection of nodes[node - 1]!.connections) connection.close(null);
    },
    kill: (node) => {
      const killed = nodes[node - 1]!;
      killed.listener?.close();
      killed.listener = null;
      killed.isListening = false;
      cluster.disconnect(node);
    },
    start: (node) => listen(node - 1),
    fate: () => "pass",
    received: [],
    messages: [],
    executed: [],
    queue,
    forget: (clientId) => {
      for (const [id, session] of sessions) if (session.clientId === clientId) sessions.delete(id);
    },
    sessionOf: (clientId) => [...sessions.values()].findLast((session) => session.clientId === clientId),
    stop: () => {
      for (let node = 1; node <= size; node++) cluster.kill(node);
    },
  };

  function listen(at: number): Promise<void> {
    const node = nodes[at]!;
    return new Promise((resolve, reject) => {
      ports.network(node.id).listen(
        "127.0.0.1",
        node.port,
        (stream) => {
          const connection: Connection = openConnection({
            stream,
            clock,
            limits: WIRE,
            side: "accepted",
            onMessage: (message) => {
              if (node.condition === "frozen") return;
              if (message.type === "hello") greet(node, connection);
              else take(node, connection, message as ClientMessage);
            },
            onClosed: () => node.connections.delete(connection),
          });
          node.connections.add(connection);
        },
        (error, listener) => {
          if (error !== null || listener === null) return reject(error ?? new Error("no listener"));
          node.listener = listener;
          node.port = listener.port;
          node.isListening = true;
          Object.assign(node, { address: `127.0.0.1:${listener.port}` });
          node.member = { ...node.member, address: node.address };
          resolve();
        },
      );
    });
  }

  const leaderNode = () => nodes[leader - 1] ?? null;

  function greet(node: (typeof nodes)[number], connection: Connection): void {
    const clusterId = "00112233aabbccdd";
    if (!isClusterId(clusterId)) throw new Error("a cluster id has 16 digits");
    connection.send({
      type: "helloAnswer",
      version: WIRE.protocolVersion,
      features: [],
      clusterId,
      node: node.member,
      leader: leaderNode()?.address ?? null,
      term,
      members: nodes.map(({ address }) => address),
      maxFrameBytes: WIRE.maxClientFrameBytes,
      maxPayloadBytes: WIRE.maxPayloadBytes,
    });
    connection.flush();
  }

  function take(node: (typeof nodes)[number], connection: Connection, message: ClientMessage): void {
    const kept: ClientMessage = message.type === "request" ? { ...message, command: message.command.slice() } : message;
    cluster.messages.push(kept);
    if (kept.type === "request") {
      const { number, acknowledgedThrough } = kept;
      cluster.received.push({ node: node.id, number, command: nameOf(kept), acknowledgedThrough });
    }
    const send = (answer: ServerMessage): void => {
      connection.send(answer);
      connection.flush();
    };
    if (typeof node.condition === "object")
      return send({ type: "failure", frameId: kept.frameId, failure: node.condition });
    const isLocal = (kept.type === "status" && !kept.linearizable) || (kept.type === "log" && kept.local);
    const { frameId } = kept;
    if (!isLocal && node !== leaderNode()) {
      const why =
        leaderNode() === null
          ? failure("NO_LEADER", `${node.id} knows no leader`)
          : failure("NOT_LEADER", `${node.id} is not the leader`, { leader: leaderNode()!.address });
      return send({ type: "failure", frameId, failure: why });
    }
    const fate = isLocal ? "pass" : cluster.fate(kept, node);
    if (fate === "lose") return;
    if (typeof fate === "object") return send({ type: "failure", frameId, failure: fate });
    const answer = answerOf(node, kept);
    if (fate === "pass") send(answer);
  }

  function answerOf(node: (typeof nodes)[number], message: ClientMessage): ServerMessage {
    const { frameId } = message;
    switch (message.type) {
      case "request":
        return execute(message);
      case "open": {
        const nonce = Buffer.from(message.nonce).toString("hex");
        const same = [...sessions.values()].findLast((one) => one.clientId === message.clientId && one.nonce === nonce);
        const last = cluster.sessionOf(message.clientId);
        const earlier = last?.closed === true ? undefined : last;
        if (same === undefined && earlier !== undefined) earlier.fenced = true;
        const body = encodeOpen(message);
        if (message.resume ? same === undefined || same.closed : same?.dormant === true) {
          const why = failure("SESSION_EXPIRED", "the session is dormant, or not known");
          return { type: "failure", frameId, failure: why };
        }
        const isSame = same !== undefined && !same.dormant;
        const id = isSame ? same.id : append("open", message.clientId, 0, body);
        const lastNumber = same?.lastNumber ?? earlier?.lastNumber ?? 0;
        const replies = earlier?.replies ?? new Map<number, Uint8Array>();
        const commands = earlier?.commands ?? new Map<number, string>();
        const acknowledgedThrough = earlier?.acknowledgedThrough ?? 0;
        const opened = {
          clientId: message.clientId,
          id,
          nonce,
          generated: message.generated,
          lastNumber,
          replies,
          commands,
          acknowledgedThrough,
          fenced: false,
          closed: false,
          dormant: false,
        };
        if (!isSame) sessions.set(id, opened);
        const reply = encodeReply({
          type: "opened",
          index: id,
          session: id,
          lastNumber,
          acknowledgedThrough,
          expiresMs: 1_000,
        });
        return { type: "reply", frameId, duplicate: isSame, reply };
      }
      case "close": {
        const session = sessions.get(message.session);
        if (session === undefined || session.dormant || session.closed)
          return { type: "failure", frameId, failure: failure("SESSION_EXPIRED", "no such session") };
        acknowledge(session, message.acknowledgedThrough);
        if (session.acknowledgedThrough < session.lastNumber)
          return { type: "failure", frameId, failure: failure("OUT_OF_ORDER", "not all answers are acknowledged") };
        if (session.generated) session.closed = true;
        else session.dormant = true;
        const index = append("close", session?.clientId ?? "", 0, new Uint8Array(0));
        return { type: "reply", frameId, duplicate: false, reply: encodeReply({ type: "closed", index }) };
      }
      case "status":
        return { type: "statusAnswer", frameId, status: statusOf(node) };
      case "peek": {
        const job = queue[0] ?? null;
        return { type: "peekAnswer", frameId, peeked: { job, ready: queue.length, appliedIndex: log.length } };
      }
      case "log": {
        const to = message.to === 0 ? log.length : Math.min(message.to, log.length);
        const first = Math.max(message.from, to - 999, 1);
        const { id: nodeId } = node.member;
        const page = {
          node: nodeId,
          term,
          snapshotIndex: 0,
          commitIndex: log.length,
          appliedIndex: log.length,
          firstIndex: 1,
        };
        const entries = log.slice(first - 1, to);
        return {
          type: "logAnswer",
          frameId,
          page: { ...page, lastIndex: log.length, more: first > message.from, entries },
        };
      }
      case "trace": {
        const durable = nodes.slice(0, 3).map(({ member }, at) => ({ id: member.id, microseconds: 1_800 + at * 300 }));
        const trace = {
          index: message.index,
          term,
          leader: node.member.id,
          durable,
          committedMicroseconds: 2_500,
          voters: nodes.length,
        };
        return { type: "traceAnswer", frameId, trace };
      }
      case "join":
      case "remove":
      case "readmit":
      case "transfer":
        return { type: "done", frameId, index: log.length, clusterId: null };
      case "ping":
        return { type: "pong", frameId };
    }
  }

  function append(kind: string, client: string, requestNumber: number, body: Uint8Array): number {
    const index = log.length + 1;
    log.push({ index, term, kind, wall: 1_700_000_000_000 + index, client, requestNumber, body });
    return index;
  }

  function execute(request: Request): ServerMessage {
    const { frameId, number } = request;
    const refuse = (why: Failure): ServerMessage => ({ type: "failure", frameId, failure: why });
    const session = sessions.get(request.session);
    if (session === undefined || session.closed || session.dormant)
      return refuse(failure("SESSION_EXPIRED", "no such session"));
    if (session.fenced) return refuse(failure("SESSION_FENCED", "opened elsewhere"));
    const stored = session.replies.get(number);
    const command = Buffer.from(request.command).toString("hex");
    if (stored !== undefined && nameOf(request) !== "resolve" && session.commands.get(number) !== command)
      return refuse(failure("CONFLICT", `number ${number} was used for another command`));
    if (stored !== undefined) {
      if (nameOf(request) === "resolve") acknowledge(session, request.acknowledgedThrough);
      return { type: "reply", frameId, duplicate: true, reply: stored };
    }
    if (number <= session.acknowledgedThrough) return refuse(failure("FORGOTTEN", `number ${number} was answered`));
    if (number !== session.lastNumber + 1)
      return refuse(failure("OUT_OF_ORDER", `number ${number} came before ${session.lastNumber + 1}`));
    const reply = encodeReply(apply(session, request));
    session.lastNumber = number;
    session.replies.set(number, reply);
    session.commands.set(number, command);
    acknowledge(session, request.acknowledgedThrough);
    return { type: "reply", frameId, duplicate: false, reply };
  }

  function acknowledge(session: Session, acknowledgedThrough: number): void {
    session.acknowledgedThrough = Math.max(
      session.acknowledgedThrough,
      Math.min(acknowledgedThrough, session.lastNumber),
    );
    for (const old of session.replies.keys()) if (old <= session.acknowledgedThrough) session.replies.delete(old);
  }

  function apply(session: Session, request: Request): Reply {
    const command = decodeCommand(request.command, { maxJobsPerCommand: 1_000 });
    const index = append("command", session.clientId, request.number, request.command);
    cluster.executed.push({ client: session.clientId, number: request.number, command: nameOf(request) });
    switch (command.type) {
      case "enqueue": {
        const firstId = nextJob;
        for (const { encoding, payload } of command.jobs)
          queue.push({ id: nextJob++, encoding, payload: payload.slice() });
        return { type: "enqueued", index, firstId, count: command.jobs.length };
      }
      case "dequeue":
        return { type: "dequeued", index, jobs: queue.splice(0, command.max) };
      case "resolve":
        return { type: "void", index };
    }
  }

  function statusOf(node: (typeof nodes)[number]): NodeStatus {
    return {
      node: node.member,
      clusterId: null,
      state: node === leaderNode() ? "leader" : "follower",
      term,
      leader: leaderNode()?.member.id ?? null,
      leaderAddress: leaderNode()?.address ?? null,
      commitIndex: log.length,
      appliedIndex: log.length,
      firstIndex: 1,
      lastIndex: log.length,
      snapshotIndex: 0,
      members: nodes.map((one) => ({
        ...one.member,
        role: "voter",
        reachable: one.isListening && one.condition === "serving",
        matchIndex: 0,
        diskLow: false,
      })),
      ready: queue.length,
      readyBytes: queue.reduce((sum, { payload }) => sum + payload.length, 0),
      sessions: sessions.size,
      dormantSessions: 0,
      uptimeMs: 1,
      residentBytes: 1,
      logBytes: 1,
      checkpoint: null,
      times: null,
    };
  }

  for (let at = 0; at < size; at++) {
    const id = `n${at + 1}`;
    const incarnation = `000000000000000${at + 1}`;
    if (!isNodeId(id) || !isIncarnation(incarnation)) throw new Error("ids of fake nodes are well formed");
    const member: Member = { id, incarnation: incarnation satisfies Incarnation, address: "" };
    nodes.push({
      id,
      address: "",
      isListening: false,
      condition: "serving",
      connections: new Set(),
      listener: null,
      port: 0,
      member,
    });
    await listen(at);
  }
  return cluster;
}

/** `enqueue 42`, `dequeue`, `resolve`. */
export function nameOf(request: Request): string {
  const command = decodeCommand(request.command, { maxJobsPerCommand: 1_000 });
  if (command.type !== "enqueue") return command.type;
  return `enqueue ${command.jobs.map(({ payload }) => new TextDecoder().decode(payload)).join(",")}`;
}
