// The package: what `import { connect } from "raftq"` gives. The client; no server code.
export {
  connect,
  type ConnectOptions,
  type Dequeued,
  type Earlier,
  type Enqueued,
  type Peeked,
  type RaftqClient,
  RequestFailed,
} from "./client/connect.ts";
export { type Applied, type ErrorCode, RaftqError } from "./lib/errors.ts";
export type { LogLine, LogPage, MemberStatus, NodeStatus } from "./wire/protocol.ts";
