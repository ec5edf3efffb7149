// The settings of a node in tests: those of a real one, with files and time-outs that a test can wait for.
import { QUEUE, RAFT, SERVER } from "../../src/config.ts";
import type { NodeId } from "../../src/raft/types.ts";
import type { NodeSettings } from "../../src/server/types.ts";

const SETTINGS = {
  join: [],
  expect: null,
  heartbeatMs: 50,
  electionMinMs: 300,
  electionMaxMs: 600,
  segmentBytes: 64 * 1024,
  compactMinBytes: 1024 * 1024,
  compactFactor: 1,
  keepLogBytes: 64 * 1024,
  maxAppendBytes: RAFT.maxAppendBytes,
  maxInflightMessages: RAFT.maxInflightMessages,
  maxUncommittedBytes: RAFT.maxUncommittedBytes,
  queueLimits: QUEUE,
  maxConnections: SERVER.maxConnections,
  maxBufferedBytes: SERVER.maxBufferedBytes,
  maxAppliedPerTurn: SERVER.maxAppliedPerTurn,
} satisfies Partial<NodeSettings>;

/** Short election timeouts, so that a silent incarnation may soon be replaced, and small files, so that there are many. */
export const QUICK_AND_SMALL = {
  electionMinMs: 100,
  electionMaxMs: 150,
  segmentBytes: 32 * 1024,
  // A snapshot stands for a checkpoint: without many of these there would be none in so short a log.
  queueLimits: { ...QUEUE, checkpointEntries: 8, checkpointBytes: 4 * 1024 },
} satisfies Partial<NodeSettings>;

export const addressOf = (port: number): string => `127.0.0.1:${port}`;

/** Of the node `n<port>`. */
export function nodeSettings(port: number, more: Partial<NodeSettings> = {}): NodeSettings {
  const advertise = addressOf(port);
  return { id: `n${port}` as NodeId, host: "127.0.0.1", port, advertise, ...SETTINGS, ...more };
}
