// What a node starts from: its hard state, its newest snapshot and the log that storage has recovered.
import { assert } from "../lib/assert.ts";
import { decodeConfiguration, memberSets } from "./configuration.ts";
import { fieldsOf, timeOf, type Entry } from "./entry.ts";
import { emptyLog, entryAt, termAt, type Log } from "./log.ts";
import { noEffects, type ConfigurationAt, type RaftSettings, type RaftState } from "./state.ts";
import { NO_CONFIGURATION, type SnapshotMeta } from "./types.ts";

export function recoverState(settings: RaftSettings): RaftState {
  const { hardState, snapshot, entries } = settings.recovered;
  const log = recoverLog(snapshot, entries);
  const last = entryAt(log, log.lastIndex);
  // A founder's first entry carries term 1 before any leader was elected.
  const currentTerm = Math.max(hardState.currentTerm, last?.term ?? snapshot?.term ?? 0);
  return {
    settings,
    self: settings.self,
    now: settings.now,
    wall: settings.wall,
    role: "learner",
    currentTerm,
    votedFor: currentTerm === hardState.currentTerm ? hardState.votedFor : null,
    leader: null,
    log,
    commitIndex: snapshot?.index ?? 0,
    snapshot,
    clusterTime: last === undefined ? (snapshot?.time ?? 0) : timeOf(last),
    diskLow: false,
    configuration: NO_CONFIGURATION,
    configurationIndex: 0,
    members: memberSets(NO_CONFIGURATION),
    configurations: recoverConfigurations(snapshot, log),
    refusedIndex: null,
    verifiedIndex: 0,
    leaderContacted: false,
    leaderContactAt: settings.now,
    leaderBytesReceived: false,
    leaderMessageAt: settings.now,
    electionWait: null,
    electionDeadline: Infinity,
    fastElectionUntil: 0,
    campaign: null,
    leadership: null,
    progress: new Map(),
    transfer: null,
    linksDown: new Set(),
    linkRates: new Map(),
    durable: hardState,
    inflight: null,
    noSpace: null,
    nextSeq: 1,
    snapshotsToPersist: [],
    waiting: [],
    pendingEffects: noEffects(),
    checked: { currentTerm: 0, votedFor: null, commitIndex: 0, lastIndex: 0, leading: false },
  };
}

/** A kept tail may begin below the snapshot; a log that ends below it is covered by it whole. */
function recoverLog(snapshot: SnapshotMeta | null, recovered: readonly Entry[]): Log {
  const base = snapshot ?? { index: 0, term: 0 };
  const log = emptyLog(base.index, base.term);
  const [first] = recovered;
  const last = recovered.at(-1);
  if (first === undefined || last === undefined || last.index < base.index) return log;
  assert(
    first.index <= base.index + 1,
    `the log starts at ${first.index}, behind snapshot ${base.index} without a gap`,
  );
  log.entries = [...recovered];
  log.firstIndex = first.index;
  if (first.index <= base.index) log.baseTerm = first.index === 1 ? 0 : null;
  log.lastIndex = last.index;
  log.submittedIndex = last.index;
  log.durableIndex = last.index;
  for (const [at, entry] of recovered.entries()) {
    assert(entry.index === first.index + at, `recovered entry ${entry.index} follows without a gap`);
  }
  assert(
    base.index === 0 || termAt(log, base.index) === base.term,
    `entry ${base.index} has the term that the snapshot names`,
  );
  return log;
}

function recoverConfigurations(snapshot: SnapshotMeta | null, log: Log): ConfigurationAt[] {
  const first: ConfigurationAt =
    snapshot === null
      ? { index: 0, configuration: NO_CONFIGURATION }
      : { index: snapshot.configurationIndex, configuration: snapshot.configuration };
  const found = log.entries
    .filter((entry) => entry.kind === "config" && entry.index > (snapshot?.index ?? 0))
    .map((entry) => ({ index: entry.index, configuration: decodeConfiguration(fieldsOf(entry).body) }));
  return [first, ...found];
}
