// Limits the bulk in flight on a link between members, by delay-based congestion control as in LEDBAT (RFC 6817) and TCP Vegas:
// enough to keep the link busy, and so little that a heartbeat behind it is delayed by one or two heartbeat intervals at most, because
// what is in the system's buffers and on the link cannot be overtaken any more.
//
// A ping follows bulk, and the other side answers when it has received everything before it. A round trip that takes longer than on
// an idle link shows how long the queue is; the window (unacknowledged bytes) grows while that is short, and shrinks to what the link
// carries.
import { PACING } from "../config.ts";

const {
  maxQueueDelayMs,
  minWindowBytes,
  maxWindowBytes,
  maxBurstBytes,
  packetBytes,
  pingIntervalMs,
  doublingMs,
  deliveriesInWindow,
  busyMs,
  heartbeatBytes,
  heartbeatShare,
  smoothing,
} = PACING;

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
  /** Bytes that were acknowledged in the last full maxQueueDelayMs, and where the next one begins. */
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

export function createPacer(now: () => number): Pacer {
  const state: PacerState = {
    now,
    window: minWindowBytes,
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
  (window * 1_000) / ((baseRttMs ?? 0) + maxQueueDelayMs);

const maxBurst = ({ window }: PacerState): number => Math.min(window / 2, maxBurstBytes);

function sent(state: PacerState, bulkBytes: number, moreWaits: boolean): number | null {
  const added = bulkBytes === 0 ? 0 : bulkBytes + packetBytes;
  state.sentBytes += bulkBytes;
  state.cost += added;
  state.costSincePing += added;
  const isDue = state.unanswered.length === 0 && state.now() - state.lastPingAt >= pingIntervalMs;
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
  if (ms < maxQueueDelayMs) return;
  state.delivered = ((acknowledgedBytes - deliveryBegan.acknowledgedBytes) * maxQueueDelayMs) / ms;
  state.deliveryBegan = { at: now(), acknowledgedBytes };
}

function adjustWindow(state: PacerState, { at, inFlight: bytes, moreWaits }: Ping): void {
  const rtt = state.now() - at;
  const baseRttMs = smoothedBaseRtt(state.baseRttMs ?? rtt, rtt, bytes);
  state.baseRttMs = baseRttMs;
  if (bytes === 0) return;
  const queueDelay = rtt - baseRttMs;
  if (queueDelay > maxQueueDelayMs) {
    state.window = Math.max(minWindowBytes, (bytes * (baseRttMs + maxQueueDelayMs)) / rtt);
  } else if ((moreWaits || state.window < deliveriesInWindow * state.delivered) && at >= state.grownAt) {
    const growth = 1 + (baseRttMs + maxQueueDelayMs) / doublingMs;
    const factor = Math.min(growth, maxQueueDelayMs / Math.max(1, queueDelay));
    state.window = Math.min(maxWindowBytes, state.window * factor);
    state.grownAt = state.now();
  }
}

/** The round trip of an idle link, after a round trip of `rtt` ms behind `bytes` of bulk. */
function smoothedBaseRtt(baseRttMs: number, rtt: number, bytes: number): number {
  if (bytes === 0 || rtt < baseRttMs) return baseRttMs + (rtt - baseRttMs) / smoothing;
  // So little bulk cannot have caused that.
  if (bytes <= minWindowBytes && rtt - baseRttMs > maxQueueDelayMs)
    return baseRttMs + Math.max(0, Math.min(rtt, busyMs) - baseRttMs) / smoothing;
  return baseRttMs;
}

function mayHeartbeat(state: PacerState, bulkWaits: boolean): boolean {
  const { now, lastHeartbeatAt } = state;
  const [oldest] = state.unanswered;
  if (oldest !== undefined && now() - oldest.at > (state.baseRttMs ?? 0) + 2 * maxQueueDelayMs) return false;
  // Bulk that arrives shows as well as they do who leads.
  return !bulkWaits || ((now() - lastHeartbeatAt) * bytesPerSecond(state)) / 1_000 >= heartbeatBytes / heartbeatShare;
}
