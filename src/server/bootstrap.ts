// Bootstraps one cluster from fresh nodes: each sends its statement to all the others repeatedly, on connections that stay open, until
// the rules say what to do (`bootstrap-rules.ts`).
import { SERVER, WIRE } from "../config.ts";
import type { Clock } from "../lib/clock.ts";
import { type Failure, RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import type { Member } from "../raft/types.ts";
import type { Connection, Message } from "../wire/connection.ts";
import { dialNode, isStranger } from "../wire/dial.ts";
import type { Network } from "../wire/network.ts";
import {
  bootstrapEntry,
  bootstrapEntryOf,
  type BootstrapStatement,
  disagreement,
  type FounderState,
  nextBootstrapStep,
} from "./bootstrap-rules.ts";
import type { LogEvent } from "./types.ts";

export interface BootstrapPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly log: (line: LogEvent) => void;
}

export type BootstrapResult =
  /** This node writes the index-1 entry, or takes over another founder's. */
  | { readonly type: "founded"; readonly entry: Entry }
  /**
   * A cluster exists: ask to be let in. "founded" may still follow, because the first founder that answered may know less than a
   * later one, whose first entry names this node. Without it, one lost disk could keep a new cluster from its majority.
   */
  | { readonly type: "join" }
  | { readonly type: "refused"; readonly error: RaftqError };

export interface Bootstrap {
  readonly ports: BootstrapPorts;
  readonly self: Member;
  /** This node's own, as long as it may bootstrap. */
  readonly statement: BootstrapStatement;
  readonly done: (result: BootstrapResult) => void;
  /** Not before this time: members of a cluster that know this address dial it meanwhile. */
  readonly earliest: number;
  /** What the others have stated, by address, on connections that are open now. */
  readonly states: Map<string, FounderState>;
  readonly others: readonly OtherFounder[];
  readonly cancelTimers: Set<() => void>;
  /** A cluster exists: this node only adopts a first entry that names it. */
  isJoining: boolean;
  isOver: boolean;
  lastLogged: string;
}

interface OtherFounder {
  readonly address: string;
  connection: Connection | null;
  /** Ends the dial or the connection. */
  hangUp: () => void;
  /** Ends the wait for what it owes. */
  answered: () => void;
  /** Its answer to our hello; null before that. */
  hello: Pick<FounderState, "member" | "clusterId" | "members"> | null;
  /** Why the two refuse each other, as last logged. */
  refusal: string | null;
}

/** Calls `done` once, or twice: "join", then "founded". */
export function startBootstrap(
  ports: BootstrapPorts,
  self: Member,
  statement: BootstrapStatement,
  done: (result: BootstrapResult) => void,
): Bootstrap {
  const { clock } = ports;
  const bootstrap: Bootstrap = {
    ports,
    self,
    statement,
    done,
    earliest: clock.now() + SERVER.bootstrapGraceMs,
    states: new Map(),
    others: statement.set.filter((address) => address !== self.address).map(unconnected),
    cancelTimers: new Set(),
    isJoining: false,
    isOver: false,
    lastLogged: "",
  };
  for (const other of bootstrap.others) dial(bootstrap, other);
  logMissing(
    bootstrap,
    bootstrap.others.map(({ address }) => address),
  );
  // With --expect 1 there is no other founder to answer.
  after(bootstrap, SERVER.bootstrapGraceMs, () => consider(bootstrap));
  return bootstrap;
}

const unconnected = (address: string): OtherFounder => ({
  address,
  connection: null,
  hangUp: () => undefined,
  answered: () => undefined,
  hello: null,
  refusal: null,
});

export function stopBootstrap(bootstrap: Bootstrap): void {
  bootstrap.isOver = true;
  for (const cancel of bootstrap.cancelTimers) cancel();
  for (const other of bootstrap.others) other.hangUp();
}

/** Another founder's statement: if it differs from ours, this node refuses to bootstrap. */
export function statementReceived(bootstrap: Bootstrap, from: Member, theirs: BootstrapStatement): void {
  if (!theirs.fresh || bootstrap.isJoining) return;
  const why = disagreement(bootstrap.statement, theirs, from.address);
  if (why !== null) finish(bootstrap, { type: "refused", error: new RaftqError("USAGE", why) });
}

function finish(bootstrap: Bootstrap, result: BootstrapResult): void {
  if (bootstrap.isOver) return;
  stopBootstrap(bootstrap);
  bootstrap.done(result);
}

/** Runs it after `ms`, unless the bootstrap is over by then. The result cancels. */
function after({ ports, cancelTimers }: Bootstrap, ms: number, run: () => void): () => void {
  const cancel = ports.clock.after(ms, () => {
    cancelTimers.delete(cancel);
    run();
  });
  cancelTimers.add(cancel);
  return () => {
    cancelTimers.delete(cancel);
    cancel();
  };
}

function dial(bootstrap: Bootstrap, other: OtherFounder): void {
  const { network, clock } = bootstrap.ports;
  const { address } = other;
  const dialLater = (): void => {
    after(bootstrap, SERVER.bootstrapRetryMs, () => dial(bootstrap, other));
  };
  other.hangUp = dialNode(
    { network, clock, limits: WIRE },
    {
      address,
      timeoutMs: WIRE.dialTimeoutMs,
      hello: { role: "peer", clusterId: null, node: bootstrap.self, features: [] },
      onUnreachable: (why) => {
        if (why.code === "UNAUTHORISED") logRefusal(bootstrap, other, why);
        dialLater();
      },
      onConnected: (connection) => {
        other.connection = connection;
        awaitAnswer(bootstrap, other, connection);
      },
      onMessage: (connection, message) => receive(bootstrap, other, connection, message),
      onClosed: (connection, why) => {
        if (why !== null && (why.code === "UNAUTHORISED" || isStranger(connection, why)))
          logRefusal(bootstrap, other, why);
        bootstrap.states.delete(address);
        other.answered();
        other.connection = null;
        if (!bootstrap.isOver) dialLater();
      },
    },
  );
}

/**
 * From here on an answer is due on this connection. A founder that owes one for too long is dialed again: its machine may have lost power,
 * and nothing else would show that.
 */
function awaitAnswer(bootstrap: Bootstrap, other: OtherFounder, connection: Connection): void {
  other.answered();
  other.answered = after(bootstrap, WIRE.peerSilenceMs, () => connection.close(null));
}

function receive(bootstrap: Bootstrap, other: OtherFounder, connection: Connection, message: Message): void {
  if (bootstrap.isOver) return;
  if (message.type === "helloAnswer") {
    other.hello = { member: message.node, clusterId: message.clusterId, members: message.members };
    return sendStatement(bootstrap, other, connection);
  }
  if (message.type !== "bootstrapAnswer" || other.hello === null) return;
  other.answered();
  const { expect, set, fresh, record } = message;
  const theirs = { expect, set, fresh, record: record?.slice() ?? null };
  bootstrap.states.set(other.address, { ...other.hello, statement: theirs });
  consider(bootstrap);
  if (bootstrap.isOver) return;
  after(bootstrap, SERVER.bootstrapRetryMs, () => {
    if (other.connection === connection) sendStatement(bootstrap, other, connection);
  });
}

function sendStatement(bootstrap: Bootstrap, other: OtherFounder, connection: Connection): void {
  awaitAnswer(bootstrap, other, connection);
  const { expect, set, record } = bootstrap.statement;
  connection.send({ type: "bootstrap", expect, set, fresh: !bootstrap.isJoining, record });
  connection.flush();
}

function consider(bootstrap: Bootstrap): void {
  const { ports, self, statement, states, earliest } = bootstrap;
  const next = nextBootstrapStep(self, statement, states);
  if (bootstrap.isJoining && next.type !== "adopt") return;
  const now = ports.clock.now();
  switch (next.type) {
    case "bootstrap":
      if (now < earliest) return void after(bootstrap, earliest - now, () => consider(bootstrap));
      return finish(bootstrap, { type: "founded", entry: bootstrapEntry(next.members) });
    case "adopt": {
      const entry = bootstrapEntryOf(next.record);
      if (entry !== null) finish(bootstrap, { type: "founded", entry });
      return;
    }
    case "join":
      bootstrap.isJoining = true;
      return bootstrap.done({ type: "join" });
    case "foreign":
      return finish(bootstrap, { type: "refused", error: new RaftqError("CLUSTER_MISMATCH", next.why) });
    case "refuse":
      return finish(bootstrap, { type: "refused", error: new RaftqError("USAGE", next.why) });
    case "wait":
      return logMissing(bootstrap, next.missing);
  }
}

function logMissing(bootstrap: Bootstrap, missing: readonly string[]): void {
  const state =
    missing.length === 0
      ? "all founders are here; the one with the lowest id writes the first entry"
      : `waiting for ${missing.join(", ")}`;
  if (state === bootstrap.lastLogged) return;
  bootstrap.lastLogged = state;
  const text = `bootstrapping with ${bootstrap.statement.expect} nodes: ${state}`;
  bootstrap.ports.log({ level: "info", event: "bootstrapping", text });
}

function logRefusal({ ports }: Bootstrap, other: OtherFounder, { message }: Failure): void {
  if (other.refusal === message) return;
  other.refusal = message;
  ports.log({ level: "error", event: "peer-refused", text: `no link to ${other.address}: ${message}` });
}
