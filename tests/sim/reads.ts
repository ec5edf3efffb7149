// Do reads see everything that was acknowledged before they were sent? `status`, `peek` and `log` through the leader, compared with the
// committedLog.
import { fieldsOf } from "../../src/raft/entry.ts";
import type { LogIndex } from "../../src/raft/types.ts";
import type { LogPage, NodeStatus, Peeked, ServerMessage } from "../../src/wire/protocol.ts";
import type { Query } from "../../src/client/client.ts";
import type { Random } from "../../src/lib/random.ts";
import { equalBytes } from "./history.ts";
import type { CommittedLog } from "./committed-log.ts";
import type { Coverage } from "./coverage.ts";
import type { Caller } from "./sim-caller.ts";

export interface Reads {
  /** A client learned that this index is committed. */
  acknowledged(index: LogIndex): void;
  ask(): void;
  /** Through a client that finds the leader itself; `send` calls `answered`, or not. */
  askThrough(who: string, send: (question: Query, answered: (message: ServerMessage) => void) => void): void;
  readonly answered: number;
}

const FOLLOWED_REDIRECTS = 3;

export interface ReadPorts {
  readonly caller: Pick<Caller, "ask">;
  readonly random: Random;
  readonly committedLog: CommittedLog;
  readonly addresses: () => readonly string[];
  readonly timeoutMs: number;
  readonly coverage: Pick<Coverage, "hit">;
  readonly fail: (what: string) => void;
}

export function createReads({ caller, random, committedLog, addresses, timeoutMs, coverage, fail }: ReadPorts): Reads {
  let highest: LogIndex = 0;
  let answered = 0;

  function ask(address: string, redirects: number): void {
    const atLeast = highest;
    caller.ask(address, drawQuestion(atLeast), timeoutMs, (message) => {
      if (message === null) return;
      if (message.type === "failure") {
        const { leader } = message.failure;
        if (leader !== undefined && redirects > 0) ask(leader, redirects - 1);
        return;
      }
      received(`a read by ${address}`, message, atLeast);
    });
  }

  function received(what: string, message: ServerMessage, atLeast: LogIndex): void {
    answered++;
    const problem = judge(message, atLeast);
    if (problem !== null) fail(`${what}: ${problem}`);
  }

  function drawQuestion(atLeast: LogIndex): Query {
    const drawn = random.below(100);
    if (drawn < 30) return { type: "status", linearizable: true };
    if (drawn < 60) return { type: "peek" };
    return { type: "log", from: Math.max(1, atLeast - random.below(50)), to: 0, local: false };
  }

  function judge(message: ServerMessage, atLeast: LogIndex): string | null {
    if (message.type === "statusAnswer") return judgeStatus(message.status, atLeast);
    if (message.type === "peekAnswer") return judgePeek(message.peeked, atLeast);
    if (message.type === "logAnswer") return judgeLog(message.page, atLeast);
    return `it was answered by ${message.type}`;
  }

  function judgeStatus(status: NodeStatus, atLeast: LogIndex): string | null {
    if (status.appliedIndex < atLeast)
      return `STALE: it shows index ${status.appliedIndex} after index ${atLeast} was acknowledged`;
    const agreed = committedLog.at(status.appliedIndex);
    if (agreed !== undefined && agreed.ready !== status.ready) {
      return `it shows ${status.ready} waiting jobs at index ${status.appliedIndex}, where there are ${agreed.ready}`;
    }
    return null;
  }

  /** Some state between question and answer has exactly this head: that of an index not below what was acknowledged before. */
  function judgePeek({ job, ready, appliedIndex }: Peeked, atLeast: LogIndex): string | null {
    if (appliedIndex < atLeast)
      return `STALE: it peeks at index ${appliedIndex} after index ${atLeast} was acknowledged`;
    const agreed = committedLog.at(appliedIndex);
    if (agreed === undefined) return `it peeks at index ${appliedIndex}, which nobody has committed`;
    if (agreed.ready !== ready)
      return `it peeks at ${ready} waiting jobs at index ${appliedIndex}, where there are ${agreed.ready}`;
    const { head } = agreed;
    if (job?.id !== head?.id || job?.encoding !== head?.encoding)
      return `it peeks at job ${job?.id} at index ${appliedIndex}, where ${head?.id} is the oldest`;
    if (job !== null && head !== null && !equalBytes(job.payload, head.payload))
      return `it peeks at job ${job.id} and shows other bytes than went in`;
    coverage.hit(job === null ? "a peek found nothing" : "a peek showed a job");
    return null;
  }

  function judgeLog(page: LogPage, atLeast: LogIndex): string | null {
    if (page.commitIndex < atLeast)
      return `STALE: its log is committed to ${page.commitIndex} after index ${atLeast} was acknowledged`;
    for (const line of page.entries) {
      const agreed = committedLog.at(line.index);
      if (agreed === undefined || line.index > page.commitIndex) continue;
      if (agreed.entry.term !== line.term || !equalBytes(fieldsOf(agreed.entry).body, line.body)) {
        return `its log shows another entry at the committed index ${line.index}`;
      }
    }
    return null;
  }

  return {
    acknowledged: (index) => {
      highest = Math.max(highest, index);
    },
    ask: () => {
      const all = addresses();
      const address = all[random.below(all.length)];
      if (address !== undefined) ask(address, FOLLOWED_REDIRECTS);
    },
    askThrough: (who, send) => {
      const atLeast = highest;
      send(drawQuestion(atLeast), (message) => received(`a read through ${who}`, message, atLeast));
    },
    get answered() {
      return answered;
    },
  };
}
