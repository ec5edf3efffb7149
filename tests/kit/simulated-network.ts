/**
 * The Network port, simulated. It behaves as TCP does: bytes of a connection arrive in order or not at all. What a lossy, slow, cut or
 * dying network can do to it is delay, silence and resets, and all of that is drawn from one seeded generator.
 *
 * Bytes are handed over in memory that is overwritten after `onData`: who keeps a view instead of a copy is found out.
 */
import { RaftqError } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import { formatAddress } from "../../src/wire/address.ts";
import {
  type ByteStream,
  type DialResult,
  EVERYBODY,
  type Listener,
  type Network,
  type Trust,
} from "../../src/wire/network.ts";
import type { Scheduler } from "./scheduler.ts";

export interface SimNetworkSettings {
  /** Every directed link draws its own range within these. */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** Share of dials that get no answer at all. */
  readonly dialLossPercent: number;
  /** Share of segments that are lost once or more and arrive by retransmission: late, and everything behind them too. */
  readonly lossPercent?: number;
  /** What the systems of both sides hold for one direction of a connection: beyond it, `unsentBytes` grows. */
  readonly windowBytes?: number;
  /** What `self` knows of `other`, by name, or has to prove to it; without it, everybody is trusted. */
  readonly trust?: (self: string, other: string) => Trust;
}

/** True: nothing gets from `from` to `to`. */
export type Blocked = (from: string, to: string) => boolean;

export interface SimNetwork {
  /** The Network port of the process `name`. What it does belongs to its present life: `kill` and `powerCut` end that. */
  hostOf(name: string): Network;
  /**
   * Cuts every directed pair for which `blocked` holds (one way, both ways, a bridge…), besides other cuts; the answer heals it.
   * `losesFlight`: what is on its way is lost as well, and sent again some time after the healing.
   */
  cut(blocked: Blocked, losesFlight: boolean): () => void;
  /** The process is gone, its system lives: dials are refused, the other sides of its connections learn of it. */
  kill(name: string): void;
  /** The whole machine falls silent; its next life answers what still comes for the old one with resets. */
  powerCut(name: string): void;
  /** The process does not read, its system still takes what fits into the window. */
  pause(name: string): void;
  resume(name: string): void;
  /** Breaks every connection between the two. One side may learn of it long before the other, and have a new one by then. */
  reset(a: string, b: string): void;
  /** No more than so many bytes per millisecond get from `from` to `to`, over all their connections; the answer ends it. */
  slow(from: string, to: string, bytesPerMs: number): () => void;
  /**
   * Everything from `from` to `to` takes `ms` longer, in its order, as through buffers that fill up: more and more within `rampMs`, so
   * that what comes is never silent for long. The answer ends it; what is on its way is late all the same.
   */
  delay(from: string, to: string, ms: number, rampMs: number): () => void;
  /** From now on nothing is lost, no link is slow or late, and nothing takes longer than `delayMaxMs`. */
  calm(delayMaxMs: number): void;
  /** Connections of which at least one side is open. */
  connections(): number;
  /** The most bytes that ever waited for room in one connection. */
  mostWaiting(): number;
}

const RETRANSMIT_MIN_MS = 200;
/** Doubled each time, as systems do; theirs goes on to two minutes. */
const RETRANSMIT_MAX_MS = 15_000;
/** The time between two tries to reach a machine that is off or cut off. */
const LATE_SEGMENT_MS = 2_000;
/** A closed side stops retransmitting after so many tries. */
const GIVE_UP_AFTER = 10;
const DEFAULT_WINDOW_BYTES = 256 * 1024;
const LARGEST_SEGMENT_BYTES = 64 * 1024;
const POISON = 0xdb;

interface Host {
  readonly name: string;
  /** The longest delay that was drawn to each other host. */
  readonly slowest: Map<Host, number>;
  life: number;
  poweredOn: boolean;
  /** Events for a paused process, in order; null: it runs. */
  held: (() => void)[] | null;
}

interface Listening {
  readonly host: Host;
  readonly life: number;
  readonly accept: (stream: ByteStream) => void;
}

/** One side of a connection. */
interface End {
  readonly host: Host;
  readonly life: number;
  readonly stream: ByteStream;
  /** The application may still be called. */
  open: boolean;
  /** `close` was called; onClose is on its way. */
  closing: boolean;
  readonly out: Pipe;
}

/** One direction of a connection. */
interface Pipe {
  readonly waiting: Uint8Array[];
  waitingBytes: number;
  /** Sent, and not acknowledged yet: in the network, in the receiver's system, or read with the acknowledgement under way. */
  window: number;
  /** In the network, in order. */
  readonly flight: { readonly at: number; readonly bytes: Uint8Array | "end" }[];
  lastArrival: number;
  /** A retransmission timer runs; nothing newer overtakes it. */
  stuck: boolean;
  ending: boolean;
  tries: number;
}

/** Everybody knows the same secret, and has to prove it in the hello. */
export function sharedSecret(random: Random): Trust {
  const draw = (): Uint8Array => Uint8Array.from({ length: 32 }, () => random.below(256));
  const secrets = [{ role: "peer", key: draw() }] as const;
  return { type: "secret", secrets: { secrets: () => secrets, drawNonce: draw } };
}

/** Everything takes up to a millisecond, and nothing is lost. */
export const STEADY_NETWORK: SimNetworkSettings = { delayMinMs: 0, delayMaxMs: 1, dialLossPercent: 0 };

export function createSimNetwork(scheduler: Scheduler, random: Random, settings: SimNetworkSettings): SimNetwork {
  const { delayMinMs, windowBytes = DEFAULT_WINDOW_BYTES } = settings;
  let { delayMaxMs, dialLossPercent, lossPercent = 0 } = settings;
  const hosts = new Map<string, Host>();
  const listeners = new Map<string, Listening>();
  /** Whose address it is, also while no process listens there. */
  const owners = new Map<string, Host>();
  /** Links of low bandwidth: what they carry, and until when they are busy with what was sent. */
  const narrow = new Map<string, { readonly bytesPerMs: number; freeAt: number }>();
  /** Links through buffers that fill up, since when. */
  const late = new Map<string, { readonly ms: number; readonly rampMs: number; readonly since: number }>();
  const cuts = new Set<Blocked>();
  const connections = new Set<readonly [End, End]>();
  let nextPort = 40_000;
  const { trust = () => EVERYBODY } = settings;
  let mostWaiting = 0;

  const hostNamed = (name: string): Host => {
    const known = hosts.get(name);
    if (known !== undefined) return known;
    const host: Host = { name, slowest: new Map(), life: 1, poweredOn: true, held: null };
    hosts.set(name, host);
    return host;
  };

  const isBlocked = (from: Host, to: Host): boolean => {
    if (from === to) return false;
    for (const blocked of cuts) if (blocked(from.name, to.name)) return true;
    return false;
  };

  const fraction = (): number => random.below(1_001) / 1_000;

  function drawDelay(from: Host, to: Host): number {
    const known = from.slowest.get(to);
    const most = known ?? delayMinMs + (delayMaxMs - delayMinMs) * fraction();
    if (known === undefined) from.slowest.set(to, most);
    return delayMinMs + (most - delayMinMs) * fraction() + lateness(from, to);
  }

  function lateness(from: Host, to: Host): number {
    const found = late.size === 0 ? undefined : late.get(`${from.name}>${to.name}`);
    if (found === undefined) return 0;
    return found.ms * Math.min(1, (scheduler.now() - found.since) / found.rampMs);
  }

  /** Into the process, if its life is still the same one; a paused one gets it later. */
  function enter(host: Host, life: number, run: () => void): void {
    if (host.life !== life) return;
    if (host.held === null) return run();
    host.held.push(() => {
      if (host.life === life) run();
    });
  }

  // ---- a direction of a connection

  function drawSegment(pipe: Pipe): number {
    const room = Math.min(pipe.waitingBytes, windowBytes - pipe.window, LARGEST_SEGMENT_BYTES);
    if (random.chance(70)) return room;
    return random.between(1, random.chance(50) ? Math.min(16, room) : room);
  }

  function takeBytes(pipe: Pipe, count: number): Uint8Array {
    const segment = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      const first = pipe.waiting[0]!;
      const part = first.subarray(0, count - filled);
      segment.set(part, filled);
      filled += part.length;
      if (part.length === first.length) pipe.waiting.shift();
      else pipe.waiting[0] = first.subarray(part.length);
    }
    pipe.waitingBytes -= count;
    return segment;
  }

  /** Sends what the window allows. */
  function pump(from: End, to: End): void {
    const pipe = from.out;
    while (!pipe.stuck && pipe.waitingBytes > 0 && pipe.window < windowBytes) {
      if (isBlocked(from.host, to.host) || !to.host.poweredOn) return retransmitLater(from, to);
      const bytes = takeBytes(pipe, drawSegment(pipe));
      pipe.window += bytes.length;
      transmit(from, to, bytes);
    }
    if (!pipe.stuck && pipe.ending && pipe.waitingBytes === 0) {
      if (isBlocked(from.host, to.host) || !to.host.poweredOn) return retransmitLater(from, to);
      pipe.ending = false;
      transmit(from, to, "end");
    }
  }

  function transmit(from: End, to: End, bytes: Uint8Array | "end"): void {
    const pipe = from.out;
    pipe.tries = 0;
    let delay = drawDelay(from.host, to.host);
    while (random.chance(lossPercent)) delay += RETRANSMIT_MIN_MS;
    const link = narrow.size === 0 ? undefined : narrow.get(`${from.host.name}>${to.host.name}`);
    if (link !== undefined) {
      link.freeAt = Math.max(link.freeAt, scheduler.now()) + bytes.length / link.bytesPerMs;
      delay += link.freeAt - scheduler.now();
    }
    pipe.lastArrival = Math.max(pipe.lastArrival, scheduler.now() + delay);
    pipe.flight.push({ at: pipe.lastArrival, bytes });
    scheduler.after(pipe.lastArrival - scheduler.now(), () => arrive(from, to));
  }

  function retransmitLater(from: End, to: End): void {
    const pipe = from.out;
    pipe.stuck = true;
    pipe.tries++;
    if (from.closing && pipe.tries > GIVE_UP_AFTER) return;
    const wait = Math.min(RETRANSMIT_MAX_MS, RETRANSMIT_MIN_MS * 2 ** Math.min(pipe.tries - 1, 10));
    scheduler.after(wait, () => {
      pipe.stuck = false;
      pump(from, to);
    });
  }

  /** What is in the network does not arrive. The sender's system still holds it, and tries again later. */
  function loseFlight(from: End, to: End): void {
    const pipe = from.out;
    // What a dead process has sent is nobody's any more: it arrives, or the other side's silence ends the connection.
    if (pipe.flight.length === 0 || from.host.life !== from.life) return;
    const lost = pipe.flight.splice(0).flatMap(({ bytes }) => {
      if (bytes !== "end") return [bytes];
      pipe.ending = true;
      return [];
    });
    const size = lost.reduce((sum, bytes) => sum + bytes.length, 0);
    pipe.waiting.unshift(...lost);
    pipe.waitingBytes += size;
    pipe.window -= size;
    if (!pipe.stuck) retransmitLater(from, to);
  }

  /** Everything that is due by now comes as one piece, as a system hands over what it has. */
  function arrive(from: End, to: End): void {
    const pipe = from.out;
    const due: Uint8Array[] = [];
    let ended = false;
    while (pipe.flight.length > 0 && pipe.flight[0]!.at <= scheduler.now()) {
      const { bytes } = pipe.flight.shift()!;
      if (bytes === "end") ended = true;
      else due.push(bytes);
    }
    if (due.length > 0) receive(from, to, due);
    if (ended) enter(to.host, to.life, () => hangUp(to, "the other side closed the connection"));
  }

  function receive(from: End, to: End, due: readonly Uint8Array[]): void {
    if (to.host.life !== to.life) return answerWithReset(from, to);
    enter(to.host, to.life, () => {
      const data = due.length === 1 ? due[0]! : new Uint8Array(Buffer.concat(due));
      acknowledge(from, to, data.length);
      if (!to.open || to.closing) return;
      to.stream.onData(data);
      data.fill(POISON);
    });
  }

  /** Calls back a sender that waits for room; for any other one it needs no event of its own. */
  function acknowledge(from: End, to: End, count: number): void {
    const pipe = from.out;
    const arrived = (): void => {
      pipe.window -= count;
      const waited = pipe.waitingBytes > 0;
      pump(from, to);
      if (waited && pipe.waitingBytes === 0 && from.open && !from.closing) {
        enter(from.host, from.life, () => {
          if (from.open && !from.closing && pipe.waitingBytes === 0) from.stream.onDrain();
        });
      }
    };
    const attempt = (): void => {
      if (isBlocked(to.host, from.host)) scheduler.after(RETRANSMIT_MIN_MS, attempt);
      else scheduler.after(drawDelay(to.host, from.host), arrived);
    };
    if (pipe.waitingBytes === 0 && !isBlocked(to.host, from.host)) pipe.window -= count;
    else attempt();
  }

  /** The receiving process is gone: its system answers with a reset, if it runs and can be reached. */
  function answerWithReset(from: End, to: End): void {
    if (!from.open || from.host.life !== from.life) return;
    if (!to.host.poweredOn || isBlocked(to.host, from.host)) {
      // The sender's system goes on retransmitting what was never acknowledged.
      return void scheduler.after(LATE_SEGMENT_MS, () => answerWithReset(from, to));
    }
    scheduler.after(drawDelay(to.host, from.host), () =>
      enter(from.host, from.life, () => hangUp(from, "connection reset by peer")),
    );
  }

  /** The application learns that its stream is over. */
  function hangUp(end: End, why: string): void {
    if (!end.open) return;
    end.open = false;
    dropWaiting(end.out);
    end.stream.onClose(why);
    forget();
  }

  function dropWaiting(pipe: Pipe): void {
    pipe.waiting.length = 0;
    pipe.waitingBytes = 0;
  }

  function forget(): void {
    for (const pair of connections) {
      if (pair.every((end) => !end.open || end.host.life !== end.life)) connections.delete(pair);
    }
  }

  // ---- connections

  function createPair(dialer: Host, acceptor: Host, address: string): readonly [End, End] {
    const near = createEnd(dialer, acceptor, address);
    const far = createEnd(acceptor, dialer, `${dialer.name}:${nextPort++}`);
    connect(near, far);
    connect(far, near);
    const pair = [near, far] as const;
    connections.add(pair);
    return pair;
  }

  function createEnd(host: Host, other: Host, remote: string): End {
    const out: Pipe = {
      waiting: [],
      waitingBytes: 0,
      window: 0,
      flight: [],
      lastArrival: 0,
      stuck: false,
      ending: false,
      tries: 0,
    };
    const nothing = (): void => {};
    const stream: ByteStream = {
      remote,
      trust: trust(host.name, other.name),
      write: nothing,
      unsentBytes: () => out.waitingBytes,
      close: nothing,
      onData: nothing,
      onClose: nothing,
      onDrain: nothing,
    };
    return { host, life: host.life, stream, open: true, closing: false, out };
  }

  function connect(end: End, other: End): void {
    end.stream.write = (bytes) => {
      if (!end.open || end.closing || bytes.length === 0) return;
      end.out.waiting.push(bytes);
      end.out.waitingBytes += bytes.length;
      mostWaiting = Math.max(mostWaiting, end.out.waitingBytes);
      pump(end, other);
    };
    end.stream.close = () => {
      if (!end.open || end.closing) return;
      end.closing = true;
      end.out.ending = true;
      pump(end, other);
      scheduler.after(0, () =>
        enter(end.host, end.life, () => {
          if (!end.open) return;
          end.open = false;
          end.stream.onClose("closed by this side");
          forget();
        }),
      );
    };
  }

  function dial(dialer: Host, address: string, timeoutMs: number, done: (result: DialResult) => void): void {
    const { life } = dialer;
    const owner = owners.get(address);
    let over = false;
    const finish = (result: DialResult): void => {
      if (over) return;
      over = true;
      cancelTimeout();
      enter(dialer, life, () => done(result));
    };
    const cancelTimeout = scheduler.after(timeoutMs, () => {
      finish({ ok: false, refused: false, why: `${address} did not answer within ${timeoutMs}ms` });
    });
    const refuse = (): void => finish({ ok: false, refused: true, why: `${address}: connection refused` });
    if (owner === undefined) return void scheduler.after(delayMinMs, refuse);
    if (random.chance(dialLossPercent) || isBlocked(dialer, owner)) return;
    scheduler.after(drawDelay(dialer, owner), () => {
      if (!owner.poweredOn || isBlocked(owner, dialer)) return;
      const listening = listeners.get(address);
      scheduler.after(drawDelay(owner, dialer), () => {
        if (over || dialer.life !== life) return;
        if (listening === undefined || listening.host.life !== listening.life) return refuse();
        const [near, far] = createPair(dialer, owner, address);
        far.out.lastArrival = scheduler.now();
        introduce(near, far, listening);
        finish({ ok: true, stream: near.stream });
      });
    });
  }

  /** The listening process learns of the connection a delay later, and before its first byte. */
  function introduce(near: End, far: End, { host, life, accept }: Listening): void {
    near.out.lastArrival = scheduler.now() + drawDelay(near.host, host);
    scheduler.after(near.out.lastArrival - scheduler.now(), () => enter(host, life, () => accept(far.stream)));
  }

  function listen(host: Host, address: string, accept: (stream: ByteStream) => void): Listener | Error {
    const present = listeners.get(address);
    if (present !== undefined && present.host.life === present.life) {
      return new RaftqError("PORT_IN_USE", `${address} is in use by another program`);
    }
    const listening: Listening = { host, life: host.life, accept };
    listeners.set(address, listening);
    owners.set(address, host);
    return {
      port: Number(address.slice(address.lastIndexOf(":") + 1)),
      close: () => {
        if (listeners.get(address) === listening) listeners.delete(address);
      },
    };
  }

  // ---- misfortunes

  function endLife(name: string): readonly (readonly [End, End])[] {
    const host = hostNamed(name);
    const broken = [...connections].flatMap(([a, b]) => {
      if (a.host === host && a.life === host.life) return [[a, b] as const];
      return b.host === host && b.life === host.life ? [[b, a] as const] : [];
    });
    host.life++;
    host.held = null;
    for (const [dead] of broken) {
      dead.open = false;
      dropWaiting(dead.out);
    }
    return broken;
  }

  /** What is in the network arrives first, unless the system had unread bytes: then a reset overtakes it. */
  function kill(name: string): void {
    for (const [dead, other] of endLife(name)) {
      dead.closing = true;
      if (random.chance(50)) {
        dead.out.ending = true;
        pump(dead, other);
      } else {
        dead.out.flight.length = 0;
        answerWithReset(other, dead);
      }
    }
    forget();
  }

  function powerCut(name: string): void {
    hostNamed(name).poweredOn = false;
    endLife(name);
    forget();
  }

  function reset(a: string, b: string): void {
    for (const [near, far] of connections) {
      if (!(near.host.name === a && far.host.name === b) && !(near.host.name === b && far.host.name === a)) continue;
      const [first, second] = random.chance(50) ? [near, far] : [far, near];
      // The one that learns later still gets the other's bytes meanwhile: perhaps after the first bytes of a new connection.
      const late = random.chance(50) ? RETRANSMIT_MIN_MS * fraction() : 0;
      scheduler.after(delayMinMs * fraction(), () =>
        enter(first.host, first.life, () => hangUp(first, "connection reset")),
      );
      scheduler.after(delayMinMs + late, () =>
        enter(second.host, second.life, () => hangUp(second, "connection reset")),
      );
    }
  }

  return {
    hostOf: (name) => {
      const host = hostNamed(name);
      host.poweredOn = true;
      return {
        listen: (at, port, accept, ready) => {
          const { life } = host;
          const listener = listen(host, formatAddress(at, port === 0 ? nextPort++ : port), accept);
          scheduler.after(0, () => {
            enter(host, life, () => (listener instanceof Error ? ready(listener, null) : ready(null, listener)));
          });
        },
        dial: (address, timeoutMs, done) => dial(host, address, timeoutMs, done),
      };
    },
    cut: (blocked, losesFlight) => {
      const own: Blocked = (from, to) => blocked(from, to);
      cuts.add(own);
      for (const [a, b] of losesFlight ? connections : []) {
        if (blocked(a.host.name, b.host.name)) loseFlight(a, b);
        if (blocked(b.host.name, a.host.name)) loseFlight(b, a);
      }
      return () => void cuts.delete(own);
    },
    kill,
    powerCut,
    pause: (name) => {
      hostNamed(name).held ??= [];
    },
    resume: (name) => {
      const host = hostNamed(name);
      const held = host.held ?? [];
      host.held = null;
      for (const run of held) run();
    },
    reset,
    slow: (from, to, bytesPerMs) => {
      const name = `${from}>${to}`;
      const link = { bytesPerMs, freeAt: scheduler.now() };
      narrow.set(name, link);
      return () => {
        if (narrow.get(name) === link) narrow.delete(name);
      };
    },
    delay: (from, to, ms, rampMs) => {
      const link = `${from}>${to}`;
      const buffers = { ms, rampMs: Math.max(1, rampMs), since: scheduler.now() };
      late.set(link, buffers);
      return () => {
        if (late.get(link) === buffers) late.delete(link);
      };
    },
    calm: (longestMs) => {
      narrow.clear();
      late.clear();
      delayMaxMs = Math.max(delayMinMs, Math.min(delayMaxMs, longestMs));
      dialLossPercent = 0;
      lossPercent = 0;
      for (const { slowest } of hosts.values()) slowest.clear();
    },
    connections: () => connections.size,
    mostWaiting: () => mostWaiting,
  };
}
