// How do the chunks that a slow link brings become a part of a snapshot? In memory and in order: only whole parts are judged and written.
import type { SnapshotMeta } from "../../raft/types.ts";
import { decodeManifest } from "./manifest.ts";
import type { ReceivedPart } from "../types.ts";

export interface Chunks {
  /** A whole part, or what is to come next. */
  add(
    received: ReceivedPart,
  ):
    | { readonly type: "part"; readonly part: ReceivedPart }
    | { readonly type: "wait"; readonly nextPart: number; readonly nextOffset: number };
}

interface Gathering {
  readonly meta: SnapshotMeta;
  readonly part: number;
  readonly bytes: Uint8Array;
  filled: number;
}

export function createChunks(formatVersion: number): Chunks {
  /** The last part of which a chunk came. */
  let gathering: Gathering | null = null;

  return {
    add: (received) => {
      const { meta, part, offset, bytes } = received;
      const length = decodeManifest(received.manifest, formatVersion)?.parts[part]?.bytes ?? 0;
      // One that the manifest knows nothing of is judged as it is, as is a part that came at once.
      const isChunk = offset > 0 || (bytes.length > 0 && bytes.length < length);
      if (!isChunk) {
        gathering = null;
        return { type: "part", part: received };
      }
      const isKnown = gathering?.meta.index === meta.index && gathering.meta.term === meta.term;
      if (offset === 0) gathering = { meta, part, bytes: new Uint8Array(length), filled: 0 };
      else if (!isKnown) return { type: "wait", nextPart: 0, nextOffset: 0 };
      // Of the part before it this is a repetition, or its beginning was lost.
      if (gathering === null || gathering.part !== part) return { type: "wait", nextPart: part, nextOffset: 0 };
      const { filled } = gathering;
      const fits = offset === filled && filled + bytes.length <= gathering.bytes.length && bytes.length > 0;
      if (!fits) return { type: "wait", nextPart: part, nextOffset: filled };
      gathering.bytes.set(bytes, filled);
      gathering.filled += bytes.length;
      if (gathering.filled < gathering.bytes.length) {
        return { type: "wait", nextPart: part, nextOffset: gathering.filled };
      }
      const whole = { ...received, offset: 0, bytes: gathering.bytes };
      // Whose chunks come next is known: the storage may still write these.
      gathering = { meta, part, bytes: new Uint8Array(0), filled: 0 };
      return { type: "part", part: whole };
    },
  };
}
