// The layout and the priority of each message between members, inside its frame: described once, here.
import { WIRE } from "../config.ts";
import { binary, binaryOf, boolean, list, nullable, optional, tuple, uint } from "../lib/layout.ts";
import { Malformed } from "../lib/messagepack.ts";
import { type Kind, kind } from "../lib/union.ts";
import { decodeConfiguration, encodeConfiguration } from "../raft/configuration.ts";
import { decodeEntry, type Entry } from "../raft/entry.ts";
import type { AppendEntries, RaftMessage } from "../raft/messages.ts";
import type { SnapshotMeta } from "../raft/types.ts";
import { address, checkpoint, MAX_LIST, u48 } from "./fields.ts";
import type { Priority } from "./layouts.ts";
import type { BootstrapMessage } from "./protocol.ts";

export type PeerMessage = RaftMessage | BootstrapMessage;

export interface PeerLayout<T> extends Kind<T> {
  readonly priority: Priority;
}

const peerBytes = binary(WIRE.maxPeerFrameBytes);

const meta = tuple<SnapshotMeta>(
  "a snapshot's meta",
  {
    index: u48,
    term: u48,
    configuration: binaryOf("configuration", WIRE.maxPeerFrameBytes, encodeConfiguration, decodeConfiguration),
    configurationIndex: u48,
    time: u48,
  },
  {
    check: ({ index, configurationIndex }) =>
      configurationIndex > index ? "a snapshot's configuration comes from behind the snapshot" : null,
  },
);

/** Complete records, as they are in the log: nothing is encoded a second time, and nothing copied. */
const records = binaryOf<readonly Entry[]>(
  "records",
  WIRE.maxPeerFrameBytes,
  (entries) => ({
    parts: entries.map(({ record }) => record),
    length: entries.reduce((sum, { record }) => sum + record.length, 0),
  }),
  readRecords,
);

function readRecords(bytes: Uint8Array): readonly Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.length;) {
    const decoded = decodeEntry(bytes, at);
    if (!decoded.ok) throw new Malformed(`record ${entries.length + 1}: ${decoded.why}`);
    entries.push(decoded.entry);
    at = decoded.end;
  }
  return entries;
}

function orderProblem({ term, prevLogIndex, prevLogTerm, entries }: AppendEntries): string | null {
  if (prevLogTerm > term) return `an AppendEntries of term ${term} follows an entry of the later term ${prevLogTerm}`;
  let [lastIndex, lastTerm] = [prevLogIndex, prevLogTerm];
  for (const entry of entries) {
    if (entry.index !== lastIndex + 1) return `entry ${entry.index} follows entry ${lastIndex}`;
    if (entry.term < lastTerm || entry.term > term || entry.term === 0)
      return `entry ${entry.index} has term ${entry.term}, behind ${lastTerm}, in a message of term ${term}`;
    lastIndex = entry.index;
    lastTerm = entry.term;
  }
  return null;
}

const statementFields = {
  expect: uint(MAX_LIST),
  set: list(address, MAX_LIST),
  fresh: boolean,
  record: nullable(peerBytes),
};

type PeerOf<Type extends PeerMessage["type"]> = Extract<PeerMessage, { readonly type: Type }>;

/** Messages inside a peer frame: numbers of their own, permanent and never used twice. */
export const PEER_MESSAGES: { readonly [Type in PeerMessage["type"]]: PeerLayout<PeerOf<Type>> } = {
  RequestVote: {
    priority: "urgent",
    ...kind<PeerOf<"RequestVote">>("RequestVote", 1, {
      term: u48,
      preVote: boolean,
      transfer: boolean,
      lastLogIndex: u48,
      lastLogTerm: u48,
    }),
  },
  RequestVoteReply: {
    priority: "urgent",
    ...kind<PeerOf<"RequestVoteReply">>("RequestVoteReply", 2, {
      term: u48,
      preVote: boolean,
      requestedTerm: u48,
      voteGranted: boolean,
    }),
  },
  AppendEntries: {
    priority: "bulk",
    ...kind<AppendEntries>(
      "AppendEntries",
      3,
      { term: u48, prevLogIndex: u48, prevLogTerm: u48, leaderCommit: u48, entries: records },
      { check: orderProblem },
    ),
  },
  AppendEntriesReply: {
    priority: "urgent",
    ...kind<PeerOf<"AppendEntriesReply">>(
      "AppendEntriesReply",
      4,
      {
        term: u48,
        success: boolean,
        matchIndex: u48,
        rejectedIndex: u48,
        hintIndex: u48,
        hintTerm: u48,
        diskLow: boolean,
      },
      { reserved: { details: null } },
    ),
  },
  Heartbeat: {
    priority: "newest",
    ...kind<PeerOf<"Heartbeat">>("Heartbeat", 5, {
      term: u48,
      leaderCommit: u48,
      time: u48,
      readContext: uint(),
      agreed: optional(checkpoint),
    }),
  },
  HeartbeatReply: {
    priority: "newest",
    ...kind<PeerOf<"HeartbeatReply">>("HeartbeatReply", 6, {
      term: u48,
      readContext: uint(),
      diskLow: boolean,
      checkpoints: optional(list(checkpoint, MAX_LIST)),
    }),
  },
  // Behind the entries that its receiver must have before it campaigns.
  TimeoutNow: { priority: "bulk", ...kind<PeerOf<"TimeoutNow">>("TimeoutNow", 7, { term: u48 }) },
  InstallSnapshot: {
    priority: "bulk",
    ...kind<PeerOf<"InstallSnapshot">>(
      "InstallSnapshot",
      8,
      { term: u48, meta, manifest: peerBytes, part: u48, parts: u48, offset: u48, bytes: peerBytes },
      { check: ({ part, parts }) => (part >= parts ? `part ${part} of ${parts} cannot be` : null) },
    ),
  },
  InstallSnapshotReply: {
    priority: "urgent",
    ...kind<PeerOf<"InstallSnapshotReply">>("InstallSnapshotReply", 9, {
      term: u48,
      index: u48,
      nextPart: u48,
      nextOffset: u48,
      matchIndex: u48,
    }),
  },
  StaleDisk: {
    priority: "urgent",
    ...kind<PeerOf<"StaleDisk">>("StaleDisk", 10, { term: u48, acknowledgedIndex: u48 }),
  },
  Probe: { priority: "urgent", ...kind<PeerOf<"Probe">>("Probe", 11, { term: u48, token: uint() }) },
  ProbeReply: { priority: "urgent", ...kind<PeerOf<"ProbeReply">>("ProbeReply", 12, { term: u48, token: uint() }) },

  bootstrap: { priority: "urgent", ...kind<PeerOf<"bootstrap">>("bootstrap", 32, statementFields) },
  bootstrapAnswer: { priority: "urgent", ...kind<PeerOf<"bootstrapAnswer">>("bootstrapAnswer", 33, statementFields) },
};
