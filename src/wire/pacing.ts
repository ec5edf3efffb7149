// How much bulk may be in flight on a link between members? Delay-based congestion control, as LEDBAT (RFC 6817) and TCP Vegas do it:
// enough to keep the link busy, and so little that a heartbeat behind it is delayed by one or two heartbeat intervals at most, because
// what is in the system's buffers and on the link cannot be overtaken any more.
//
// A ping follows bulk, and the other side answers when it has received everything before it. A round trip that takes longer than on
// an idle link shows how long the queue is; the window (unacknowledged bytes) grows while that is short, and shrinks to what the link
// carries.

export interface Pacer {
  /** Bytes of bulk that may be sent now. */
  available(): number;
  /** The most that should be sent in one write, so that a ping follows it soon. */
  maxBurst(): number;
  /** Something was written, so many bytes of it bulk. The number of the ping that must follow it at once; null: none. */
  sent(bulkBytes: number, moreWaits: boolean): number | null;
  /** A ping was answered, and with it those before it: so many more bytes of bulk are acknowledged. Null: no such ping is unanswered. */
  acknowledged(ping: number): number | null;
  /** May a heartbeat be sent? Not while the link is behind with its answers, nor so often that waiting bulk gets little of the link. */
  mayHeartbeat(bulkWaits: boolean): boolean;
  heartbeatSent(): void;
  /** What the link is known to carry. */
  bytesPerSecond(): number;
  /** Bytes of bulk, since the beginning. */
  acknowledgedBytes(): number;
  sentBytes(): number;
}

interface Ping {
  readonly number: number;
  readonly at: number;
  /** Bulk that had been sent by then, with and without the packets around it. */
  readonly cost: number;
  readonly sentBytes: number;
  /** Unacknowledged by then, with the packets around it. */
  readonly inFlight: number;
  readonly moreWaits: boolean;
}

/** How long bulk may delay a heartbeat: half as long again as the time between two of them. */
const MAX_QUEUE_DELAY_MS = 75;
/** Two fragments of the least size: a link on which these take longer is one whose heartbeats come less often. */
const MIN_WINDOW = 512;
const MAX_WINDOW = 1_024 * 1_024;
const MAX_BURST = 64 * 1_024;
/** What a write costs a link beside its bytes: the headers of a packet. */
const PACKET_BYTES = 66;
/** Without bulk the link is measured this often. */
const PING_INTERVAL_MS = 500;
/**
 * In one round trip the window grows by the share of this time that it takes. Many links take a burst at once before they are slow:
 * a window that grows faster fills a long queue before its first answer is late, on all links of a node together.
 */
const DOUBLING_MS = 500;
/**
 * Where nothing waits the window grows only to so many times what the link has just carried in MAX_QUEUE_DELAY_MS: it proves no more.
 * Without this it would stay as small as the messages are, each with a ping of its own, and now and then one would wait for an answer.
 */
const DELIVERIES_IN_WINDOW = 2;
/** Behind the least window an answer may take this long because the other side is busy; what is beyond that is a queue. */
const BUSY_MS = 100;
/** What a heartbeat costs the link, with the acknowledgement of its reply, and the share of the link that it may have beside bulk. */
const HEARTBEAT_BYTES = 170;
const HEARTBEAT_SHARE = 0.25;
/** A new measurement counts for one in so many in the round trip of an idle link. */
const SMOOTHING = 4;

export function createPacer(now: () => number): Pacer {
  let window = MIN_WINDOW;
  let sentBytes = 0;
  let acknowledgedBytes = 0;
  let cost = 0;
  let acknowledgedCost = 0;
  let costSincePing = 0;
  let nextPing = 1;
  let lastHeartbeatAt = Number.NEGATIVE_INFINITY;
  let lastPingAt = Number.NEGATIVE_INFINITY;
  const unanswered: Ping[] = [];
  /** The round trip of an idle link; null: not known yet. */
  let baseRttMs: number | null = null;
  /** The window has grown since: what was sent before shows nothing about its present size. */
  let grownAt = Number.NEGATIVE_INFINITY;
  /** What was acknowledged in the last whole MAX_QUEUE_DELAY_MS, and where the next one begins. */
  let delivered = 0;
  let deliveryBegan = { at: now(), acknowledgedBytes: 0 };

  const inFlight = (): number => cost - acknowledgedCost;
  const bytesPerSecond = (): number => (window * 1_000) / ((baseRttMs ?? 0) + MAX_QUEUE_DELAY_MS);
  const maxBurst = (): number => Math.min(window / 2, MAX_BURST);

  function measureDelivery(): void {
    const ms = now() - deliveryBegan.at;
    if (ms < MAX_QUEUE_DELAY_MS) return;
    delivered = ((acknowledgedBytes - deliveryBegan.acknowledgedBytes) * MAX_QUEUE_DELAY_MS) / ms;
    deliveryBegan = { at: now(), acknowledgedBytes };
  }

  function adjustWindow({ at, inFlight: bytes, moreWaits }: Ping): void {
    const rtt = now() - at;
    baseRttMs ??= rtt;
    if (bytes === 0 || rtt < baseRttMs) baseRttMs += (rtt - baseRttMs) / SMOOTHING;
    // So little bulk cannot have caused that.
    else if (bytes <= MIN_WINDOW && rtt - baseRttMs > MAX_QUEUE_DELAY_MS)
      baseRttMs += Math.max(0, Math.min(rtt, BUSY_MS) - baseRttMs) / SMOOTHING;
    if (bytes === 0) return;
    const queueDelay = rtt - baseRttMs;
    if (queueDelay > MAX_QUEUE_DELAY_MS) {
      window = Math.max(MIN_WINDOW, (bytes * (baseRttMs + MAX_QUEUE_DELAY_MS)) / rtt);
    } else if ((moreWaits || window < DELIVERIES_IN_WINDOW * delivered) && at >= grownAt) {
      const growth = 1 + (baseRttMs + MAX_QUEUE_DELAY_MS) / DOUBLING_MS;
      window = Math.min(MAX_WINDOW, window * Math.min(growth, MAX_QUEUE_DELAY_MS / Math.max(1, queueDelay)));
      grownAt = now();
    }
  }

  return {
    available: () => Math.max(0, window - inFlight()),
    maxBurst,
    sent: (bulkBytes, moreWaits) => {
      const added = bulkBytes === 0 ? 0 : bulkBytes + PACKET_BYTES;
      sentBytes += bulkBytes;
      cost += added;
      costSincePing += added;
      const isDue = unanswered.length === 0 && now() - lastPingAt >= PING_INTERVAL_MS;
      if (costSincePing < maxBurst() && !isDue) return null;
      costSincePing = 0;
      lastPingAt = now();
      unanswered.push({ number: nextPing, at: lastPingAt, cost, sentBytes, inFlight: inFlight(), moreWaits });
      return nextPing++;
    },
    acknowledged: (number) => {
      const at = unanswered.findIndex((ping) => ping.number === number);
      const ping = unanswered[at];
      if (ping === undefined) return null;
      unanswered.splice(0, at + 1);
      const more = ping.sentBytes - acknowledgedBytes;
      acknowledgedBytes = ping.sentBytes;
      acknowledgedCost = ping.cost;
      measureDelivery();
      adjustWindow(ping);
      return more;
    },
    mayHeartbeat: (bulkWaits) => {
      const [oldest] = unanswered;
      if (oldest !== undefined && now() - oldest.at > (baseRttMs ?? 0) + 2 * MAX_QUEUE_DELAY_MS) return false;
      // Bulk that arrives shows as well as they do who leads.
      return !bulkWaits || ((now() - lastHeartbeatAt) * bytesPerSecond()) / 1_000 >= HEARTBEAT_BYTES / HEARTBEAT_SHARE;
    },
    heartbeatSent: () => {
      lastHeartbeatAt = now();
    },
    bytesPerSecond,
    acknowledgedBytes: () => acknowledgedBytes,
    sentBytes: () => sentBytes,
  };
}
