// The fields that several messages share: ids, members, addresses, checkpoints, failures.
import { classOf, type ErrorFields, errorFields, wrongClass } from "../lib/error-fields.ts";
import type { Failure } from "../lib/errors.ts";
import { binary, converted, nullable, optional, text, textOf, tuple, uint } from "../lib/layout.ts";
import { MAX_U48 } from "../lib/u48.ts";
import type { Checkpoint } from "../raft/messages.ts";
import { isClusterId, isIncarnation, isNodeId, type Member } from "../raft/types.ts";
import { isAddress, MAX_ADDRESS_BYTES } from "./address.ts";

/** Nonces of a hello, and proofs: the length of a SHA-256. */
export const PROOF_BYTES = 32;
/** The longest list of members, founders, features or ids: far more than a cluster can have. */
export const MAX_LIST = 64;
const MAX_ID_BYTES = 32;
const MAX_NAME_BYTES = 64;
/** Of a failure. */
const MAX_MESSAGE_BYTES = 4096;
const MAX_U32 = 0xffff_ffff;

export const u48 = uint(MAX_U48);
export const u32 = uint(MAX_U32);
export const name = text(MAX_NAME_BYTES);
export const nodeId = textOf("node id", MAX_ID_BYTES, isNodeId);
export const incarnation = textOf("incarnation", MAX_ID_BYTES, isIncarnation);
export const clusterId = nullable(textOf("cluster id", MAX_ID_BYTES, isClusterId));
export const address = textOf("address", MAX_ADDRESS_BYTES, (value): value is string => isAddress(value));
export const proof = binary(PROOF_BYTES, PROOF_BYTES);
export const member = tuple<Member>("a member", { id: nodeId, incarnation, address });
export const checkpoint = tuple<Checkpoint>("a checkpoint", { index: u48, digest: u32 });

interface ClassedFailure extends ErrorFields {
  readonly retryAfterMs?: number;
  readonly leader?: string;
}

export const failure = converted<Failure, ClassedFailure>(
  tuple<ClassedFailure>(
    "a failure",
    {
      ...errorFields(MAX_MESSAGE_BYTES),
      retryAfterMs: optional(u48),
      leader: optional(address),
    },
    {
      reserved: { details: null },
      check: wrongClass,
    },
  ),
  (failed) => ({ ...failed, class: classOf(failed.code), message: shortened(failed.message) }),
  ({ code, applied, message, retryAfterMs, leader }) => ({
    code,
    applied,
    message,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(leader === undefined ? {} : { leader }),
  }),
);

/** A message quotes what it complains about; the quote may be long. Four bytes are the most a character needs. */
function shortened(message: string): string {
  const most = Math.floor(MAX_MESSAGE_BYTES / 4);
  return message.length <= most ? message : `${message.slice(0, most - 1).toWellFormed()}…`;
}
