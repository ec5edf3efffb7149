// What is a client process to the world? Something that asks what the workload wants asked, until it ends. There are two kinds: the
// hand-written client (`sim-client.ts`), which does everything that the rules of sessions allow, and raftq's own (`real-client.ts`).
import type { Random } from "../../src/lib/random.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { Command, Reply } from "../../src/queue/types.ts";
import type { LogIndex, NodeId, Term } from "../../src/raft/types.ts";
import type { ClientMachine } from "./client-machine.ts";
import type { Call, History, NumberSpace, Operation } from "./history.ts";
import type { Coverage } from "./coverage.ts";
import type { Reads } from "./reads.ts";
import type { RealWitness } from "./real-witness.ts";
import type { Caller } from "./sim-caller.ts";
import type { Trace } from "./trace.ts";

/** What outlives a process: the client id and what its processes know of each other's numbers. */
export interface Identity {
  readonly id: string;
  /** The id was generated for it: no other process uses it, so a CLOSE ends all that is known of it. */
  readonly generated: boolean;
  readonly operations: Operation[];
  /** Its processes have raftq's own client. */
  readonly isReal: boolean;
  /** They send the operations with numbers of their own, from the first one on (`--numbered`). */
  readonly file: NumberSpace | null;
  /** A real client refused to work while there are answers of an earlier process that were not acknowledged. */
  answersLeft: boolean;
  /** Every answered OPEN: what its answer held about the numbers before it. */
  readonly openings: { readonly session: number; readonly lastNumber: number }[];
  /** The highest acknowledgedThrough that ever left a process of this client. */
  acknowledgedUpTo: number;
  /** A process of it has asked to be forgotten: the id was generated, and its session was closed. */
  hasLeft: boolean;
}

export interface ClientPorts {
  readonly random: Random;
  readonly history: History;
  readonly trace: Trace;
  readonly coverage: Coverage;
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
  readonly real: RealClientPorts;
}

/** What a process with raftq's own client needs beside that. */
export interface RealClientPorts {
  readonly newMachine: () => ClientMachine;
  readonly witness: RealWitness;
  readonly limits: QueueLimits;
  /** The term of a committed entry. */
  readonly termAt: (index: LogIndex) => Term | null;
  /** This node leads, and in this term. */
  readonly leads: (node: NodeId, term: Term) => boolean;
  /** The term in which this node leads, if this client id has a live session there that is not due to end or to become dormant. */
  readonly keeps: (node: NodeId, client: string) => Term | null;
  readonly now: () => number;
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

export function createIdentity(
  id: string,
  {
    generated = false,
    isReal = false,
    hasFile = false,
  }: Partial<Record<"generated" | "isReal" | "hasFile", boolean>> = {},
): Identity {
  const operations: Operation[] = [];
  return {
    id,
    generated,
    operations,
    isReal,
    file: hasFile ? { client: id, batches: false, operations } : null,
    answersLeft: false,
    openings: [],
    acknowledgedUpTo: 0,
    hasLeft: false,
  };
}
