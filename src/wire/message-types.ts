// Which number stands for which message? The first value of every array; fixed for ever, never used twice.

/** Frames. */
export const TYPE = {
  hello: 1,
  helloAnswer: 2,
  goodbye: 3,
  challenge: 4,
  proof: 5,

  request: 16,
  open: 17,
  close: 18,
  status: 19,
  log: 20,
  trace: 21,
  join: 22,
  remove: 23,
  transfer: 24,
  ping: 25,
  peek: 26,
  readmit: 27,

  reply: 48,
  failure: 49,
  statusAnswer: 50,
  logAnswer: 51,
  traceAnswer: 52,
  done: 53,
  pong: 54,
  peekAnswer: 55,

  peer: 64,
  fragment: 65,
} as const;

/** Messages inside a peer frame: numbers of their own. */
export const PEER_TYPE = {
  RequestVote: 1,
  RequestVoteReply: 2,
  AppendEntries: 3,
  AppendEntriesReply: 4,
  Heartbeat: 5,
  HeartbeatReply: 6,
  TimeoutNow: 7,
  InstallSnapshot: 8,
  InstallSnapshotReply: 9,
  StaleDisk: 10,
  Probe: 11,
  ProbeReply: 12,

  found: 32,
  foundAnswer: 33,
} as const;
