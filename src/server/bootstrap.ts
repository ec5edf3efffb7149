// How do fresh nodes bootstrap one cluster? Each sends its statement to all the others repeatedly, on connections that stay open.
import { SERVER, WIRE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { Entry } from "../raft/entry.ts";
import type { Member } from "../raft/types.ts";
import type { Connection, ConnectionLimits, Message } from "../wire/connection.ts";
import { dialNode, isStranger } from "../wire/dial.ts";
import type { Network } from "../wire/network.ts";
import {
  disagreement,
  bootstrapEntry,
  bootstrapEntryOf,
  type BootstrapStatement,
  type FounderState,
  nextBootstrapStep,
} from "./bootstrap-rules.ts";
import type { LogEvent } from "./types.ts";

export const BOOTSTRAP = {
  dialTimeoutMs: WIRE.dialTimeoutMs,
  bootstrapRetryMs: SERVER.bootstrapRetryMs,
  graceMs: SERVER.bootstrapGraceMs,
  silenceMs: WIRE.peerSilenceMs,
} as const;

export interface BootstrapPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly settings: {
    readonly dialTimeoutMs: number;
    readonly bootstrapRetryMs: number;
    readonly graceMs: number;
    /** A founder that owes an answer for so long is dialed again: its machine may have lost power, and nothing else would show that. */
    readonly silenceMs: number;
  };
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
  /** Another founder's statement: if it differs from ours, nobody bootstraps. */
  received(from: Member, theirs: BootstrapStatement): void;
  stop(): void;
}

interface Other {
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

/** Calls `done` once, or twice: "join", then "founded". `statement` is this node's own, as long as it may bootstrap. */
export function bootstrap(
  ports: BootstrapPorts,
  self: Member,
  statement: BootstrapStatement,
  done: (result: BootstrapResult) => void,
): Bootstrap {
  const { clock, settings } = ports;
  const earliest = clock.now() + settings.graceMs;
  const states = new Map<string, FounderState>();
  const others: Other[] = [];
  let over = false;
  let joining = false;
  let lastMissing = "";
  const timers = new Set<() => void>();

  const after = (ms: number, run: () => void): (() => void) => {
    const cancel = clock.after(ms, () => {
      timers.delete(cancel);
      if (!over) run();
    });
    timers.add(cancel);
    return () => {
      timers.delete(cancel);
      cancel();
    };
  };
  const stop = (): void => {
    over = true;
    for (const cancel of timers) cancel();
    for (const other of others) other.hangUp();
  };
  const finish = (result: BootstrapResult): void => {
    if (over) return;
    stop();
    done(result);
  };

  function dial(other: Other): void {
    other.hangUp = dialNode(ports, {
      address: other.address,
      timeoutMs: settings.dialTimeoutMs,
      hello: { role: "peer", clusterId: null, node: self, features: [] },
      onUnreachable: (why) => {
        if (why.code === "UNAUTHORISED") logRefusal(other, why.message);
        after(settings.bootstrapRetryMs, () => dial(other));
      },
      onConnected: (connection) => {
        other.connection = connection;
        awaitAnswer(other, connection);
      },
      onMessage: (connection, message) => receive(other, connection, message),
      onClosed: (connection, why) => {
        if (why !== null && (why.code === "UNAUTHORISED" || isStranger(connection, why)))
          logRefusal(other, why.message);
        states.delete(other.address);
        other.answered();
        other.connection = null;
        if (!over) after(settings.bootstrapRetryMs, () => dial(other));
      },
    });
  }

  /** From here on an answer is due on this connection. */
  function awaitAnswer(other: Other, connection: Connection): void {
    other.answered();
    other.answered = after(settings.silenceMs, () => connection.close(null));
  }

  function receive(other: Other, connection: Connection, message: Message): void {
    if (over) return;
    if (message.type === "helloAnswer") {
      other.hello = { member: message.node, clusterId: message.clusterId, members: message.members };
      return sendStatement(other, connection);
    }
    if (message.type !== "bootstrapAnswer" || other.hello === null) return;
    other.answered();
    const { expect, set, fresh, record } = message;
    const theirs = { expect, set, fresh, record: record?.slice() ?? null };
    states.set(other.address, { ...other.hello, statement: theirs });
    consider();
    if (!over)
      after(settings.bootstrapRetryMs, () =>
        other.connection === connection ? sendStatement(other, connection) : undefined,
      );
  }

  function sendStatement(other: Other, connection: Connection): void {
    awaitAnswer(other, connection);
    const { expect, set, record } = statement;
    connection.send({ type: "bootstrap", expect, set, fresh: !joining, record });
    connection.flush();
  }

  function consider(): void {
    const next = nextBootstrapStep(self, statement, states);
    if (joining && next.type !== "adopt") return;
    switch (next.type) {
      case "bootstrap":
        if (clock.now() < earliest) return void after(earliest - clock.now(), consider);
        return finish({ type: "founded", entry: bootstrapEntry(next.members) });
      case "adopt": {
        const entry = bootstrapEntryOf(next.record);
        if (entry !== null) finish({ type: "founded", entry });
        return;
      }
      case "join":
        joining = true;
        return done({ type: "join" });
      case "foreign":
        return finish({ type: "refused", error: new RaftqError("CLUSTER_MISMATCH", next.why) });
      case "refuse":
        return finish({ type: "refused", error: new RaftqError("USAGE", next.why) });
      case "wait":
        return logMissing(next.missing);
    }
  }

  function logMissing(missing: readonly string[]): void {
    const text =
      missing.length === 0
        ? "all founders are here; the one with the lowest id writes the first entry"
        : `waiting for ${missing.join(", ")}`;
    if (text !== lastMissing)
      ports.log({
        level: "info",
        event: "bootstrapping",
        text: `bootstrapping with ${statement.expect} nodes: ${text}`,
      });
    lastMissing = text;
  }

  function logRefusal(other: Other, why: string): void {
    if (other.refusal === why) return;
    other.refusal = why;
    ports.log({ level: "error", event: "peer-refused", text: `no link to ${other.address}: ${why}` });
  }

  for (const address of statement.set) {
    if (address === self.address) continue;
    const other: Other = {
      address,
      connection: null,
      hangUp: () => undefined,
      answered: () => undefined,
      hello: null,
      refusal: null,
    };
    others.push(other);
    dial(other);
  }
  logMissing(others.map((other) => other.address));
  // With --expect 1 nobody else answers.
  after(settings.graceMs, consider);
  return {
    received: (from, theirs) => {
      const why = theirs.fresh && !joining ? disagreement(statement, theirs, from.address) : null;
      if (why !== null) finish({ type: "refused", error: new RaftqError("USAGE", why) });
    },
    stop,
  };
}
