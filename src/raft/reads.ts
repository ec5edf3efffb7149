// Linearizable reads without a log entry: ReadIndex (dissertation section 6.4). One heartbeat round confirms all reads of a turn.
import { quorumValue } from "./configuration.ts";
import type { Token } from "./effects.ts";
import { sendHeartbeats } from "./replication.ts";
import type { RaftState } from "./state.ts";

export function onRead(state: RaftState, token: Token): void {
  if (state.leadership !== null) {
    state.leadership.readsAsked.push(token);
    return;
  }
  const message = "this node does not lead, so it cannot promise the newest state";
  state.pendingEffects.read.push({ token, ok: false, refused: { code: "NOT_LEADER", message } });
}

/** Once per turn. Before the term's first entry has committed the commit index may lag what an earlier leader answered. */
export function serveReads(state: RaftState): void {
  const { leadership, progress, commitIndex } = state;
  if (leadership === null) return;
  if (leadership.readsAsked.length > 0 && commitIndex >= leadership.noopIndex) {
    // A new context each time: answers to earlier heartbeats never confirm later reads.
    leadership.readContext++;
    leadership.readRounds.push({
      context: leadership.readContext,
      index: commitIndex,
      tokens: leadership.readsAsked,
    });
    leadership.readsAsked = [];
    sendHeartbeats(state);
  }
  if (leadership.readRounds.length === 0) return;
  const confirmed = quorumValue(state.members, (id) => {
    if (id === state.self) return leadership.readContext;
    const follower = progress.get(id);
    return follower === undefined || follower.stale ? 0 : follower.readContext;
  });
  for (;;) {
    const round = leadership.readRounds[0];
    if (round === undefined || round.context > confirmed) return;
    leadership.readRounds.shift();
    for (const token of round.tokens) state.pendingEffects.read.push({ token, ok: true, index: round.index });
  }
}
