// How do fresh nodes agree to found one cluster? Each asks all the others, again and again, on connections that stay open.
import { SERVER, WIRE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Clock } from "../lib/clock.ts";
import type { Entry } from "../raft/entry.ts";
import type { Member } from "../raft/types.ts";
import { type Connection, type ConnectionLimits, type Message, openConnection } from "../wire/connection.ts";
import type { Network } from "../wire/network.ts";
import {
  disagreement,
  foundingEntry,
  foundingEntryOf,
  type FoundingWord,
  type Heard,
  nextFoundingStep,
} from "./founding.ts";
import type { LogEvent } from "./types.ts";

export const FOUNDING = {
  protocolVersion: WIRE.protocolVersion,
  dialTimeoutMs: WIRE.dialTimeoutMs,
  foundingRetryMs: SERVER.foundingRetryMs,
  graceMs: SERVER.foundingGraceMs,
  silenceMs: WIRE.peerSilenceMs,
} as const;

export interface FounderPorts {
  readonly network: Network;
  readonly clock: Clock;
  readonly limits: ConnectionLimits;
  readonly settings: {
    readonly protocolVersion: number;
    readonly dialTimeoutMs: number;
    readonly foundingRetryMs: number;
    readonly graceMs: number;
    /** A founder that owes an answer for so long is dialed again: its machine may have lost power, and nothing else would show that. */
    readonly silenceMs: number;
  };
  readonly log: (line: LogEvent) => void;
}

export type FoundingResult =
  /** This node writes the index-1 entry, or takes over another founder's. */
  | { readonly type: "founded"; readonly entry: Entry }
  /**
   * A cluster exists: ask to be let in. "founded" may still follow, because whoever was heard first may know less than a founder
   * heard later, whose first entry names this node. Without it, one lost disk could keep a new group from its majority.
   */
  | { readonly type: "join" }
  | { readonly type: "refused"; readonly error: RaftqError };

export interface Founders {
  /** Another founder asked us: if it states something else, nobody founds. */
  told(from: Member, theirs: FoundingWord): void;
  stop(): void;
}

interface Other {
  readonly address: string;
  connection: Connection | null;
  /** Ends the wait for what it owes. */
  answered: () => void;
  /** Its answer to our hello; null before that. */
  hello: Pick<Heard, "member" | "clusterId" | "members"> | null;
  /** Why the two do not let each other in, as it was said last. */
  refusal: string | null;
}

/** Calls `done` once, or twice: "join", then "founded". `word` is this node's own, as long as it may found. */
export function found(
  ports: FounderPorts,
  self: Member,
  word: FoundingWord,
  done: (result: FoundingResult) => void,
): Founders {
  const { clock, settings } = ports;
  const earliest = clock.now() + settings.graceMs;
  const heard = new Map<string, Heard>();
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
    for (const other of others) other.connection?.close(null);
  };
  const finish = (result: FoundingResult): void => {
    if (over) return;
    stop();
    done(result);
  };

  function dial(other: Other): void {
    ports.network.dial(other.address, settings.dialTimeoutMs, (result) => {
      if (over) return result.ok ? result.stream.close() : undefined;
      if (!result.ok) {
        if (result.unauthorised === true) sayRefusal(other, result.why);
        return void after(settings.foundingRetryMs, () => dial(other));
      }
      const connection = openConnection({
        stream: result.stream,
        clock,
        limits: ports.limits,
        side: "dialed",
        onMessage: (message) => receive(other, connection, message),
        onClosed: (why) => {
          const isStranger = why?.code === "BAD_REQUEST" && connection.greeting === null;
          if (why !== null && (why.code === "UNAUTHORISED" || isStranger)) sayRefusal(other, why.message);
          heard.delete(other.address);
          other.answered();
          other.connection = null;
          if (!over) after(settings.foundingRetryMs, () => dial(other));
        },
      });
      other.connection = connection;
      owes(other, connection);
      connection.send({
        type: "hello",
        version: settings.protocolVersion,
        features: [],
        role: "peer",
        clusterId: null,
        node: self,
      });
      connection.flush();
    });
  }

  /** From here on an answer is due on this connection. */
  function owes(other: Other, connection: Connection): void {
    other.answered();
    other.answered = after(settings.silenceMs, () => connection.close(null));
  }

  function receive(other: Other, connection: Connection, message: Message): void {
    if (over) return;
    if (message.type === "helloAnswer") {
      other.hello = { member: message.node, clusterId: message.clusterId, members: message.members };
      return tell(other, connection);
    }
    if (message.type !== "foundAnswer" || other.hello === null) return;
    other.answered();
    const { expect, set, fresh, record } = message;
    const said = { expect, set, fresh, record: record?.slice() ?? null };
    heard.set(other.address, { ...other.hello, word: said });
    consider();
    if (!over)
      after(settings.foundingRetryMs, () => (other.connection === connection ? tell(other, connection) : undefined));
  }

  function tell(other: Other, connection: Connection): void {
    owes(other, connection);
    const { expect, set, record } = word;
    connection.send({ type: "found", expect, set, fresh: !joining, record });
    connection.flush();
  }

  function consider(): void {
    const next = nextFoundingStep(self, word, heard);
    if (joining && next.type !== "adopt") return;
    switch (next.type) {
      case "found":
        if (clock.now() < earliest) return void after(earliest - clock.now(), consider);
        return finish({ type: "founded", entry: foundingEntry(next.members) });
      case "adopt": {
        const entry = foundingEntryOf(next.record);
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
        return say(next.missing);
    }
  }

  function say(missing: readonly string[]): void {
    const text =
      missing.length === 0
        ? "all founders are here; the one with the lowest id writes the first entry"
        : `waiting for ${missing.join(", ")}`;
    if (text !== lastMissing)
      ports.log({ level: "info", event: "founding", text: `founding with ${word.expect} nodes: ${text}` });
    lastMissing = text;
  }

  function sayRefusal(other: Other, why: string): void {
    if (other.refusal === why) return;
    other.refusal = why;
    ports.log({ level: "error", event: "peer-refused", text: `no link to ${other.address}: ${why}` });
  }

  for (const address of word.set) {
    if (address === self.address) continue;
    const other: Other = { address, connection: null, answered: () => undefined, hello: null, refusal: null };
    others.push(other);
    dial(other);
  }
  say(others.map((other) => other.address));
  // With --expect 1 nobody else answers.
  after(settings.graceMs, consider);
  return {
    told: (from, theirs) => {
      const why = theirs.fresh && !joining ? disagreement(word, theirs, from.address) : null;
      if (why !== null) finish({ type: "refused", error: new RaftqError("USAGE", why) });
    },
    stop,
  };
}
