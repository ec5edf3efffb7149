// Leadership transfer (dissertation section 3.10): the leader stops taking proposals, brings the transferee up to date, and sends TimeoutNow.
import type { Refusal } from "../lib/errors.ts";
import { formatDuration } from "../lib/durations.ts";
import { nameOf } from "./append.ts";
import type { Token } from "./effects.ts";
import { OWN_LINK, send } from "./outbox.ts";
import type { Progress } from "./progress.ts";
import type { RaftState, Transfer } from "./state.ts";
import { nodeIdOf, type MemberId, type NodeId } from "./types.ts";

export function onTransfer(state: RaftState, token: Token, to: NodeId | null): void {
  const { pendingEffects } = state;
  const refuse = (code: Refusal["code"], message: string): void => {
    pendingEffects.changed.push({ token, ok: false, refused: { code, message } });
  };
  if (state.leadership === null) {
    refuse("NOT_LEADER", "only the leader can hand over leadership");
  } else if (to === nodeIdOf(state.self)) {
    pendingEffects.changed.push({ token, ok: true, index: state.commitIndex });
  } else if (state.transfer !== null) {
    refuse("CHANGE_IN_PROGRESS", `leadership is already being handed to ${nameOf(state.transfer.to)}`);
  } else {
    const target = to === null ? bestFollower(state) : voterOf(state, to);
    if (target === null) {
      refuse(
        "UNKNOWN_NODE",
        to === null ? "there is no other voter that answers" : `${to} is not a voter of this cluster`,
      );
    } else {
      beginTransfer(state, token, target);
    }
  }
}

/** `token` null: the leader's own decision, no request waits for the answer. */
export function beginTransfer(state: RaftState, token: Token | null, to: MemberId): void {
  const deadline = state.now + state.settings.electionMaxMs;
  state.transfer = { token, to, term: state.currentTerm, deadline, sent: false };
}

/** The voter with the most of the log among those that answered lately. */
export function bestFollower(state: RaftState, fits: (progress: Progress) => boolean = () => true): MemberId | null {
  let best: Progress | null = null;
  for (const id of state.members.voters) {
    const progress = state.progress.get(id);
    if (progress === undefined || progress.stale || state.linksDown.has(id) || !fits(progress)) continue;
    if (state.now - progress.lastContact > state.settings.electionMaxMs) continue;
    if (best === null || progress.matchIndex > best.matchIndex) best = progress;
  }
  return best?.id ?? null;
}

function voterOf(state: RaftState, id: NodeId): MemberId | null {
  return state.members.voters.find((voter) => nodeIdOf(voter) === id) ?? null;
}

/** Once per turn, on leaders and on those that just were. */
export function driveTransfer(state: RaftState): void {
  const { transfer } = state;
  if (transfer === null) return;
  const leads = state.role === "leader" && state.currentTerm === transfer.term;
  if (leads && !transfer.sent && state.progress.get(transfer.to)?.matchIndex === state.log.lastIndex) {
    transfer.sent = true;
    send(state, transfer.to, OWN_LINK, { type: "TimeoutNow", term: state.currentTerm });
  }
  if (!leads && state.leader !== null) settle(state, transfer, state.leader);
  else if (state.now >= transfer.deadline) settle(state, transfer, null);
}

function settle(state: RaftState, transfer: Transfer, leader: MemberId | null): void {
  const { token, to } = transfer;
  const { changed } = state.pendingEffects;
  state.transfer = null;
  if (token === null) return;
  if (leader === to) {
    changed.push({ token, ok: true, index: state.commitIndex });
  } else if (leader === null) {
    const message = `${nameOf(to)} did not take over within ${formatDuration(state.settings.electionMaxMs)}`;
    changed.push({ token, ok: false, refused: { code: "TIMEOUT", message } });
  } else {
    const message = `${nameOf(leader)} became leader instead of ${nameOf(to)}`;
    changed.push({ token, ok: false, refused: { code: "LEADER_CHANGED", message } });
  }
}
