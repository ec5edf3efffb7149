// Decides which messages a node accepts from whom: all from a member, none from a removed node, and from any other node what the paper needs
// (dissertation sections 4.1 and 4.2: a leader's entries, and votes where there is no live leader). A message that no correct node sends is refused.
import { namesMember, namesNode } from "./configuration.ts";
import type { RaftMessage } from "./messages.ts";
import type { RaftState } from "./state.ts";
import { nodeIdOf, type MemberId, type NodeId } from "./types.ts";

/**
 * No election raises a term by more than one, and no node misses 2^32 elections: a higher term is an error or an attack, and
 * would bring the node near the end of all terms.
 */
export const MAX_TERM_STEP = 2 ** 32;

/** Likewise for entries: four months away from a cluster that writes 100,000 a second. */
export const MAX_INDEX_STEP = 2 ** 40;

type Known = Readonly<Pick<RaftState, "configuration" | "configurationIndex" | "configurations" | "commitIndex">>;

/** In the latest configuration known here. */
export function isMember({ configuration }: Known, id: MemberId): boolean {
  return namesMember(configuration, id);
}

/** A leader that removes itself hands over in the moment in which that commits, so before its followers can know that it has. */
export function mayHandOver(known: Known, leader: MemberId): boolean {
  if (isMember(known, leader)) return true;
  const before = known.configurations.at(-2);
  return (
    before !== undefined && known.configurationIndex > known.commitIndex && namesMember(before.configuration, leader)
  );
}

/** Its removal has committed, and no later configuration known here names it again. */
export function isRemoved({ configurations, commitIndex }: Known, id: NodeId): boolean {
  const at = configurations.findLastIndex(({ index }) => index <= commitIndex);
  const committed = configurations[at]?.configuration;
  if (committed === undefined || !committed.removed.some((removed) => removed.id === id)) return false;
  return !configurations.slice(at).some(({ configuration }) => namesNode(configuration, id));
}

type Receiver = Known &
  Readonly<Pick<RaftState, "currentTerm" | "role" | "leadership">> & { readonly lastIndex: number };

/** Why no correct node sends this message to this one; null: it may. Such a message ends its connection. */
export function problemWith(receiver: Receiver, from: MemberId, message: RaftMessage): string | null {
  const { currentTerm, configuration } = receiver;
  // A node that is in no cluster yet may come into one of any term and length.
  if (message.term > currentTerm + MAX_TERM_STEP && configuration.voters.length > 0)
    return `${nodeIdOf(from)} speaks of term ${message.term}, and this node is in term ${currentTerm}`;
  switch (message.type) {
    case "RequestVote":
      if (message.lastLogTerm < message.term) return tooFarAhead(receiver, from, message.lastLogIndex);
      return `${nodeIdOf(from)} asks for votes in term ${message.term} with an entry of term ${message.lastLogTerm}`;
    case "InstallSnapshot":
      return tooFarAhead(receiver, from, message.meta.index);
    case "AppendEntriesReply":
      return problemWithIndex(receiver, from, message.term, Math.max(message.matchIndex, message.rejectedIndex));
    case "InstallSnapshotReply":
      return problemWithIndex(receiver, from, message.term, message.matchIndex);
    case "HeartbeatReply": {
      const asked = receiver.leadership?.readContext ?? Infinity;
      if (message.term !== currentTerm || message.readContext <= asked) return null;
      return `${nodeIdOf(from)} confirms the read ${message.readContext}, and the last one is ${asked}`;
    }
    case "AppendEntries":
    case "RequestVoteReply":
    case "Heartbeat":
    case "TimeoutNow":
    case "StaleDisk":
    case "Probe":
    case "ProbeReply":
      return null;
  }
}

function tooFarAhead(receiver: Receiver, from: MemberId, index: number): string | null {
  if (index <= receiver.lastIndex + MAX_INDEX_STEP || receiver.configuration.voters.length === 0) return null;
  return `${nodeIdOf(from)} speaks of entry ${index}, and this node's last one is ${receiver.lastIndex}`;
}

/** What a leader's followers answer in its term is about its own log, which only grows. */
function problemWithIndex(receiver: Receiver, from: MemberId, term: number, index: number): string | null {
  if (receiver.role !== "leader" || term !== receiver.currentTerm || index <= receiver.lastIndex) return null;
  return `${nodeIdOf(from)} answers about entry ${index}, and the last one is ${receiver.lastIndex}`;
}
