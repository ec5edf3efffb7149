// Every default, limit and time-out of raftq, with its unit and reason, and the relations between them that must hold.
import { assert } from "./lib/assert.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const DAY_MS = 24 * 3_600_000;

export const DEFAULTS = {
  host: "127.0.0.1",
  port: 3000,
  /** Ten heartbeats fit into the longest election timeout, so one lost packet never starts an election. */
  heartbeatMs: 50,
  electionMinMs: 300,
  electionMaxMs: 600,
  /** How long a client waits for a leader or an answer before it gives up. */
  clientTimeoutMs: 5_000,
  clusterSize: 3,
} as const;

export const WIRE = {
  protocolVersion: 4,
  /** 1 MiB of payload plus slack for headers; checked before anything is allocated. */
  maxClientFrameBytes: 1 * MiB + 64 * KiB,
  /** Peers carry batches and snapshot parts. Below 16 MiB, so byte 0 of every frame is 0. */
  maxPeerFrameBytes: 4 * MiB,
  maxPayloadBytes: 1 * MiB,
  /** All that is taken of who is not known yet: of a dialer its hello and its proof, of who was dialed a challenge and a hello with 64 members. */
  maxHelloBytes: 8 * KiB,
  maxHelloAnswerBytes: 32 * KiB,
  helloTimeoutMs: 5_000,
  /** So many more bytes of a frame must be received within this time, or the rest of it: 6.5 kbit/s, whatever its length. */
  frameTimeoutMs: 10_000,
  frameProgressBytes: 8 * KiB,
  /** TLS handshakes under way at once; those beyond it are closed at once and try again. */
  maxHandshakes: 512,
  pingIntervalMs: 10_000,
  /** Two missed pings. */
  idleTimeoutMs: 30_000,
  /** A socket that does not read is closed beyond this; peers get more because of snapshot parts. */
  maxClientSendBytes: 8 * MiB,
  maxPeerSendBytes: 32 * MiB,
  /** Bulk behind so many unsent bytes waits in the connection, where heartbeats, votes and acks can overtake it. */
  sendAheadBytes: 256 * KiB,
  /** How long a closing socket may take to deliver its last bytes (the goodbye). */
  closeTimeoutMs: 1_000,
  /** What all closing sockets together may still have to deliver; beyond it the one that is closing the longest is cut off. */
  maxClosingBytes: 32 * MiB,
  dialTimeoutMs: 1_000,
  reconnectMinMs: 20,
  /** A member that owes an answer and sends nothing for so long is dialed again. */
  peerSilenceMs: 1_000,
  /** Low, because a fresh founder waits this long for members of an older cluster to dial it (SERVER.bootstrapGraceMs). */
  reconnectMaxMs: 250,
  /** A timer that is late by more than this share of its time was held up by this process itself: the silence was ours. */
  stallShare: 0.1,
  /** Answers to clients are many and small: they are encoded one behind the other into batches of about this size. */
  batchBytes: 64 * KiB,
  firstBatchBytes: 256,
  /** A smaller fragment is not worth its header, unless it is the rest of a message. */
  minFragmentBytes: 128,
  /** What keeping a chunk costs beside its bytes: many small ones are no cheaper than a few large ones. */
  chunkCostBytes: 128,
  /** Bytes of one write to a socket. The runtime copies what the system does not take of it: no more than this for one connection. */
  socketWriteBytes: 128 * KiB,
  /** The first memory of an incomplete frame or message; arrays from this length on can be released at once (`lib/release.ts`). */
  firstBufferBytes: 16 * KiB,
  /** A shorter secret could be guessed. */
  minSecretBytes: 16,
} as const;

/** How much bulk may be in flight on a link between members (`wire/pacing.ts`). */
export const PACING = {
  /** How long bulk may delay a heartbeat: half as long again as the time between two of them. */
  maxQueueDelayMs: 1.5 * DEFAULTS.heartbeatMs,
  /** Two fragments of the least size: a link on which these take longer is one whose heartbeats come less often. */
  minWindowBytes: 512,
  maxWindowBytes: 1 * MiB,
  maxBurstBytes: 64 * KiB,
  /** What a write costs a link beside its bytes: the headers of a packet. */
  packetBytes: 66,
  /** Without bulk the link is measured this often. */
  pingIntervalMs: 500,
  /**
   * In one round trip the window grows by the share of this time that it takes. Many links take a burst at once before they are slow:
   * a window that grows faster fills a long queue before its first answer is late, on all links of a node together.
   */
  doublingMs: 500,
  /**
   * Where nothing waits the window grows only to this many times what the link has just carried in maxQueueDelayMs: it proves no more.
   * Without this it would stay as small as the messages are, each with a ping of its own, and now and then one would wait for an answer.
   */
  deliveriesInWindow: 2,
  /** Behind the least window an answer may take this long because the other side is busy; what is beyond that is a queue. */
  busyMs: 100,
  /** What a heartbeat costs the link, with the acknowledgement of its reply, and the share of the link that it may have beside bulk. */
  heartbeatBytes: 170,
  heartbeatShare: 0.25,
  /** A new measurement counts for one in this many in the round trip of an idle link. */
  smoothing: 4,
} as const;

export const RAFT = {
  /** One AppendEntries message, records only: a full client frame always fits. */
  maxAppendBytes: 2 * MiB,
  maxInflightMessages: 64,
  maxInflightBytes: 8 * MiB,
  /** Proposals that are not committed yet; beyond it: OVERLOADED. Bounds the log when the majority is lost. */
  maxUncommittedBytes: 64 * MiB,
  /** Compacted entries kept in memory and on disk for followers that are a little behind. */
  keepLogBytes: 4 * MiB,
} as const;

export const STORAGE = {
  formatVersion: 4,
  segmentBytes: 8 * MiB,
  /** Frames begin at multiples of it: no disk that people have writes smaller pieces whole. */
  blockBytes: 4 * KiB,
  /** The segment that a start begins is smaller than others by this factor, but has at least so many blocks for other frames. */
  firstSegmentDivisor: 32,
  firstSegmentMinBlocks: 8,
  /**
   * Blocks that every segment keeps for frames of snapshots, while the next segment cannot be made: what they free is the space for it.
   * Two: a snapshot that was under way when the disk became full may free nothing; the next one stands for all there is.
   */
  snapshotFrameBlocks: 2,
  /** One part of a snapshot is a unit of writing and sending: it fits into one frame between members, with the manifest beside it. */
  maxPartBytes: 2 * MiB,
  /** Of far more parts than any state has. */
  maxManifestBytes: 1 * MiB,
  /** A write that does not end with a block is written in two steps, past the page cache and through it, if it is so long that this is worth it. */
  minSplitWriteBytes: 256 * KiB,
  /** A new file is filled with zeros in slices of this, each durable before the next: one big write would stall the log's. */
  zeroFillBytes: 1 * MiB,
  /** Addresses of other members that are kept beside the log: far more than a cluster can have. */
  maxKnownAddresses: 64,
  /** Of the reason why data cannot be trusted, which is kept for people. */
  maxReasonCharacters: 500,
  /** After so long without a persist the log gets a closing frame, and meta names the newest frame that is durable. */
  quietMs: 50,
  /** How often meta names the newest frame that is durable while writes never pause: what is lost of a log's end is noticed up to there. */
  durableFrameMs: 1_000,
  /** How often a full disk is asked again whether the next segment fits. */
  spaceRetryMs: 250,
  /** A snapshot is taken when the log since the last one outgrows max(this, factor x snapshot bytes). */
  compactMinBytes: 8 * MiB,
  compactFactor: 2,
  /** Files of segments that the log needs no more, kept to be used again: what a log needs between two snapshots of a small state. */
  maxRecycledSegments: 8,
  /** Segments kept for followers that are a little behind: RAFT.keepLogBytes fits into one or two, unless runs were short. */
  maxKeptSegments: 6,
} as const;

export const SERVER = {
  /** Connections by kind; an idle one costs some 10 KiB. A process that may open fewer files has fewer (`connectionLimitsWithin`). */
  maxConnections: {
    /** Connections without a hello. A member or client sends it within a round trip. */
    maxUnauthenticated: 2_048,
    maxClients: 16_384,
    /** One address, however many programs are behind it, leaves connections for others. */
    maxClientsPerAddress: 4_096,
    /** Operators, nodes that ask to be let in, a supervisor's look at its nodes: never shut out by clients. */
    maxAdmins: 64,
    /** Four for each member of the largest configuration there can be. */
    maxPeers: 256,
    maxPeersPerMember: 4,
  },
  /** Sockets that are closing still deliver their last bytes, for `closeTimeoutMs`. */
  maxClosing: 512,
  /** Files of the log and of snapshots, links to members, what the runtime itself has open. */
  otherFiles: 128,
  /** Memory of all connections together: of frames that are not whole yet, and of answers that were not read yet. */
  maxBufferedBytes: 256 * MiB,
  /** Entries applied in one turn: a long backlog after a restart must not hold up heartbeats. */
  maxAppliedPerTurn: 4_096,
  /** Pending requests, and the bytes of their commands: of one connection, and of all. */
  maxPendingPerConnection: 4_096,
  maxPending: 65_536,
  /** A client's whole window of the largest commands. */
  maxPendingBytesPerConnection: 72 * MiB,
  maxPendingBytes: 256 * MiB,
  /** Making one, or copying a job as large that is peeked at, takes a millisecond or more; heartbeats must not wait for many. */
  maxLogPagesPerTurn: 8,
  /** A larger job that is peeked at costs as much as a log page, or several. */
  largePeekBytes: 64 * KiB,
  /**
   * Unread answers of a connection beyond which no more such jobs are shown on it: nothing bounds how often one may peek at once, and
   * a reader that is slower than that is not one that does not read.
   */
  maxUnreadPeekBytes: WIRE.maxClientSendBytes / 2,
  /** Sessions of one connection that are kept alive while it is idle. */
  maxSessionsPerConnection: 1_024,
  /** An election takes about this long: a request that waits for it needs no retry and no back-off. */
  noLeaderWaitMs: 100,
  /** A follower takes 20 turns a second at least: 10,000 idle clients reach the new leader before their sessions may become dormant. */
  maxRedirectsPerTurn: 32,
  /** The same refusal is logged again after this; and no more different ones than so many meanwhile. */
  refusalLogIntervalMs: 60_000,
  maxLoggedRefusals: 64,
  /** How often a leader makes a checkpoint, which a snapshot needs, while its log is due for one or a member's disk is low. */
  neededCheckpointMs: 1_000,
  /** How often otherwise, if anything happened: entries may be too few to bring one, and a follower's log may be due for it. */
  checkpointMs: 10_000,
  /** Ticks for what is due come no faster: each makes up to 4,096 things happen. */
  dueTickMs: 10,
  /** A log page: entries and bytes of one answer. */
  maxLogPageEntries: 1_000,
  maxLogPageBytes: 512 * KiB,
  /** A node that waits to be let in, or for the other founders, asks again after this. */
  joinRetryMs: 200,
  bootstrapRetryMs: 50,
  /** A founder listens at least this long before it founds: living members that know its address dial it meanwhile. */
  bootstrapGraceMs: 400,
  /**
   * A member is reachable if bytes came from it within this time: long enough for several heartbeats, a probe and its answer; short
   * enough that no client waits for an election that cannot come.
   */
  reachableMs: 1_000,
  /** A member that was silent for so long is pinged: then two answers fit into `reachableMs`. Between a leader and its followers heartbeats make it unnecessary. */
  memberPingMs: 400,
  /** How often a node compares its own address and membership with what the cluster knows. */
  membershipCheckMs: 1_000,
  /** How often a node checks whether its files were deleted: what it acknowledges after that is lost. */
  fileCheckMs: 1_000,
  /** How often the file system is asked for its free space, beside the moments when this node itself takes or frees much. */
  diskCheckMs: 1_000,
  lowDiskCheckMs: 250,
  /** A client that was refused asks again after this: for what passes in a moment, for a dispute about the state, for lack of disk space. */
  retryAfterMs: 10,
  disputeRetryMs: 100,
  diskFullRetryMs: 200,
  /** A leader touches the sessions of its clients so often before they expire: a change of leader restarts the interval. */
  touchesPerExpiry: 8,
  /** And when they are many, before they may become dormant: of the sessions there may be this share, which the log warns of; below the lower one it may warn again. */
  touchesPerDormancy: 3,
  crowded: 0.8,
  notCrowded: 0.7,
  /**
   * Below the hard watermark of free space enqueues are refused: what a snapshot of the present state would take, and so many segments,
   * one to go on in while it is written, one for what is pending meanwhile. The soft one lies so many segments above it: the log is
   * shortened early, so that no request is refused if that is enough.
   */
  hardWatermarkSegments: 2,
  softWatermarkSegments: 2,
  /** By what factor the log may outgrow its limit while a member still receives the last snapshot. */
  maxOutgrownFactor: 4,
  /** The counters of where the time goes cover the last one to two of these. */
  stageWindowMs: 10_000,
  /** Times of an entry's path are kept of so many turns, of each of its steps. */
  tracedTurns: 4_096,
  /** Checkpoints whose digests are remembered, of every member. */
  rememberedCheckpoints: 1_024,
  /** A node that loses its data twice within this time has a disk, or a cluster, that needs a person. */
  minDataLossIntervalMs: 60_000,
  /** How often a stopping node checks whether every request is answered. */
  drainCheckMs: 5,
  /** A graceful stop hands over leadership and answers what is in flight within this. */
  stopTimeoutMs: 5_000,
} as const;

export const QUEUE = {
  maxSessions: 10_000,
  /** Live and dormant ones. A dormant one without answers costs some 800 bytes of memory (of which 16 processes were: 2,800). */
  maxClientIds: 1_000_000,
  sessionExpiryMs: 7 * DAY_MS,
  generatedExpiryMs: 3_600_000,
  /** Three times as long as a leader takes at most to touch the sessions of its clients when they become many. */
  dormantAfterMs: 60_000,
  dormantAnswersMs: DAY_MS,
  maxReplies: 1_024,
  maxReplyBytes: 4 * MiB,
  noncesRemembered: 16,
  maxPayloadBytes: WIRE.maxPayloadBytes,
  maxJobsPerCommand: 1_000,
  /** Seldom enough to cost nothing (a session that was used meanwhile is hashed anew), often enough to find a difference soon. */
  checkpointEntries: 4_096,
  /** A snapshot stands for a checkpoint, so large commands must not put it off: a fraction of STORAGE.compactMinBytes. */
  checkpointBytes: 1 * MiB,
  /** Memory of the jobs that wait, on every node. Beyond it: QUEUE_FULL. */
  maxReadyBytes: 1_024 * MiB,
  /** Memory of all sessions' answers. Beyond it sessions that keep more than an equal share get WINDOW_FULL. */
  maxAnswerBytes: 256 * MiB,
} as const;

export const CLIENT = {
  /** Commands of a pipe that are under way at once. Below the session's reply window. */
  pipeInFlight: 64,
  /** A line of a pipe: the largest payload, and space for the command around it. */
  maxLineBytes: WIRE.maxPayloadBytes + 1 * KiB,
  /** How long a pipe that had to stop counts the lines that still come. */
  countRestMs: 500,
  /** A full non-blocking pipe is written to again after this: soon enough that its reader hardly waits. */
  fullPipeMs: 2,
  /** What `log` shows on a terminal, and to a program, by default. */
  logLines: 20,
  logEntries: 1_000,
  /** Of a logged command, on a terminal: longer values are cut, so that one of them does not fill the screen. */
  logCommandColumns: 160,
  limits: {
    /** Requests of one session that are under way at once. */
    window: 64,
    /** And the bytes of their commands, unless one alone is larger: what is not read yet must fit the connection. */
    windowBytes: 4 * MiB,
    /** Enqueues of one round that travel in one request: enough that its own cost does not matter. */
    maxBatchJobs: 256,
    maxBatchBytes: 64 * KiB,
    dialTimeoutMs: WIRE.dialTimeoutMs,
    /** While one address is silent, the next one is tried after this. */
    staggerMs: 100,
    /** Redirects that are followed before the search begins anew. */
    maxRedirects: 3,
    retryMinMs: 20,
    retryMaxMs: 500,
    /** Each pause between two rounds of a search is this many times as long as the one before, up to `retryMaxMs`. */
    retryFactor: 1.5,
    /**
     * A node that owes an answer and sends nothing for so long is left for another: longer than the others take to elect one when it
     * stands still, so that the client is not sent back. A disk that is slower than this costs a new connection, nothing else.
     */
    silenceMs: 750,
    /**
     * What the commands under way take on a link this slow is no silence. Where that was not enough, the next connection gets twice the
     * time, and so on up to so many times as much, until an answer comes: else a slower link would never bring a large command across.
     */
    slowBytesPerMs: 1_000,
    maxSilenceFactor: 16,
    /** No node was ever reached: the addresses are probably wrong. A node that has just been started listens within this. */
    unreachableMs: 1_000,
    /** A client that waits for its next command acknowledges what it has after this: seldom enough to cost nothing. */
    idleMs: 100,
    /** A client that finds all sessions in use asks again after a pause that doubles up to this: a refused OPEN costs an entry in the log. */
    openRetryMaxMs: 2_000,
    /** A client that asks nothing, and whose session needs a place, tries again after this: early enough that its id is not forgotten. */
    attachRetryMs: 30_000,
    /** `--timeout 0`: how long the one attempt may take. */
    onceMs: DEFAULTS.clientTimeoutMs,
  },
} as const;

export const CLUSTER = {
  /** More voters only cost latency; nine survive four losses. */
  maxNodes: 9,
  /** First leader of a fresh or resumed cluster; a bootstrap of nine on a slow disk takes seconds. */
  leaderTimeoutMs: 30_000,
  /** A node that was asked to stop is killed after its own limit and the time to exit. */
  stopTimeoutMs: SERVER.stopTimeoutMs + 2_000,
  /** npx and terminals deliver the first signal twice; one that comes this much later means "now". */
  secondSignalMs: 1_000,
  /** How often a foreground supervisor checks whether the job that started it still runs. */
  ancestorPollMs: 500,
  /** How often a supervisor checks whether its cluster's directory was deleted. */
  directoryCheckMs: 1_000,
  /** One request to the supervisor, beyond the time that stopping a node may take. */
  controlTimeoutMs: 5_000,
  maxControlLineBytes: 64 * KiB,
  /** One node's status; a node that needs longer is shown as unreachable. */
  statusTimeoutMs: 1_000,
  pollMs: 50,
  /** How long the port of a process that has just ended may stay taken. */
  portPatienceMs: 500,
  /** Where ports in use are answered with others: how far those begin from each other, and how many rows are looked at. */
  baseStep: 100,
  baseTries: 20,
  watchMs: 500,
  /** `kill leader` asks this often who serves: the error of the time it shows. */
  probeMs: 5,
  /** A learner catches up, then a joint change. */
  joinTimeoutMs: 120_000,
  /** Removing a member or handing over leadership, repeats included. */
  membershipTimeoutMs: 30_000,
  /** How long what `up --tls` issues is valid; from a little before now, because clocks differ. */
  certificateMs: 10 * 365 * 24 * 3_600_000,
  certificateSlackMs: 5 * 60_000,
  /** A node's log file is rotated (once) at start when it is larger. */
  maxLogFileBytes: 8 * MiB,
  /** How much of an ended node's log is shown. */
  lastLogLines: 5,
  lastLogBytes: 4 * KiB,
} as const;

export const STDERR = {
  /** Characters that were not read yet; what comes beyond them is left out. A pipe holds 64 KiB beside it. */
  maxUnread: 1 * MiB,
  /** How long a process that is about to end waits for the reader of its last lines. */
  exitWaitMs: 1_000,
} as const;

/** Why the flags of a node cannot work together, or null. `heartbeat` must fit several times into `election`. */
export function timingProblem(heartbeatMs: number, electionMinMs: number, electionMaxMs: number): string | null {
  if (heartbeatMs < 1) return "--heartbeat must be at least 1ms";
  if (electionMinMs < 2 * heartbeatMs) {
    return `--election must start at twice --heartbeat or more: ${electionMinMs}ms is less than 2 x ${heartbeatMs}ms`;
  }
  if (electionMaxMs < electionMinMs * 1.5) {
    return `--election needs room to be random: its end must be at least 1.5 x its start (${electionMinMs}ms-${Math.ceil(electionMinMs * 1.5)}ms)`;
  }
  return null;
}

assert(WIRE.maxPeerFrameBytes < 16 * MiB, "byte 0 of every frame is 0");
assert(
  RAFT.maxAppendBytes + MiB < WIRE.maxPeerFrameBytes,
  "an append fits a peer frame, also when its last entry is a big one",
);
assert(WIRE.maxClientFrameBytes + 64 * KiB < RAFT.maxAppendBytes, "every client command fits one append");
assert(
  STORAGE.maxManifestBytes + STORAGE.maxPartBytes < WIRE.maxPeerFrameBytes,
  "a part of a snapshot fits a peer frame, with the largest manifest",
);
assert(STORAGE.segmentBytes > 2 * WIRE.maxPeerFrameBytes - 1, "a batch frame of one append fits a segment");
assert(
  CLIENT.limits.windowBytes + WIRE.maxClientFrameBytes <= WIRE.maxClientSendBytes,
  "a client's window fits its connection, even when it reads slowly",
);
assert(
  CLIENT.limits.maxBatchJobs <= QUEUE.maxJobsPerCommand && CLIENT.limits.maxBatchBytes <= QUEUE.maxPayloadBytes,
  "a client's batch is never refused for its size",
);
assert(CLIENT.limits.windowBytes <= SERVER.maxPendingBytesPerConnection, "a node takes a client's whole window");
assert(
  WIRE.maxPayloadBytes + QUEUE.maxJobsPerCommand * 32 + KiB <= WIRE.maxClientFrameBytes,
  "as many jobs as one command or answer may hold fit a frame, with their heads",
);
assert(CLIENT.limits.window < QUEUE.maxReplies, "a client never fills its session's window");
assert(
  timingProblem(DEFAULTS.heartbeatMs, DEFAULTS.electionMinMs, DEFAULTS.electionMaxMs) === null,
  "the defaults fit each other",
);
