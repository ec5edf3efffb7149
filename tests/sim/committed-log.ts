// What has the group agreed on? The first node that commits an index fixes its record for ever; a reference queue replays the
// records one by one, so that every answer is known.
import { apply, createQueue, peek } from "../../src/queue/queue.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Job, Reply } from "../../src/queue/types.ts";
import { type Entry, fieldsOf, type RecordFields } from "../../src/raft/entry.ts";
import type { LogIndex } from "../../src/raft/types.ts";
import { equalBytes } from "./history.ts";

export interface Milestone {
  readonly entry: Entry;
  readonly reply: Reply | null;
  /** Jobs that wait, after this index. */
  readonly ready: number;
  /** The oldest of them. */
  readonly head: Job | null;
}

export interface CommittedLog {
  readonly lastIndex: LogIndex;
  at(index: LogIndex): Milestone | undefined;
  /** The newest committed configuration. */
  readonly lastConfiguration: Entry | null;
  /** All of them, in order. */
  readonly configurations: readonly Entry[];
  /** The answer that this number of this session got when it was executed; null if no log holds it. */
  replyTo(session: number, number: number): Reply | null;
  /** A node reports `entry` as committed. Names the difference if another record was committed there before. */
  commit(who: string, entry: Entry): string | null;
  /** Calls `look` with every entry that is committed from now on. */
  watch(look: (fields: RecordFields, reply: Reply | null) => void): void;
}

export function createCommittedLog(): CommittedLog {
  const milestones: Milestone[] = [];
  const executedAt = new Map<string, LogIndex>();
  const configurations: Entry[] = [];
  const reference = createQueue();
  const watchers: ((fields: RecordFields, reply: Reply | null) => void)[] = [];
  return {
    get lastIndex() {
      return milestones.length;
    },
    get lastConfiguration() {
      return configurations.at(-1) ?? null;
    },
    configurations,
    replyTo: (session, number) => {
      const index = executedAt.get(`${session}#${number}`);
      return index === undefined ? null : (milestones[index - 1]?.reply ?? null);
    },
    at: (index) => milestones[index - 1],
    commit: (who, given) => {
      const known = milestones[given.index - 1];
      if (known !== undefined) {
        if (equalBytes(known.entry.record, given.record)) return null;
        return `${who} commits at index ${given.index} a ${given.kind} of term ${given.term}, where a ${known.entry.kind} of term ${known.entry.term} was committed before`;
      }
      if (given.index !== milestones.length + 1)
        return `${who} commits index ${given.index} while nobody has committed ${milestones.length + 1}`;
      const entry = { ...given, record: given.record.slice() };
      const fields = fieldsOf(entry);
      const { reply } = apply(reference, fields);
      const decoded = reply === null ? null : decodeReply(reply);
      const executed =
        entry.kind === "command" && decoded !== null && decoded.type !== "refused" && decoded.index === entry.index;
      if (executed) executedAt.set(`${fields.session}#${fields.number}`, entry.index);
      if (entry.kind === "config") configurations.push(entry);
      milestones.push({ entry, reply: decoded, ready: reference.ready, head: peek(reference) });
      for (const look of watchers) look(fields, decoded);
      return null;
    },
    watch: (look) => void watchers.push(look),
  };
}
