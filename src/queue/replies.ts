// What does the queue answer, byte for byte? Stored with its number and sent again on a retry, so the bytes never change.
import { isErrorCode } from "../lib/errors.ts";
import { createReader, createWriter, Malformed, type Reader } from "../lib/msgpack.ts";
import type { Job, Reply } from "./types.ts";

const TYPE = { enqueued: 1, dequeued: 2, void: 3, opened: 4, closed: 5, refused: 6 } as const;
const FIELDS = { enqueued: 4, dequeued: 3, void: 2, opened: 6, closed: 2, refused: 4 } as const;
const JOB_FIELDS = 3;
const MAX_FIELDS = 6;
const MIN_FIELDS = 2;
const MAX_ENCODING = 0xff;

export function encodeReply(reply: Reply): Uint8Array {
  switch (reply.type) {
    case "enqueued":
      return head(reply).uint(reply.firstId).uint(reply.count).finish();
    case "dequeued": {
      const payloadBytes = reply.jobs.reduce((sum, job) => sum + job.payload.length, 0);
      const writer = head(reply, payloadBytes + reply.jobs.length * 16);
      writer.array(reply.jobs.length);
      for (const job of reply.jobs) writer.array(JOB_FIELDS).uint(job.id).uint(job.encoding).binary(job.payload);
      return writer.finish();
    }
    case "void":
    case "closed":
      return head(reply).finish();
    case "opened":
      return head(reply)
        .uint(reply.session)
        .uint(reply.lastNumber)
        .uint(reply.answeredUpTo)
        .uint(reply.expiresMs)
        .finish();
    case "refused":
      return head(reply).text(reply.code).text(reply.message).finish();
  }
}

const head = (reply: Reply, moreBytes = 0) =>
  createWriter(0, 32 + moreBytes)
    .array(FIELDS[reply.type])
    .uint(TYPE[reply.type])
    .uint(reply.index);

/** Payloads are views of `bytes`. Throws Malformed. */
export function decodeReply(bytes: Uint8Array): Reply {
  const reader = createReader(bytes);
  const fields = reader.array(MIN_FIELDS, MAX_FIELDS);
  const type = reader.uint();
  const index = reader.uint();
  const reply = decodeFields(reader, type, index, bytes.length);
  if (fields !== FIELDS[reply.type]) {
    throw new Malformed(`a reply "${reply.type}" has ${fields} fields where ${FIELDS[reply.type]} are expected`);
  }
  reader.end();
  return reply;
}

function decodeFields(reader: Reader, type: number, index: number, maxBytes: number): Reply {
  switch (type) {
    case TYPE.enqueued:
      return { type: "enqueued", index, firstId: reader.uint(), count: reader.uint() };
    case TYPE.dequeued: {
      const count = reader.array(0, maxBytes);
      const jobs: Job[] = [];
      for (let at = 0; at < count; at++) {
        reader.array(JOB_FIELDS, JOB_FIELDS);
        jobs.push({ id: reader.uint(), encoding: reader.uint(MAX_ENCODING), payload: reader.binary(maxBytes) });
      }
      return { type: "dequeued", index, jobs };
    }
    case TYPE.void:
      return { type: "void", index };
    case TYPE.opened:
      return {
        type: "opened",
        index,
        session: reader.uint(),
        lastNumber: reader.uint(),
        answeredUpTo: reader.uint(),
        expiresMs: reader.uint(),
      };
    case TYPE.closed:
      return { type: "closed", index };
    case TYPE.refused: {
      const code = reader.text(maxBytes);
      if (!isErrorCode(code)) throw new Malformed(`"${code}" is not an error code that this version knows`);
      return { type: "refused", index, code, message: reader.text(maxBytes) };
    }
    default:
      throw new Malformed(`${type} is not the number of a reply that this version knows`);
  }
}
