// Where is the leader? Asks the known addresses one after the other, follows what they say, learns members on the way, and
// begins again after a pause that grows. A silent address holds up the others only for a moment.
import type { Failure } from "../lib/errors.ts";
import type { HelloAnswer, NodeStatus } from "../wire/protocol.ts";
import { dialNode, type Link, type LinkPorts, type NoAnswer, SILENT } from "./link.ts";

/** What a client met at an address. */
export type Met =
  | { readonly type: "serving"; readonly status: NodeStatus }
  /** It said hello, and not more yet. */
  | { readonly type: "greeted"; readonly hello: HelloAnswer }
  /** It has lost its data, and asks the others to be let in again. */
  | { readonly type: "recovering"; readonly why: string }
  | { readonly type: NoAnswer; readonly why: string };

/** What one round over all known addresses met. */
export interface Finding {
  readonly met: ReadonlyMap<string, Met>;
  /** Somebody said hello, but no leader that could be reached did. */
  readonly reached: boolean;
  /** Another cluster, another version: waiting will not help. */
  readonly fatal: Failure | null;
}

export interface SeekSettings {
  readonly follow: boolean;
  readonly dialTimeoutMs: number;
  readonly staggerMs: number;
  readonly maxHops: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

export interface SeekEvents {
  /** `redirectedBy`: the node that named this one as the leader. */
  readonly found: (link: Link, redirectedBy: HelloAnswer | null) => void;
  readonly roundOver: (finding: Finding) => void;
}

export interface Seeker {
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

export function createSeeker(
  ports: LinkPorts,
  given: readonly string[],
  settings: SeekSettings,
  on: SeekEvents,
): Seeker {
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

interface RoundEvents extends SeekEvents {
  readonly learn: (members: readonly string[]) => void;
}

interface Round {
  /** Ends it early. */
  stop(): void;
  soFar(): Finding;
}

/** First all are dialed; then, in one breath, those that said hello say how the cluster looks to them at the end. */
function runRound(ports: LinkPorts, order: readonly string[], settings: SeekSettings, on: RoundEvents): Round {
  const waiting = [...order];
  const tried = new Set<string>();
  /** What is under way, and how to stop it. */
  const active = new Map<string, () => void>();
  /** Those that said hello, to be asked when all were dialed. */
  const greeted = new Map<string, Link>();
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
    const cancelDial = dialNode(ports, address, settings.dialTimeoutMs, (result) => {
      cancelStagger();
      active.delete(address);
      if (over) return;
      if (result.ok) return saidHello(address, result.link, redirectedBy);
      met.set(address, { type: result.state, why: result.why });
      fatal = result.fatal ?? fatal;
      goOn();
    });
    active.set(address, () => {
      cancelStagger();
      cancelDial();
    });
  }

  function saidHello(address: string, link: Link, redirectedBy: HelloAnswer | null): void {
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
      met.set(address, { type: "failed", why });
    };
    if (hello.leader !== null && !tried.has(hello.leader) && hops < settings.maxHops) {
      hops++;
      return dial(hello.leader, hello);
    }
    goOn();
  }

  /** They know no leader that we could reach: but they can say who is missing. */
  function askAll(): void {
    const links = [...greeted];
    greeted.clear();
    for (const [address, link] of links) ask(address, link);
  }

  function ask(address: string, link: Link): void {
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
    link.onClosed = (why) => finish({ type: "failed", why });
    link.onMessage = (message) => {
      if (message.type === "statusAnswer") return finish({ type: "serving", status: message.status });
      if (message.type !== "failure") return finish({ type: "failed", why: `it answered with "${message.type}"` });
      finish(metBy(message.failure));
    };
    link.send({ type: "status", frameId: 1, linearizable: false });
    link.flush();
  }

  // Not inside the caller's call: whoever starts a round gets its stop first. No timer: clients that are sent on wait for this.
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
