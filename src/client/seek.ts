// Where is the leader? Asks the known addresses one after the other, follows what they say, learns members on the way, and
// begins again after a pause that grows. A silent address holds up the others only for a moment.
import type { Failure } from "../lib/errors.ts";
import type { HelloAnswer, NodeStatus } from "../wire/protocol.ts";
import { dialNode, type Link, type LinkPorts } from "./link.ts";

/** What one round over all known addresses met. */
export interface Finding {
  /** Address and reason. */
  readonly unreachable: ReadonlyMap<string, string>;
  /** Addresses that said hello, but knew no leader that could be reached. */
  readonly reached: ReadonlyMap<string, HelloAnswer>;
  /** Of those, the ones that have lost their data, and what they say. */
  readonly recovering: ReadonlyMap<string, string>;
  /** What one of those says about the cluster. */
  readonly status: NodeStatus | null;
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
    stopRound = runRound(ports, order, settings, {
      learn: (members) => {
        for (const address of members) known.add(address);
      },
      found: (link, redirectedBy) => {
        stopRound = () => {};
        on.found(link, redirectedBy);
      },
      roundOver: (finding) => {
        attempt++;
        later(null, null);
        on.roundOver(finding);
      },
    });
  }

  return {
    start: (preferred, avoided) => {
      stopRound();
      if (attempt === 0) begin(preferred, avoided);
      else later(preferred, avoided);
      attempt++;
    },
    succeeded: () => {
      attempt = 0;
    },
    stop: () => stopRound(),
    addresses: () => [...known],
  };
}

interface RoundEvents extends SeekEvents {
  readonly learn: (members: readonly string[]) => void;
}

/** One round; the answer ends it early. */
function runRound(ports: LinkPorts, order: readonly string[], settings: SeekSettings, on: RoundEvents): () => void {
  const waiting = [...order];
  const tried = new Set<string>();
  /** What is under way, and how to stop it. */
  const active = new Map<string, () => void>();
  const unreachable = new Map<string, string>();
  const reached = new Map<string, HelloAnswer>();
  const recovering = new Map<string, string>();
  let status: NodeStatus | null = null;
  let fatal: Failure | null = null;
  let hops = 0;
  let over = false;

  function end(): void {
    over = true;
    for (const stop of active.values()) stop();
    active.clear();
  }

  function goOn(): void {
    if (over) return;
    const next = waiting.find((address) => !tried.has(address));
    if (next !== undefined) return dial(next, null);
    if (active.size > 0) return;
    end();
    on.roundOver({ unreachable, reached, recovering, status, fatal });
  }

  function dial(address: string, redirectedBy: HelloAnswer | null): void {
    tried.add(address);
    const cancelStagger = ports.clock.after(settings.staggerMs, goOn);
    const cancelDial = dialNode(ports, address, settings.dialTimeoutMs, (result) => {
      cancelStagger();
      active.delete(address);
      if (over) return;
      if (result.ok) return saidHello(address, result.link, redirectedBy);
      unreachable.set(address, result.why);
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
    on.learn(hello.members);
    waiting.push(...hello.members);
    if (!settings.follow || hello.leader === hello.node.address) {
      end();
      return on.found(link, redirectedBy);
    }
    reached.set(address, hello);
    if (hello.leader !== null && !tried.has(hello.leader) && hops < settings.maxHops) {
      hops++;
      link.close();
      return dial(hello.leader, hello);
    }
    askStatus(address, link);
  }

  /** It knows no leader that we could reach: but it can say who is missing. */
  function askStatus(address: string, link: Link): void {
    const finish = (): void => {
      cancel();
      if (!active.delete(address)) return;
      link.close();
      goOn();
    };
    const cancel = ports.clock.after(settings.dialTimeoutMs, finish);
    active.set(address, () => {
      cancel();
      link.close();
    });
    link.onClosed = finish;
    link.onMessage = (message) => {
      if (message.type === "statusAnswer") status = message.status;
      if (message.type === "failure" && message.failure.code === "RECOVERING")
        recovering.set(address, message.failure.message);
      finish();
    };
    link.send({ type: "status", frameId: 1, linearizable: false });
    link.flush();
  }

  // Not inside the caller's call: whoever starts a round gets its stop first. No timer: clients that are sent on wait for this.
  ports.clock.soon(goOn);
  return end;
}
