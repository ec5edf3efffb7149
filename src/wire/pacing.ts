// Limits the bulk in flight on a link between members, by delay-based congestion control as in LEDBAT (RFC 6817) and TCP Vegas:
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
  /** Something was written, `bulkBytes` of it bulk. Returns the number of the ping that must follow it at once; null: none. */
  sent(bulkBytes: number, moreWaits: boolean): number | null;
  /** A ping was answered, and those before it. Returns how many more bytes of bulk that acknowledges; null: no such ping is unanswered. */
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

interface PacerState {
  readonly now: () => number;
  /** Bytes that may be unacknowledged, with the packets around them. */
  window: number;
  /** Bytes of bulk since the beginning, without and with the packets around them. */
  sentBytes: number;
  acknowledgedBytes: number;
  cost: number;
  acknowledgedCost: number;
  costSincePing: number;
  nextPing: number;
  lastHeartbeatAt: number;
  lastPingAt: number;
  /** In the order in which they were sent. */
  readonly unanswered: Ping[];
  /** The round trip of an idle link; null: not known yet. */
  baseRttMs: number | null;
  /** The window has grown since: what was sent before shows nothing about its present size. */
  grownAt: number;
  /** Bytes that were acknowledged in the last full MAX_QUEUE_DELAY_MS, and where the next one begins. */
  delivered: number;
  deliveryBegan: { readonly at: number; readonly acknowledgedBytes: number };
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
  const state: PacerState = {
    now,
    window: MIN_WINDOW,
    sentBytes: 0,
    acknowledgedBytes: 0,
    cost: 0,
    acknowledgedCost: 0,
    costSincePing: 0,
    nextPing: 1,
    lastHeartbeatAt: Number.NEGATIVE_INFINITY,
    lastPingAt: Number.NEGATIVE_INFINITY,
    unanswered: [],
    baseRttMs: null,
    grownAt: Number.NEGATIVE_INFINITY,
    delivered: 0,
    deliveryBegan: { at: now(), acknowledgedBytes: 0 },
  };
  return {
    available: () => Math.max(0, state.window - inFlight(state)),
    maxBurst: () => maxBurst(state),
    sent: (bulkBytes, moreWaits) => sent(state, bulkBytes, moreWaits),
    acknowledged: (ping) => acknowledged(state, ping),
    mayHeartbeat: (bulkWaits) => mayHeartbeat(state, bulkWaits),
    heartbeatSent: () => {
      state.lastHeartbeatAt = state.now();
    },
    bytesPerSecond: () => bytesPerSecond(state),
    acknowledgedBytes: () => state.acknowledgedBytes,
    sentBytes: () => state.sentBytes,
  };
}

const inFlight = ({ cost, acknowledgedCost }: PacerState): number => cost - acknowledgedCost;

const bytesPerSecond = ({ window, baseRttMs }: PacerState): number =>
  (window * 1_000) / ((baseRttMs ?? 0) + MAX_QUEUE_DELAY_MS);

const maxBurst = ({ window }: PacerState): number => Math.min(window / 2, MAX_BURST);

function sent(state: PacerState, bulkBytes: number, moreWaits: boolean): number | null {
  const added = bulkBytes === 0 ? 0 : bulkBytes + PACKET_BYTES;
  state.sentBytes += bulkBytes;
  state.cost += added;
  state.costSincePing += added;
  const isDue = state.unanswered.length === 0 && state.now() - state.lastPingAt >= PING_INTERVAL_MS;
  if (state.costSincePing < maxBurst(state) && !isDue) return null;
  state.costSincePing = 0;
  state.lastPingAt = state.now();
  const { cost, sentBytes, lastPingAt: at, nextPing: number } = state;
  state.unanswered.push({ number, at, cost, sentBytes, inFlight: inFlight(state), moreWaits });
  return state.nextPing++;
}

function acknowledged(state: PacerState, number: number): number | null {
  const { unanswered } = state;
  const at = unanswered.findIndex((ping) => ping.number === number);
  const ping = unanswered[at];
  if (ping === undefined) return null;
  unanswered.splice(0, at + 1);
  const more = ping.sentBytes - state.acknowledgedBytes;
  state.acknowledgedBytes = ping.sentBytes;
  state.acknowledgedCost = ping.cost;
  measureDelivery(state);
  adjustWindow(state, ping);
  return more;
}

function measureDelivery(state: PacerState): void {
  const { now, acknowledgedBytes, deliveryBegan } = state;
  const ms = now() - deliveryBegan.at;
  if (ms < MAX_QUEUE_DELAY_MS) return;
  state.delivered = ((acknowledgedBytes - deliveryBegan.acknowledgedBytes) * MAX_QUEUE_DELAY_MS) / ms;
  state.deliveryBegan = { at: now(), acknowledgedBytes };
}

function adjustWindow(state: PacerState, { at, inFlight: bytes, moreWaits }: Ping): void {
  const rtt = state.now() - at;
  const baseRttMs = smoothedBaseRtt(state.baseRttMs ?? rtt, rtt, bytes);
  state.baseRttMs = baseRttMs;
  if (bytes === 0) return;
  const queueDelay = rtt - baseRttMs;
  if (queueDelay > MAX_QUEUE_DELAY_MS) {
    state.window = Math.max(MIN_WINDOW, (bytes * (baseRttMs + MAX_QUEUE_DELAY_MS)) / rtt);
  } else if ((moreWaits || state.window < DELIVERIES_IN_WINDOW * state.delivered) && at >= state.grownAt) {
    const growth = 1 + (baseRttMs + MAX_QUEUE_DELAY_MS) / DOUBLING_MS;
    const factor = Math.min(growth, MAX_QUEUE_DELAY_MS / Math.max(1, queueDelay));
    state.window = Math.min(MAX_WINDOW, state.window * factor);
    state.grownAt = state.now();
  }
}

/** The round trip of an idle link, after a round trip of `rtt` ms behind `bytes` of bulk. */
function smoothedBaseRtt(baseRttMs: number, rtt: number, bytes: number): number {
  if (bytes === 0 || rtt < baseRttMs) return baseRttMs + (rtt - baseRttMs) / SMOOTHING;
  // So little bulk cannot have caused that.
  if (bytes <= MIN_WINDOW && rtt - baseRttMs > MAX_QUEUE_DELAY_MS)
    return baseRttMs + Math.max(0, Math.min(rtt, BUSY_MS) - baseRttMs) / SMOOTHING;
  return baseRttMs;
}

function mayHeartbeat(state: PacerState, bulkWaits: boolean): boolean {
  const { now, lastHeartbeatAt } = state;
  const [oldest] = state.unanswered;
  if (oldest !== undefined && now() - oldest.at > (state.baseRttMs ?? 0) + 2 * MAX_QUEUE_DELAY_MS) return false;
  // Bulk that arrives shows as well as they do who leads.
  return !bulkWaits || ((now() - lastHeartbeatAt) * bytesPerSecond(state)) / 1_000 >= HEARTBEAT_BYTES / HEARTBEAT_SHARE;
}
