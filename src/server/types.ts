// What a running node needs and gives: ports to the world (real or simulated), settings, a handle.
import type { Clock } from "../lib/clock.ts";
import type { RaftqError } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import type { Raft } from "../raft/raft.ts";
import type { ClusterId, NodeId } from "../raft/types.ts";
import type { Queue } from "../queue/queue.ts";
import type { QueueLimits } from "../queue/limits.ts";
import type { Disk } from "../storage/disk.ts";
import type { Network } from "../wire/network.ts";
import type { NodeStatus } from "../wire/protocol.ts";
import type { MaxConnections } from "./connection-limits.ts";

export interface Ports {
  readonly disk: Disk;
  readonly network: Network;
  readonly clock: Clock;
  /** Seeded from the system in production, from the seed in the simulator. */
  readonly random: Random;
  readonly log: (line: LogEvent) => void;
  /** Memory of this process, for status. */
  readonly residentBytes: () => number;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** One line of the node's own log. `text` is for people; `fields` for machines. */
export interface LogEvent {
  readonly level: LogLevel;
  readonly event: string;
  readonly text: string;
  readonly fields?: Readonly<Record<string, string | number | boolean | null>>;
}

/** The applied state; another queue when a snapshot is installed. */
export interface StateMachine {
  queue: Queue;
}

export interface NodeSettings {
  readonly id: NodeId;
  readonly host: string;
  readonly port: number;
  /** The address that other nodes and clients dial. */
  readonly advertise: string;
  readonly join: readonly string[];
  /** Founders; null: not given. */
  readonly expect: number | null;
  readonly heartbeatMs: number;
  readonly electionMinMs: number;
  readonly electionMaxMs: number;
  readonly segmentBytes: number;
  readonly compactMinBytes: number;
  readonly compactFactor: number;
  readonly keepLogBytes: number;
  readonly maxAppendBytes: number;
  readonly maxInflightMessages: number;
  /** Proposals that are not committed yet. */
  readonly maxUncommittedBytes: number;
  readonly queueLimits: QueueLimits;
  readonly maxConnections: MaxConnections;
  /** Memory of all connections together. */
  readonly maxBufferedBytes: number;
  /** Committed entries; the others wait for the next turn. */
  readonly maxAppliedPerTurn: number;
}

export interface RunningNode {
  readonly id: NodeId;
  /** null until it serves as a member of a cluster. */
  status(): NodeStatus | null;
  clusterId(): ClusterId | null;
  /** Hands over leadership, answers pending requests, closes; then `onStopped(null)`. */
  stop(): void;
  /** For oracles in tests: read-only views of the pure parts; null until storage has recovered. */
  inspect(): { readonly raft: Raft; readonly queue: Queue } | null;
}

export interface Started {
  readonly id: NodeId;
  readonly address: string;
  readonly clusterId: ClusterId | null;
  /** What it is about to do, or its role in a cluster it belongs to. */
  readonly role: "bootstrapping" | "joining" | "rejoining" | Raft["role"];
}

/** Called once: null after `stop`, or the named reason why the node could not start or had to stop. */
export type OnStopped = (error: RaftqError | null) => void;
