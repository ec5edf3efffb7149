// Every error code with its class, its exit code and its advice, and errors as values and exceptions.

/** What a client may do: follow, send again, send the same number again to learn the truth, give up, or stop altogether. */
export type ErrorClass = "redirect" | "retry" | "unknown" | "final" | "fatal" | "local";

/** Exit codes of the binary. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  empty: 4,
  unknown: 5,
  refused: 6,
  unauthorised: 7,
  unhealthy: 8,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

interface ErrorRule {
  readonly class: ErrorClass;
  readonly exit: ExitCode;
  /** What to do next, for a person. */
  readonly next: string;
}

const rule = (errorClass: ErrorClass, exit: ExitCode, next: string): ErrorRule => ({ class: errorClass, exit, next });

export const ERRORS = {
  NOT_LEADER: rule("redirect", EXIT.unreachable, "Send the same request to the leader that the answer names."),

  NO_LEADER: rule("retry", EXIT.unreachable, "Wait for an election, or start enough nodes for a majority."),
  OVERLOADED: rule("retry", EXIT.refused, "Send the same number again after retryAfterMs."),
  STARTING: rule("retry", EXIT.unreachable, "The node is still recovering its log: ask again, or ask another node."),
  REJOINING: rule(
    "retry",
    EXIT.unreachable,
    "It comes back by itself once a majority has let it in again: ask another node meanwhile.",
  ),
  OUT_OF_ORDER: rule("retry", EXIT.refused, "Send the numbers before this one first."),
  WINDOW_FULL: rule(
    "retry",
    EXIT.refused,
    "Acknowledge the answers that arrived (acknowledgedThrough), then send again.",
  ),
  DISK_FULL: rule("retry", EXIT.refused, "Free space on the disks that are low (see `status`); dequeues still pass."),
  SESSIONS_FULL: rule(
    "retry",
    EXIT.refused,
    "Wait a minute: a session that nobody uses gives up its place. Use an --id again instead of a new one each time.",
  ),
  DIVERGED: rule(
    "retry",
    EXIT.unhealthy,
    "Start the missing nodes, so that a majority of states agrees, or remove those that are wrong.",
  ),
  CHANGE_IN_PROGRESS: rule("retry", EXIT.refused, "Wait until the present change of membership is over."),

  TIMEOUT: rule("unknown", EXIT.unknown, "It may have been executed: send the same number again to learn the truth."),
  CONNECTION_LOST: rule("unknown", EXIT.unknown, "It may have been executed: send the same number again."),
  LEADER_CHANGED: rule("unknown", EXIT.unknown, "It may have been executed: send the same number again."),

  BAD_REQUEST: rule("final", EXIT.usage, "Correct the request."),
  TOO_LARGE: rule(
    "final",
    EXIT.refused,
    "Keep a job's payload under 1 MiB; store larger things elsewhere and enqueue a reference.",
  ),
  CONFLICT: rule("final", EXIT.refused, "This number or id already stands for something else: use a new one."),
  FORGOTTEN: rule(
    "final",
    EXIT.refused,
    "This number was executed, and its answer is no longer kept: look for it in `log`.",
  ),
  SESSION_EXPIRED: rule(
    "final",
    EXIT.refused,
    "Go on with it (open with `resume`); where that is refused too, begin anew: what was unclear stays unclear.",
  ),
  SESSION_FENCED: rule(
    "final",
    EXIT.refused,
    "Another process opened this client id later: use another --id for each process.",
  ),
  UNAUTHORISED: rule("final", EXIT.unauthorised, "Use a credential that allows this."),
  REMOVED: rule(
    "final",
    EXIT.refused,
    "To let this node in as a new one, start it with an empty --data and with --join.",
  ),
  UNKNOWN_NODE: rule("final", EXIT.usage, "Name a member of this cluster (see `status`)."),
  NO_QUORUM_LEFT: rule("final", EXIT.unhealthy, "This change would leave no majority: start the missing nodes first."),
  NO_QUEUE: rule("final", EXIT.refused, "Use the queue named `default`."),
  QUEUE_FULL: rule("final", EXIT.refused, "Dequeue first; the jobs that wait have all the memory they may have."),
  STALE_LEASE: rule("final", EXIT.refused, "The lease ran out; the job was given to somebody else."),

  CLUSTER_MISMATCH: rule(
    "fatal",
    EXIT.refused,
    "This address or directory belongs to another cluster: correct the address or --data.",
  ),
  VERSION: rule("fatal", EXIT.refused, "Use the same raftq version on both sides."),
  CORRUPT: rule(
    "fatal",
    EXIT.unhealthy,
    "Start the node with --join and the addresses of other members: it fetches everything from those again.",
  ),

  ANSWERS_LEFT: rule("local", EXIT.refused, "Print what it left with `raftq client retry` and the same --id first."),
  USAGE: rule("local", EXIT.usage, "See --help."),
  CLUSTER_DOWN: rule("local", EXIT.unreachable, "Start it, or choose another cluster with --name or --addr."),
  UNREACHABLE: rule("local", EXIT.unreachable, "Start the cluster, or give its addresses with --addr."),
  PORT_IN_USE: rule("local", EXIT.failed, "Choose another port, or stop the program that uses it."),
  NOT_PRIVATE: rule("local", EXIT.refused, "Give it a directory of its own user, or choose another place."),
  NOT_A_DIRECTORY: rule("local", EXIT.failed, "Choose another --data."),
  UNWRITABLE: rule("local", EXIT.failed, "Give the directory write permission, or choose another --data."),
  DISK_FAILED: rule(
    "local",
    EXIT.failed,
    "Check the disk and the directory; raftq stopped so that nothing unsafe was acknowledged.",
  ),
  NETWORK_DISK: rule(
    "local",
    EXIT.refused,
    "Choose a --data directory on a local disk; or give --allow-network-disk, if no other machine uses it.",
  ),
  LOCKED: rule("local", EXIT.refused, "Another raftq node uses this directory: stop it, or choose another --data."),
  FOREIGN_DIRECTORY: rule(
    "local",
    EXIT.refused,
    "Leave out --id to start the node that the directory belongs to, or choose another --data.",
  ),
  NEWER_FORMAT: rule(
    "local",
    EXIT.refused,
    "A newer raftq wrote this directory, and nothing in it was changed: start the newer raftq.",
  ),
  OLDER_FORMAT: rule(
    "local",
    EXIT.refused,
    "An earlier raftq wrote this directory, and nothing in it was changed: start that raftq, or begin with an empty --data.",
  ),
  STALE_DISK: rule(
    "local",
    EXIT.unhealthy,
    "This disk lost what it had acknowledged: start the node with --join and the addresses of other members.",
  ),
} as const satisfies Record<string, ErrorRule>;

export type ErrorCode = keyof typeof ERRORS;

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

/** Whether this attempt took effect; never an earlier one with the same number. */
export type Applied = "no" | "yes" | "unknown";

/** Why raft or the queue does not do what was asked. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
}

/** An error as a value, for people and clients: what a node answers and what the client library returns. */
export interface Failure extends Refusal {
  readonly applied: Applied;
  readonly retryAfterMs?: number;
  /** Where the leader is, `host:port`, if the node knows. */
  readonly leader?: string;
}

export function failure(
  code: ErrorCode,
  message: string,
  more: Partial<Omit<Failure, "code" | "message">> = {},
): Failure {
  const applied = ERRORS[code].class === "unknown" ? "unknown" : "no";
  return { code, applied, message, ...more };
}

/** An error as an exception: for the edge (command line, start-up, disk), where a caller up the stack must decide. */
export class RaftqError extends Error {
  override name = "RaftqError";
  readonly code: ErrorCode;
  /** More lines below the message. */
  readonly details: readonly string[];
  constructor(code: ErrorCode, message: string, cause?: unknown, details: readonly string[] = []) {
    super(message, { cause });
    this.code = code;
    this.details = details;
  }
  get next(): string {
    return ERRORS[this.code].next;
  }
  get exitCode(): ExitCode {
    return ERRORS[this.code].exit;
  }
}
