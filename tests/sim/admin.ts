// Who changes the group? One operator who asks for removals and transfers, follows redirects, and tries for a while.
import type { NodeId } from "../../src/raft/types.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Coverage } from "./coverage.ts";
import type { Caller, Question } from "./sim-caller.ts";
import type { Trace } from "./trace.ts";

export interface Admin {
  /** Asks `asked` first, if that is known. */
  transfer(to: NodeId | null, asked?: string): void;
  /** `done` is called when the change is in force for sure. */
  remove(ids: readonly NodeId[], done: (ids: readonly NodeId[]) => void): void;
  /** A removal was asked for and may begin at any moment: no disk may be lost that it would count on. */
  removing(): boolean;
  /** Asks nothing any more. */
  cease(): void;
}

const ATTEMPTS = 20;
const TIMEOUT_MS = 2_000;
const PAUSE_MS = 100;

export interface AdminPorts {
  readonly caller: Caller;
  readonly random: Random;
  readonly trace: Trace;
  readonly coverage: Coverage;
  readonly addresses: () => readonly string[];
  readonly after: (ms: number, run: () => void) => void;
}

export function createAdmin({ caller, random, trace, coverage, addresses, after }: AdminPorts): Admin {
  let removing = false;
  let ceased = false;

  function ask(question: Question, address: string, attempts: number, ended: (ok: boolean) => void): void {
    let movedOn = false;
    caller.ask(address, question, TIMEOUT_MS, (message) => {
      if (movedOn) return;
      movedOn = true;
      if (message?.type === "done") {
        trace.event("admin", `${question.type} done at ${message.index}`);
        return ended(true);
      }
      if (message?.type === "failure") coverage.refused(message.failure.code);
      if (attempts <= 1 || ceased) return ended(false);
      const leader = message?.type === "failure" ? message.failure.leader : undefined;
      if (message?.type === "failure")
        trace.event("admin", `${question.type}: ${message.failure.code} ${message.failure.message}`);
      after(PAUSE_MS, () => ask(question, leader ?? anyAddress(), attempts - 1, ended));
    });
  }

  function anyAddress(): string {
    const all = addresses();
    return all[random.below(all.length)]!;
  }

  return {
    transfer: (to, asked) => {
      trace.event("admin", `asks for a transfer to ${to ?? "anybody"}`);
      ask({ type: "transfer", to }, asked ?? anyAddress(), 3, () => {});
    },
    remove: (ids, done) => {
      if (removing) return;
      removing = true;
      trace.event("admin", `asks to remove ${ids.join(" ")}`);
      ask({ type: "remove", ids }, anyAddress(), ATTEMPTS, (ok) => {
        removing = false;
        if (ok) done(ids);
      });
    },
    removing: () => removing,
    cease: () => {
      ceased = true;
    },
  };
}
