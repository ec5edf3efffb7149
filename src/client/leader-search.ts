// Finds the leader: dials the known addresses one after the other, follows redirects, learns members from each hello, and begins again
// after a pause that grows. A silent address delays the others only for a moment.
import { WIRE } from "../config.ts";
import type { Failure } from "../lib/errors.ts";
import type { HelloAnswer, NodeStatus } from "../wire/protocol.ts";
import { connectNode, fatalFor, type NodeConnection, type NoAnswer, SILENT } from "../wire/node-connection.ts";
import type { ClientLimits, ClientPorts } from "./types.ts";

/** What a client found at an address. */
export type ProbeResult =
  | { readonly type: "serving"; readonly status: NodeStatus }
  /** Its hello came, and nothing more yet. */
  | { readonly type: "greeted"; readonly hello: HelloAnswer }
  /** It has lost its data, and asks the others to be let in again. */
  | { readonly type: "rejoining"; readonly why: string }
  | { readonly type: NoAnswer; readonly why: string };

/** What one round over all known addresses found: no leader that is reachable. */
export interface RoundResult {
  /** By address. */
  readonly probes: ReadonlyMap<string, ProbeResult>;
  /** A node sent its hello. */
  readonly reached: boolean;
  /** Another cluster, another version: waiting will not help. */
  readonly fatal: Failure | null;
}

export interface LeaderSearchSettings extends Pick<
  ClientLimits,
  "dialTimeoutMs" | "staggerMs" | "maxRedirects" | "retryMinMs" | "retryMaxMs" | "retryFactor"
> {
  readonly follow: boolean;
}

export interface LeaderSearchEvents {
  /** `redirectedBy`: the node that named this one as the leader. */
  readonly onFound: (link: NodeConnection, redirectedBy: HelloAnswer | null) => void;
  /** The next round begins after a pause. */
  readonly onRoundOver: (result: RoundResult) => void;
}

export interface LeaderSearch {
  readonly ports: ClientPorts;
  readonly settings: LeaderSearchSettings;
  readonly on: LeaderSearchEvents;
  /** All addresses given or learned. */
  readonly addresses: Set<string>;
  /** Searches and rounds since a leader that was found answered: the pause before the next one grows with them. */
  attempts: number;
  phase: SearchPhase;
}

type SearchPhase =
  | { readonly type: "stopped" }
  | { readonly type: "pausing"; readonly cancel: () => void }
  | { readonly type: "searching"; readonly round: Round };

export function createLeaderSearch(
  ports: ClientPorts,
  addresses: readonly string[],
  settings: LeaderSearchSettings,
  on: LeaderSearchEvents,
): LeaderSearch {
  return { ports, settings, on, addresses: new Set(addresses), attempts: 0, phase: { type: "stopped" } };
}

/** Begins a search; the first one at once, later ones after a pause until `searchSucceeded` is called. */
export function startSearch(search: LeaderSearch, preferred: string | null, avoided: string | null): void {
  stopSearch(search);
  if (search.attempts === 0) beginRound(search, preferred, avoided);
  else pauseSearch(search, preferred, avoided);
  search.attempts++;
}

/** The leader that was found answers: the next search may begin at once. */
export function searchSucceeded(search: LeaderSearch): void {
  search.attempts = 0;
}

export function stopSearch(search: LeaderSearch): void {
  const { phase } = search;
  search.phase = { type: "stopped" };
  if (phase.type === "pausing") phase.cancel();
  if (phase.type === "searching") endRound(phase.round);
}

/** What the round that is under way has found so far; null: none is. */
export function partialResult({ phase }: LeaderSearch): RoundResult | null {
  if (phase.type !== "searching") return null;
  const { probes, tried, reached, fatal } = phase.round;
  const all = new Map(probes);
  for (const address of tried) if (!all.has(address)) all.set(address, { type: "silent", why: "no answer" });
  return { probes: all, reached, fatal };
}

function pauseSearch(search: LeaderSearch, preferred: string | null, avoided: string | null): void {
  const { clock, random } = search.ports;
  const { retryMinMs, retryMaxMs, retryFactor } = search.settings;
  const upTo = Math.min(retryMaxMs, retryMinMs * retryFactor ** (search.attempts - 1));
  const pauseMs = random.between(Math.ceil(upTo / 2), Math.ceil(upTo));
  search.phase = { type: "pausing", cancel: clock.after(pauseMs, () => beginRound(search, preferred, avoided)) };
}

// ---- One round: first all addresses are dialed; then those that sent a hello are asked for their status, all at once

interface Round {
  readonly search: LeaderSearch;
  /** In the order in which they are dialed; one that was tried meanwhile is left out. */
  readonly addresses: string[];
  readonly tried: Set<string>;
  /** Attempts under way, and how to cancel each. */
  readonly pending: Map<string, () => void>;
  /** Nodes that sent a hello, to be asked when all were dialed. */
  readonly greeted: Map<string, NodeConnection>;
  readonly probes: Map<string, ProbeResult>;
  reached: boolean;
  fatal: Failure | null;
  /** Redirects that were followed. */
  redirects: number;
  isOver: boolean;
}

function beginRound(search: LeaderSearch, preferred: string | null, avoided: string | null): void {
  const { addresses: known } = search;
  const addresses = [...known].filter((address) => address !== preferred && address !== avoided);
  if (preferred !== null) addresses.unshift(preferred);
  if (avoided !== null && known.has(avoided) && avoided !== preferred) addresses.push(avoided);
  const round: Round = {
    search,
    addresses,
    tried: new Set(),
    pending: new Map(),
    greeted: new Map(),
    probes: new Map(),
    reached: false,
    fatal: null,
    redirects: 0,
    isOver: false,
  };
  search.phase = { type: "searching", round };
  // Not inside the caller's call. No timer: redirected clients wait for this.
  search.ports.clock.soon(() => dialNext(round));
}

function dialNext(round: Round): void {
  if (round.isOver) return;
  const next = round.addresses.find((address) => !round.tried.has(address));
  if (next !== undefined) return dial(round, next, null);
  if (round.pending.size > 0) return;
  if (round.greeted.size > 0) return askAll(round);
  finishRound(round);
}

function dial(round: Round, address: string, redirectedBy: HelloAnswer | null): void {
  const { ports, settings } = round.search;
  round.tried.add(address);
  const cancelStagger = ports.clock.after(settings.staggerMs, () => dialNext(round));
  const { dialTimeoutMs } = settings;
  const target = { address, role: ports.role ?? "client", clusterId: null, dialTimeoutMs, timeoutMs: dialTimeoutMs };
  const cancelDial = connectNode({ ...ports, limits: WIRE }, target, (result) => {
    cancelStagger();
    round.pending.delete(address);
    if (round.isOver) return;
    if (result.ok) return onHello(round, address, result.link, redirectedBy);
    round.probes.set(address, { type: result.state, why: result.why.message });
    round.fatal = fatalFor(result.why, address) ?? round.fatal;
    dialNext(round);
  });
  round.pending.set(address, () => {
    cancelStagger();
    cancelDial();
  });
}

function onHello(round: Round, address: string, link: NodeConnection, redirectedBy: HelloAnswer | null): void {
  const { search, tried, probes, greeted } = round;
  const { hello } = link;
  round.reached = true;
  for (const member of hello.members) search.addresses.add(member);
  round.addresses.push(...hello.members);
  if (!search.settings.follow || hello.leader === hello.node.address) {
    endRound(round);
    search.phase = { type: "stopped" };
    return search.on.onFound(link, redirectedBy);
  }
  probes.set(address, { type: "greeted", hello });
  greeted.set(address, link);
  link.onClosed = (why) => {
    greeted.delete(address);
    probes.set(address, { type: "failed", why: why.message });
  };
  if (hello.leader !== null && !tried.has(hello.leader) && round.redirects < search.settings.maxRedirects) {
    round.redirects++;
    return dial(round, hello.leader, hello);
  }
  dialNext(round);
}

/** They know no leader that is reachable, but their status shows which members are missing. */
function askAll(round: Round): void {
  const links = [...round.greeted];
  round.greeted.clear();
  for (const [address, link] of links) askStatus(round, address, link);
}

function askStatus(round: Round, address: string, link: NodeConnection): void {
  const { search, pending, probes } = round;
  const finish = (result: ProbeResult): void => {
    cancel();
    if (!pending.delete(address)) return;
    probes.set(address, result);
    link.close();
    dialNext(round);
  };
  const silent = (): void => finish({ type: "silent", why: SILENT });
  const cancel = search.ports.clock.after(search.settings.dialTimeoutMs, silent);
  pending.set(address, () => {
    cancel();
    link.close();
  });
  link.onClosed = (why) => finish({ type: "failed", why: why.message });
  link.onMessage = (message) => {
    if (message.type === "statusAnswer") return finish({ type: "serving", status: message.status });
    if (message.type !== "failure") return finish({ type: "failed", why: `it answered with "${message.type}"` });
    finish(resultOf(message.failure));
  };
  link.send({ type: "status", frameId: 1, linearizable: false });
  link.flush();
}

function resultOf({ code, message }: Failure): ProbeResult {
  if (code === "REJOINING") return { type: "rejoining", why: message };
  return { type: code === "STARTING" ? "starting" : "failed", why: message };
}

/** No leader was found: the next round comes after a pause. */
function finishRound(round: Round): void {
  const { search, probes, reached, fatal } = round;
  endRound(round);
  search.attempts++;
  pauseSearch(search, null, null);
  search.on.onRoundOver({ probes, reached, fatal });
}

function endRound(round: Round): void {
  round.isOver = true;
  for (const cancel of round.pending.values()) cancel();
  round.pending.clear();
  for (const link of round.greeted.values()) link.close();
  round.greeted.clear();
}
