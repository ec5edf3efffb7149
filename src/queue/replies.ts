// The queue's replies, byte for byte. Each is stored with its number and sent again on a retry, so its bytes never change.
import { classOf, type ErrorFields, errorFields, wrongClass } from "../lib/error-fields.ts";
import { binaryView, list, tuple, uint } from "../lib/layout.ts";
import { convertedKind, type Kinds, kind, union } from "../lib/union.ts";
import { type Job, MAX_ENCODING, type Reply } from "./types.ts";

/** The reply as a whole is bounded by what holds it. */
const ANY = Number.MAX_SAFE_INTEGER;

type ReplyOf<Type extends Reply["type"]> = Extract<Reply, { readonly type: Type }>;

const index = uint();
const job = tuple<Job>("a job", { id: uint(), encoding: uint(MAX_ENCODING), payload: binaryView(ANY) });

/** A refusal as its values lie in the array. */
interface RefusedRecord extends ErrorFields {
  readonly type: "refused";
  readonly index: number;
}

const problemWith = (refused: RefusedRecord): string | null =>
  refused.applied === "no" ? wrongClass(refused) : "what was refused was not applied";

export const REPLIES: Kinds<Reply> = {
  enqueued: kind<ReplyOf<"enqueued">>("enqueued", 1, { index, firstId: uint(), count: uint() }),
  dequeued: kind<ReplyOf<"dequeued">>("dequeued", 2, { index, jobs: list(job, ANY) }),
  void: kind<ReplyOf<"void">>("void", 3, { index }),
  opened: kind<ReplyOf<"opened">>("opened", 4, {
    index,
    session: uint(),
    lastNumber: uint(),
    acknowledgedThrough: uint(),
    expiresMs: uint(),
  }),
  closed: kind<ReplyOf<"closed">>("closed", 5, { index }),
  refused: convertedKind<ReplyOf<"refused">, RefusedRecord>(
    kind<RefusedRecord>("refused", 6, { index, ...errorFields(ANY) }, { check: problemWith }),
    ({ code, ...refused }) => ({ ...refused, code, class: classOf(code), applied: "no" }),
    ({ type, index: at, code, message }) => ({ type, index: at, code, message }),
  ),
};

const replies = union<Reply>("reply", REPLIES);

export function encodeReply(reply: Reply): Uint8Array {
  return replies.encode(reply);
}

/** Payloads may be views of `bytes`. Throws Malformed. */
export function decodeReply(bytes: Uint8Array): Reply {
  return replies.decode(bytes);
}
