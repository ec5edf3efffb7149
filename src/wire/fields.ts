// How do the values that several messages share look in bytes? Ids, members, addresses, failures, lists.
import { type Applied, ERRORS, type Failure, isErrorCode } from "../lib/errors.ts";
import { Malformed, type Reader, type Writer } from "../lib/msgpack.ts";
import { MAX_U48 } from "../lib/u48.ts";
import type { Checkpoint } from "../raft/messages.ts";
import {
  type ClusterId,
  type Incarnation,
  isClusterId,
  isIncarnation,
  isNodeId,
  type Member,
  type NodeId,
} from "../raft/types.ts";
import { isAddress, MAX_ADDRESS_BYTES } from "./address.ts";

/** Checksums and digests. */
export const MAX_U32 = 0xffff_ffff;
/** Members, founders, features, ids: far more than a cluster can have. */
export const MAX_LIST = 64;

const MAX_ID_BYTES = 32;
const MAX_NAME_BYTES = 64;
const MAX_MESSAGE_BYTES = 4096;

export function readU48(reader: Reader): number {
  return reader.uint(MAX_U48);
}

/** A place that a later version may use. */
export function readReserved(reader: Reader): void {
  if (!reader.nil()) throw new Malformed("a reserved place is not nil");
}

export function readName(reader: Reader): string {
  return reader.text(MAX_NAME_BYTES);
}

/** One of a closed set of names. */
export function readOneOf<T extends string>(reader: Reader, names: readonly T[], what: string): T {
  const text = readName(reader);
  const found = names.find((name) => name === text);
  if (found === undefined) throw new Malformed(`"${text}" is no ${what}`);
  return found;
}

export function writeList<T>(writer: Writer, values: readonly T[], write: (value: T) => void): void {
  writer.array(values.length);
  for (const value of values) write(value);
}

export function writeTexts(writer: Writer, texts: readonly string[]): void {
  writeList(writer, texts, (text) => writer.text(text));
}

export function readList<T>(reader: Reader, max: number, read: () => T): readonly T[] {
  const length = reader.array(0, max);
  const values: T[] = [];
  for (let count = 0; count < length; count++) values.push(read());
  return values;
}

export function writeOptionalText(writer: Writer, value: string | null): void {
  if (value === null) writer.nil();
  else writer.text(value);
}

export function readNodeId(reader: Reader): NodeId {
  const text = reader.text(MAX_ID_BYTES);
  if (!isNodeId(text)) throw new Malformed(`"${text}" is no node id`);
  return text;
}

export function readIncarnation(reader: Reader): Incarnation {
  const text = reader.text(MAX_ID_BYTES);
  if (!isIncarnation(text)) throw new Malformed(`"${text}" is no incarnation`);
  return text;
}

export function readClusterId(reader: Reader): ClusterId | null {
  if (reader.nil()) return null;
  const text = reader.text(MAX_ID_BYTES);
  if (!isClusterId(text)) throw new Malformed(`"${text}" is no cluster id`);
  return text;
}

export function readAddress(reader: Reader): string {
  const text = reader.text(MAX_ADDRESS_BYTES);
  if (!isAddress(text)) throw new Malformed(`"${text}" is no address`);
  return text;
}

export function readOptionalAddress(reader: Reader): string | null {
  return reader.nil() ? null : readAddress(reader);
}

export function writeMember(writer: Writer, member: Member): void {
  writer.array(3).text(member.id).text(member.incarnation).text(member.address);
}

export function readMember(reader: Reader): Member {
  reader.array(3, 3);
  return { id: readNodeId(reader), incarnation: readIncarnation(reader), address: readAddress(reader) };
}

export function writeCheckpoint(writer: Writer, { index, digest }: Checkpoint): Writer {
  return writer.array(2).uint(index).uint(digest);
}

export function readCheckpoint(reader: Reader): Checkpoint {
  reader.array(2, 2);
  return { index: readU48(reader), digest: reader.uint(MAX_U32) };
}

const APPLIED = ["no", "yes", "unknown"] as const satisfies readonly Applied[];

/** The class travels along so that a person reading bytes, or a client in another language, needs no table of codes. */
export function writeFailure(writer: Writer, failed: Failure): void {
  writer
    .array(7)
    .text(failed.code)
    .text(ERRORS[failed.code].class)
    .text(failed.applied)
    .text(shortened(failed.message));
  if (failed.retryAfterMs === undefined) writer.nil();
  else writer.uint(failed.retryAfterMs);
  writeOptionalText(writer, failed.leader ?? null);
  writer.nil();
}

export function readFailure(reader: Reader): Failure {
  reader.array(7, 7);
  const code = readName(reader);
  if (!isErrorCode(code)) throw new Malformed(`"${code}" is no error code`);
  if (readName(reader) !== ERRORS[code].class) throw new Malformed(`${code} is of class ${ERRORS[code].class}`);
  const applied = readOneOf(reader, APPLIED, "answer to `applied`");
  const message = reader.text(MAX_MESSAGE_BYTES);
  const retryAfterMs = reader.nil() ? null : readU48(reader);
  const leader = readOptionalAddress(reader);
  readReserved(reader);
  return {
    code,
    applied,
    message,
    ...(retryAfterMs === null ? {} : { retryAfterMs }),
    ...(leader === null ? {} : { leader }),
  };
}

/** A message quotes what it complains about; the quote may be long. Four bytes are the most a character needs. */
function shortened(message: string): string {
  const most = Math.floor(MAX_MESSAGE_BYTES / 4);
  return message.length <= most ? message : `${message.slice(0, most - 1).toWellFormed()}…`;
}
