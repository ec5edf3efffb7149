// What a client reports when no leader was found: that no node listens, or which members are missing and what each of them needs.
import { type Failure, failure } from "../lib/errors.ts";
import type { MemberStatus, NodeStatus } from "../wire/protocol.ts";
import type { ProbeResult, RoundResult } from "./leader-search.ts";

type Probes = RoundResult["probes"];

export function noLeader({ probes, reached, fatal }: RoundResult): Failure {
  if (!reached) {
    if (fatal !== null) return fatal;
    const tried = [...probes].map(([address, { type, ...one }]) => `${address} (${"why" in one ? one.why : type})`);
    return failure("UNREACHABLE", `cannot reach ${tried.join(", ")}`, { applied: "no" });
  }
  const view = widestView(probes);
  return failure("NO_LEADER", `No Leader: ${view === null ? nobodyServes(probes) : missingMembers(view, probes)}`);
}

/** Is it certain that no node is there? A node that accepts connections or is silent may still answer. */
export function isNobodyThere({ probes, reached }: RoundResult): boolean {
  return !reached && [...probes.values()].every(({ type }) => type === "down" || type === "failed");
}

const votersIn = ({ members }: NodeStatus): readonly MemberStatus[] => members.filter(({ role }) => role === "voter");
const reachableIn = (status: NodeStatus): number => votersIn(status).filter(({ reachable }) => reachable).length;

/** The status of the serving node that reaches the most voters; of several, of the one with the longest log. */
function widestView(probes: Probes): NodeStatus | null {
  const views = [...probes.values()].flatMap((one) => (one.type === "serving" ? [one.status] : []));
  const [widest] = views.sort((a, b) => reachableIn(b) - reachableIn(a) || b.commitIndex - a.commitIndex);
  return widest ?? null;
}

/** No node that sent a hello is a serving member. */
function nobodyServes(probes: Probes): string {
  for (const one of probes.values()) if (one.type === "rejoining") return one.why;
  for (const [address, one] of probes) if (one.type === "starting") return `${address} is starting (${one.why}): wait`;
  const greeted = [...probes.values()].flatMap((one) => (one.type === "greeted" ? [one.hello.node.id] : []));
  if (greeted.length > 0) return `${greeted.join(", ")} answered, but know no leader that can be reached`;
  return [...probes].map(([address, { type, ...one }]) => `${address}: ${"why" in one ? one.why : type}`).join("; ");
}

/** `1 of 2 members reachable, 2 needed. Start n3001, or …` */
function missingMembers(view: NodeStatus, probes: Probes): string {
  const voters = votersIn(view);
  const reachable = reachableIn(view);
  const needed = Math.floor(voters.length / 2) + 1;
  const count = `${reachable} of ${voters.length} members reachable, ${needed} needed.`;
  if (reachable >= needed) return `${count} ${whyNotServed(view, probes)}`;
  const missing = voters.filter((voter) => !voter.reachable);
  const advice = ADVICE.map(({ applies, text }) => {
    const members = missing.filter(({ address }) => applies(probes.get(address)));
    return members.length === 0 ? "" : ` ${text(members, needed - reachable, view)}`;
  });
  const others = missing.flatMap(({ id, address }) => {
    const one = probes.get(address);
    return one?.type === "failed" ? [` ${id} (${address}): ${one.why}.`] : [];
  });
  return `${count}${advice.join("")}${others.join("")}`;
}

/** A majority answers: it elects a leader, or has one that only this client cannot reach. */
function whyNotServed({ leader, leaderAddress }: NodeStatus, probes: Probes): string {
  const one = leaderAddress === null ? undefined : probes.get(leaderAddress);
  if (one?.type === "down" || one?.type === "silent" || one?.type === "failed")
    return `${leader} (${leaderAddress}) leads, but cannot be reached from here: ${one.why}.`;
  return "An election is under way: wait a moment, then try again.";
}

interface Advice {
  readonly applies: (probe: ProbeResult | undefined) => boolean;
  /** `lacking`: so many more are needed. */
  readonly text: (members: readonly MemberStatus[], lacking: number, view: NodeStatus) => string;
}

const named = ({ id, address }: MemberStatus): string => `${id} (${address})`;
const all = (members: readonly MemberStatus[]): string => members.map(named).join(" and ");
const verb = (members: readonly MemberStatus[], one: string, many: string): string =>
  members.length === 1 ? one : many;

/** What a member that is missing needs, by what this client found at its address. */
const ADVICE: readonly Advice[] = [
  {
    applies: (probe) => probe?.type === "rejoining",
    text: (members) => `${all(members)} lost the data and cannot come back without a majority.`,
  },
  {
    applies: (probe) => probe?.type === "silent",
    text: (members) =>
      `${all(members)} ${verb(members, "does not answer: it is", "do not answer: they are")} paused or cut off.`,
  },
  {
    applies: (probe) => probe?.type === "starting",
    text: (members) => `${all(members)} ${verb(members, "is", "are")} starting: wait.`,
  },
  {
    applies: (probe) => probe?.type === "serving" || probe?.type === "greeted",
    text: (members, _, { node }) =>
      `${all(members)} ${verb(members, "answers", "answer")} here, but not ${node.id}: they are cut off from each other, or about to connect.`,
  },
  {
    applies: (probe) => probe === undefined || probe.type === "down",
    text: (members, lacking) => {
      if (members.length <= lacking) return `Start ${all(members)}.`;
      return `Start ${lacking === 1 ? "" : `${lacking} of `}${members.map(named).join(", or ")}.`;
    },
  },
];
