// Where is the leader? Dials the known addresses one after the other, follows redirects, learns members from each hello, and
// begins again after a pause that grows. A silent address delays the others only for a moment.
import { WIRE } from "../config.ts";
import type { Failure } from "../lib/errors.ts";
import type { HelloAnswer, NodeStatus } from "../wire/protocol.ts";
import { connectNode, fatalFor, type NodeConnection, type NoAnswer, SILENT } from "../wire/node-connection.ts";
import type { ClientPorts } from "./types.ts";

/** What a client met at an address. */
export type Met =
  | { readonly type: "serving"; readonly status: NodeStatus }
  /** Its hello came, and nothing more yet. */
  | { readonly type: "greeted"; readonly hello: HelloAnswer }
  /** It has lost its data, and asks the others to be let in again. */
  | { readonly type: "recovering"; readonly why: string }
  | { readonly type: NoAnswer; readonly why: string };

/** What one round over all known addresses met. */
export interface Finding {
  readonly met: ReadonlyMap<string, Met>;
  /** A node sent its hello, but no reachable leader did. */
  readonly reached: boolean;
  /** Another cluster, another version: waiting will not help. */
  readonly fatal: Failure | null;
}

export interface LeaderSearchSettings {
  readonly follow: boolean;
  readonly dialTimeoutMs: number;
  readonly staggerMs: number;
  readonly maxHops: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export interface LeaderSearchEvents {
  /** `redirectedBy`: the node that named this one as the leader. */
  readonly found: (link: NodeConnection, redirectedBy: HelloAnswer | null) => void;
  readonly roundOver: (finding: Finding) => void;
}

export interface LeaderSearch {
  /** Begins a search; the first one at once, later ones after a pause until `succeeded` is called. */
  start(preferred: string | null, avoided: string | null): void;
  /** The leader that was found answers: the next search may begin at once. */
  succeeded(): void;
  stop(): void;
  /** What the round that is under way has met so far; null: none is. */
  soFar(): Finding | null;
  /** All addresses given or learned. */
  addresses(): readonly string[];
}

const BACKOFF = 1.5;

export function createLeaderSearch(
  ports: ClientPorts,
  given: readonly string[],
  settings: LeaderSearchSettings,
  on: LeaderSearchEvents,
): LeaderSearch {
  const known = new Set(given);
  let attempt = 0;
  let stopRound: () => void = () => {};
  let round: Round | null = null;
  const stop = (): void => {
    stopRound();
    round = null;
  };

  const pauseMs = (): number => {
    const upTo = Math.min(settings.retryMaxMs, settings.retryMinMs * BACKOFF ** (attempt - 1));
    return ports.random.between(Math.ceil(upTo / 2), Math.ceil(upTo));
  };

  function later(preferred: string | null, avoided: string | null): void {
    stopRound = ports.clock.after(pauseMs(), () => begin(preferred, avoided));
  }

  function begin(preferred: string | null, avoided: string | null): void {
    const order = [...known].filter((address) => address !== preferred && address !== avoided);
    if (preferred !== null) order.unshift(preferred);
    if (avoided !== null && known.has(avoided) && avoided !== preferred) order.push(avoided);
    const begun = runRound(ports, order, settings, {
      learn: (members) => {
        for (const address of members) known.add(address);
      },
      found: (link, redirectedBy) => {
        stopRound = () => {};
        round = null;
        on.found(link, redirectedBy);
      },
      roundOver: (finding) => {
        attempt++;
        round = null;
        later(null, null);
        on.roundOver(finding);
      },
    });
    stopRound = begun.stop;
    round = begun;
  }

  return {
    start: (preferred, avoided) => {
      stop();
      if (attempt === 0) begin(preferred, avoided);
      else later(preferred, avoided);
      attempt++;
    },
    succeeded: () => {
      attempt = 0;
    },
    stop,
    soFar: () => round?.soFar() ?? null,
    addresses: () => [...known],
  };
}

interface RoundEvents extends LeaderSearchEvents {
  readonly learn: (members: readonly string[]) => void;
}

interface Round {
  /** Ends it early. */
  stop(): void;
  soFar(): Finding;
}

/** First all are dialed; then those that sent a hello are asked for their status, all at once. */
function runRound(
  ports: ClientPorts,
  order: readonly string[],
  settings: LeaderSearchSettings,
  on: RoundEvents,
): Round {
  const waiting = [...order];
  const tried = new Set<string>();
  /** What is under way, and how to stop it. */
  const active = new Map<string, () => void>();
  /** Those that sent a hello, to be asked when all were dialed. */
  const greeted = new Map<string, NodeConnection>();
  const met = new Map<string, Met>();
  let reached = false;
  let fatal: Failure | null = null;
  let hops = 0;
  let over = false;

  function end(): void {
    over = true;
    for (const stop of active.values()) stop();
    active.clear();
    for (const link of greeted.values()) link.close();
    greeted.clear();
  }

  function goOn(): void {
    if (over) return;
    const next = waiting.find((address) => !tried.has(address));
    if (next !== undefined) return dial(next, null);
    if (active.size > 0) return;
    if (greeted.size > 0) return askAll();
    end();
    on.roundOver({ met, reached, fatal });
  }

  function dial(address: string, redirectedBy: HelloAnswer | null): void {
    tried.add(address);
    const cancelStagger = ports.clock.after(settings.staggerMs, goOn);
    const { dialTimeoutMs } = settings;
    const target = { address, role: ports.role ?? "client", clusterId: null, dialTimeoutMs, timeoutMs: dialTimeoutMs };
    const cancelDial = connectNode({ ...ports, limits: WIRE }, target, (result) => {
      cancelStagger();
      active.delete(address);
      if (over) return;
      if (result.ok) return helloReceived(address, result.link, redirectedBy);
      met.set(address, { type: result.state, why: result.why.message });
      fatal = fatalFor(result.why, address) ?? fatal;
      goOn();
    });
    active.set(address, () => {
      cancelStagger();
      cancelDial();
    });
  }

  function helloReceived(address: string, link: NodeConnection, redirectedBy: HelloAnswer | null): void {
    const { hello } = link;
    reached = true;
    on.learn(hello.members);
    waiting.push(...hello.members);
    if (!settings.follow || hello.leader === hello.node.address) {
      end();
      return on.found(link, redirectedBy);
    }
    met.set(address, { type: "greeted", hello });
    greeted.set(address, link);
    link.onClosed = (why) => {
      greeted.delete(address);
      met.set(address, { type: "failed", why: why.message });
    };
    if (hello.leader !== null && !tried.has(hello.leader) && hops < settings.maxHops) {
      hops++;
      return dial(hello.leader, hello);
    }
    goOn();
  }

  /** They know no leader that is reachable, but their status shows which members are missing. */
  function askAll(): void {
    const links = [...greeted];
    greeted.clear();
    for (const [address, link] of links) ask(address, link);
  }

  function ask(address: string, link: NodeConnection): void {
    const finish = (what: Met): void => {
      cancel();
      if (!active.delete(address)) return;
      met.set(address, what);
      link.close();
      goOn();
    };
    const silent = (): void => finish({ type: "silent", why: SILENT });
    const cancel = ports.clock.after(settings.dialTimeoutMs, silent);
    active.set(address, () => {
      cancel();
      link.close();
    });
    link.onClosed = (why) => finish({ type: "failed", why: why.message });
    link.onMessage = (message) => {
      if (message.type === "statusAnswer") return finish({ type: "serving", status: message.status });
      if (message.type !== "failure") return finish({ type: "failed", why: `it answered with "${message.type}"` });
      finish(metBy(message.failure));
    };
    link.send({ type: "status", frameId: 1, linearizable: false });
    link.flush();
  }

  // Not inside the caller's call, which returns the round's stop first. No timer: redirected clients wait for this.
  ports.clock.soon(goOn);
  return {
    stop: end,
    soFar: () => {
      const all = new Map(met);
      for (const address of tried) if (!all.has(address)) all.set(address, { type: "silent", why: "no answer" });
      return { met: all, reached, fatal };
    },
  };
}

function metBy({ code, message }: Failure): Met {
  if (code === "RECOVERING") return { type: "recovering", why: message };
  return { type: code === "STARTING" ? "starting" : "failed", why: message };
}
