// Do the tests test? Real Raft bugs, planted one at a time into the product's source while it is loaded; the simulator must catch each.
import { join } from "node:path";

export interface Mutant {
  readonly name: string;
  /** What is broken, and who once shipped it. */
  readonly what: string;
  readonly file: string;
  /** Must occur exactly once in the file: when the code changes, this list must follow, loudly. */
  readonly find: string;
  readonly replace: string;
}

const ROOT = join(import.meta.dir, "..", "..");

/** The first four must always be caught; the others come from the list of bugs that real Raft implementations shipped. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "commit-old-term",
    what: "an entry of an earlier term is committed by counting (Raft section 5.4.2, LogCabin#44)",
    file: "src/raft/replication.ts",
    find: "termAt(log, index) !== state.currentTerm) return false;",
    replace: "false) return false;",
  },
  {
    name: "ack-before-sync",
    what: "a frame counts as durable when it is written, before the sync",
    file: "src/storage/log.ts",
    find: "    writeSynced(disk, target.file, offset, bytes, (error) => done(error, pointer));",
    replace: `    disk.write(target.file, offset, bytes, (error) => {
      disk.sync(target.file, () => {});
      done(error, pointer);
    });`,
  },
  {
    name: "ack-page-cache",
    what: "recovery takes the last frame for durable because it can be read",
    file: "src/storage/recovery.ts",
    find: "  return { frames: all.slice(0, lastWithContent), copied: last.frame.content, previous: last.frame.previous };",
    replace: "  return { frames: all, copied: null, previous: pointerTo(last) };",
  },
  {
    name: "snapshot-without-sessions",
    what: "a snapshot holds the jobs and forgets the sessions",
    file: "src/queue/snapshot.ts",
    find: "  const sessions = freezeSessions(queue.sessions);",
    replace: "  const sessions: readonly Session[] = [];",
  },
  {
    name: "forget-vote",
    what: "the vote is not remembered across a restart",
    file: "src/raft/recovery.ts",
    find: "    votedFor: currentTerm === hardState.currentTerm ? hardState.votedFor : null,",
    replace: "    votedFor: null,",
  },
  {
    name: "vote-before-durable",
    what: "votes, terms and acknowledgements leave before they are durable",
    file: "src/raft/outbox.ts",
    find: "  if (needIndex <= state.log.durableIndex && !hardStatePending(state)) state.gathered.send.push(out);",
    replace: "  if (needIndex <= state.log.lastIndex) state.gathered.send.push(out);",
  },
  {
    name: "count-undurable-leader",
    what: "the leader counts its own entries before its disk has them",
    file: "src/raft/replication.ts",
    find: "    if (id === state.self) return log.durableIndex;",
    replace: "    if (id === state.self) return log.lastIndex;",
  },
  {
    name: "ack-beyond-append",
    what: "a follower acknowledges its whole log, not what the message verified (CCF#6016)",
    file: "src/raft/following.ts",
    find: "  const verified = Math.max(state.commitIndex, message.prevLogIndex + message.entries.length);",
    replace: "  const verified = state.log.lastIndex;",
  },
  {
    name: "commit-unverified",
    what: "a follower commits up to leaderCommit whatever its own entries are",
    file: "src/raft/following.ts",
    find: "  const index = Math.min(leaderCommit, state.verifiedIndex);",
    replace: "  const index = Math.min(leaderCommit, state.log.lastIndex);",
  },
  {
    name: "vote-for-shorter-log",
    what: "a vote is given to a candidate whose log is behind",
    file: "src/raft/election.ts",
    find: "  return request.lastLogTerm > own || (request.lastLogTerm === own && request.lastLogIndex >= state.log.lastIndex);",
    replace: "  return request.lastLogTerm >= own;",
  },
  {
    name: "count-any-vote",
    what: "votes of another round or term count (akka-raft#47)",
    file: "src/raft/election.ts",
    find: "  if (round === null || round.preVote !== reply.preVote || round.term !== reply.requestedTerm) return;",
    replace: "  if (round === null) return;",
  },
  {
    name: "unconfirmed-reads",
    what: "reads are answered without a round of heartbeats (etcd#20418)",
    file: "src/raft/reads.ts",
    find: "    if (round === undefined || round.context > confirmed) return;",
    replace: "    if (round === undefined || confirmed < 0) return;",
  },
  {
    name: "joint-needs-new-half-only",
    what: "in a joint configuration the old voters are not asked",
    file: "src/raft/configuration.ts",
    find: "  return majoritySays(sets.voters, saysYes) && (sets.outgoing.length === 0 || majoritySays(sets.outgoing, saysYes));",
    replace: "  return majoritySays(sets.voters, saysYes);",
  },
  {
    name: "keep-tail-on-install",
    what: "a snapshot is taken for known because the log is long enough, whatever is in it (hashicorp/raft#697)",
    file: "src/raft/snapshot.ts",
    find: "  if (state.commitIndex < meta.index && termAt(state.log, meta.index) === meta.term) {",
    replace: "  if (state.commitIndex < meta.index && state.log.lastIndex >= meta.index) {",
  },
  {
    name: "no-directory-sync",
    what: "the name of a new segment is not synced",
    file: "src/storage/log.ts",
    find: "          (step) => disk.syncDirectory(LOG_DIRECTORY, step),",
    replace: "          (step) => step(null),",
  },
  {
    name: "execute-out-of-order",
    what: "a session executes a number although the one before it has not come",
    file: "src/queue/sessions.ts",
    find: '  if (number === lastNumber + 1) return { type: "next" };',
    replace: '  if (number > lastNumber) return { type: "next" };',
  },
  {
    name: "drop-unacknowledged-replies",
    what: "the answer to the last number only is kept for a retry",
    file: "src/queue/sessions.ts",
    find: "  session.lastNumber++;",
    replace: "  session.lastNumber++;\n  session.answers.length = 0;\n  session.answeredUpTo = session.lastNumber - 1;",
  },
];

export function findMutant(name: string): Mutant {
  const mutant = MUTANTS.find((known) => known.name === name);
  if (mutant === undefined)
    throw new Error(`no mutant is called ${name}; there are: ${MUTANTS.map((known) => known.name).join(", ")}`);
  return mutant;
}

export async function mutated(mutant: Mutant): Promise<string> {
  const source = await Bun.file(join(ROOT, mutant.file)).text();
  const pieces = source.split(mutant.find);
  if (pieces.length !== 2)
    throw new Error(`mutant ${mutant.name}: its snippet occurs ${pieces.length - 1} times in ${mutant.file}, not once`);
  return pieces.join(mutant.replace);
}

/** From now on the file is loaded with the bug in it; it must not have been loaded before. */
export async function plant(mutant: Mutant): Promise<void> {
  const contents = await mutated(mutant);
  const path = join(ROOT, mutant.file);
  Bun.plugin({
    name: `mutant ${mutant.name}`,
    setup: (build): void => {
      build.onLoad({ filter: /\/src\/.*\.ts$/ }, async (loaded) =>
        loaded.path === path
          ? { contents, loader: "ts" }
          : { contents: await Bun.file(loaded.path).text(), loader: "ts" },
      );
    },
  });
}
