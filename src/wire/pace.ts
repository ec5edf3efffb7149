// How much bulk may be on a link at once? So much that the link is busy, and so little that a heartbeat behind it waits for about
// the time of one or two heartbeats: what is in the system's buffers and on the way cannot be overtaken any more.
//
// Behind bulk goes a ping, which the other side answers when it has received everything before it. The time until then shows how
// long the queue is; the window of bytes without an answer grows while that is short, and shrinks to what the link carries.

export interface Pace {
  /** Bytes of bulk that may leave now. */
  room(): number;
  /** The most that should leave in one write, so that a ping comes behind it. */
  readonly stride: number;
  /** Something was written, so many bytes of it bulk. The number of the ping that must follow it at once; null: none. */
  wrote(bulkBytes: number, moreWaits: boolean): number | null;
  /** A ping was answered, and with it those before it: how many more bytes of bulk the other side has. Null: it is not due. */
  answered(ping: number): number | null;
  /** May a heartbeat leave? Not while the link is behind with its answers, nor so often that bulk which waits gets little of the link. */
  mayBeat(bulkWaits: boolean): boolean;
  /** One has left. */
  beat(): void;
  /** What the link is known to carry. */
  bytesPerSecond(): number;
  /** Bytes of bulk that the other side is known to have, since the beginning. */
  arrived(): number;
  /** Bytes of bulk that left, since the beginning. */
  left(): number;
}

interface Ping {
  readonly number: number;
  readonly at: number;
  /** Bulk that had left by then, with and without the packets around it. */
  readonly cost: number;
  readonly left: number;
  /** Without an answer by then. */
  readonly flight: number;
  readonly moreWaits: boolean;
}

/** How long a heartbeat may wait behind bulk: half as long again as the time between two of them. */
const QUEUE_MS = 75;
/** Two pieces of the least size: a link on which these take longer is one whose heartbeats come less often. */
const LEAST_WINDOW = 512;
const LARGEST_WINDOW = 1_024 * 1_024;
const LARGEST_STRIDE = 64 * 1_024;
/** What a write costs a link beside its bytes: the heads of a packet. */
const PACKET_BYTES = 66;
/** Without bulk the link is measured this often. */
const PING_EVERY_MS = 500;
/**
 * In one round trip the window grows by the share of this time that it takes. Many links take a burst at once before they are slow:
 * whoever grows faster fills a long queue before its first answer is late, on all links of a node together.
 */
const DOUBLING_MS = 500;
/** Behind the least window an answer may take this long because the other side is busy; what is beyond that is a queue, whoever fills it. */
const BUSY_MS = 100;
/** What a heartbeat costs the link, with the acknowledgement of its answer, and the share of the link that it may have beside bulk. */
const BEAT_BYTES = 170;
const BEAT_SHARE = 0.25;
/** The share of a new measurement in what an empty link takes. */
const SMOOTHING = 4;

export function createPace(now: () => number): Pace {
  let window = LEAST_WINDOW;
  let left = 0;
  let arrived = 0;
  let cost = 0;
  let answeredCost = 0;
  let unmarked = 0;
  let nextPing = 1;
  let lastBeatAt = Number.NEGATIVE_INFINITY;
  let lastPingAt = Number.NEGATIVE_INFINITY;
  const pings: Ping[] = [];
  /** What an answer takes while the link is empty; null: not known yet. */
  let emptyMs: number | null = null;
  /** The window has grown since: what left before says nothing about its present size. */
  let grownAt = Number.NEGATIVE_INFINITY;

  const flight = (): number => cost - answeredCost;
  const bytesPerSecond = (): number => (window * 1_000) / ((emptyMs ?? 0) + QUEUE_MS);
  const strideOf = (): number => Math.min(window / 2, LARGEST_STRIDE);

  function learn({ at, flight: bytes, moreWaits }: Ping): void {
    const took = now() - at;
    emptyMs ??= took;
    if (bytes === 0 || took < emptyMs) emptyMs += (took - emptyMs) / SMOOTHING;
    // So little bulk cannot have caused that.
    else if (bytes <= LEAST_WINDOW && took - emptyMs > QUEUE_MS)
      emptyMs += Math.max(0, Math.min(took, BUSY_MS) - emptyMs) / SMOOTHING;
    if (bytes === 0) return;
    const queued = took - emptyMs;
    if (queued > QUEUE_MS) {
      window = Math.max(LEAST_WINDOW, (bytes * (emptyMs + QUEUE_MS)) / took);
    } else if (moreWaits && at >= grownAt) {
      const growth = 1 + (emptyMs + QUEUE_MS) / DOUBLING_MS;
      window = Math.min(LARGEST_WINDOW, window * Math.min(growth, QUEUE_MS / Math.max(1, queued)));
      grownAt = now();
    }
  }

  return {
    room: () => Math.max(0, window - flight()),
    get stride() {
      return strideOf();
    },
    wrote: (bulkBytes, moreWaits) => {
      const added = bulkBytes === 0 ? 0 : bulkBytes + PACKET_BYTES;
      left += bulkBytes;
      cost += added;
      unmarked += added;
      const isDue = pings.length === 0 && now() - lastPingAt >= PING_EVERY_MS;
      if (unmarked < strideOf() && !isDue) return null;
      unmarked = 0;
      lastPingAt = now();
      pings.push({ number: nextPing, at: lastPingAt, cost, left, flight: flight(), moreWaits });
      return nextPing++;
    },
    answered: (number) => {
      const at = pings.findIndex((sent) => sent.number === number);
      const ping = pings[at];
      if (ping === undefined) return null;
      pings.splice(0, at + 1);
      const more = ping.left - arrived;
      arrived = ping.left;
      answeredCost = ping.cost;
      learn(ping);
      return more;
    },
    mayBeat: (bulkWaits) => {
      const [oldest] = pings;
      if (oldest !== undefined && now() - oldest.at > (emptyMs ?? 0) + 2 * QUEUE_MS) return false;
      // Bulk that arrives shows as well as they do who leads.
      return !bulkWaits || ((now() - lastBeatAt) * bytesPerSecond()) / 1_000 >= BEAT_BYTES / BEAT_SHARE;
    },
    beat: () => {
      lastBeatAt = now();
    },
    bytesPerSecond,
    arrived: () => arrived,
    left: () => left,
  };
}
