// What is a client process to the world? Something that asks what the workload wants asked, until it ends. There are two kinds: the
// hand-written client (`sim-client.ts`), which does everything that the rules of sessions allow, and raftq's own (`real-client.ts`).
import type { Random } from "../../src/lib/random.ts";
import type { Command, Reply } from "../../src/queue/types.ts";
import type { Call, History, Operation } from "./history.ts";
import type { Marks } from "./marks.ts";
import type { Reads } from "./reads.ts";
import type { Caller } from "./sim-caller.ts";
import type { Trace } from "./trace.ts";

/** What outlives a process: the client id and what its processes know of each other's numbers. */
export interface Identity {
  readonly id: string;
  /** As it says of itself: nobody else uses the id, so a CLOSE ends all that is known of it. */
  readonly generated: boolean;
  readonly operations: Operation[];
  /** Every answered OPEN: what it said about the numbers before it. */
  readonly openings: { readonly session: number; readonly lastNumber: number }[];
  /** The highest answeredUpTo that ever left a process of this client. */
  acknowledgedUpTo: number;
  /** A process of it has asked to be forgotten: the id was generated, and its session was closed. */
  hasLeft: boolean;
}

export interface ClientPorts {
  readonly random: Random;
  readonly history: History;
  readonly trace: Trace;
  readonly marks: Marks;
  readonly reads: Reads;
  readonly caller: Caller;
  readonly addresses: () => readonly string[];
  readonly after: (ms: number, run: () => void) => void;
  readonly fail: (what: string) => void;
  /** Client ids of this world are soon forgotten: a new session need not know the numbers of an older one. */
  readonly sessionsExpire: boolean;
  /** Dormant sessions of this world soon forget the answers that were not acknowledged. */
  readonly answersForgotten: boolean;
  /** A definite answer arrived: whatever it stands for must be durable by now. */
  readonly onAnswer: (reply: Reply) => void;
}

export interface ClientProcess {
  readonly identity: Identity;
  /** Enters a new operation, if a session is open. */
  submit(call: Call, command: Command): void;
  /** Asks something that changes nothing; the answer is judged. */
  read(): void;
  /** Sends an answered number again: the answer must be the same. */
  repeatOld(): void;
  /** Operations that this process waits for. */
  pending(): number;
  /** The session is open, and every number that an earlier process left unclear is settled. */
  ready(): boolean;
  /** This process will never ask anything again. */
  over(): boolean;
  /** As a machine that is suspended: nothing is asked for so long, and its connections are gone. */
  sleep(ms: number): void;
  /** Ends the process; its unanswered operations are its successor's business. */
  kill(): void;
  close(): void;
}

export function createIdentity(id: string, generated = false): Identity {
  return { id, generated, operations: [], openings: [], acknowledgedUpTo: 0, hasLeft: false };
}
