// How does a snapshot from another node come in? Part by part, in order, each checked against the manifest that came with it.
import { crc32 } from "../../lib/crc32.ts";
import type { FailStop } from "../fail-stop.ts";
import { decodeManifest, type Manifest } from "./manifest.ts";
import type { SerialQueue } from "../serial-queue.ts";
import { type CompleteSnapshot, directoryOf, type SnapshotWriter } from "./files.ts";
import type { Steps } from "../steps.ts";
import type { ReceivedPart } from "../types.ts";

export interface ReceiverSettings {
  readonly writer: SnapshotWriter;
  /** Shared with the snapshots of one's own state: both may be of the same index, and then have the same directory. */
  readonly writeQueue: SerialQueue;
  /** Runs steps, unless something fails. */
  readonly run: FailStop["run"];
  readonly formatVersion: number;
  /** Runs `callback` from a later event. */
  readonly soon: (callback: () => void) => void;
  readonly neededByLog: () => number;
  /** The snapshot of this part is complete already. */
  readonly isComplete: (part: ReceivedPart) => boolean;
  /** The files of this snapshot are about to be written anew. */
  readonly onBegin: (part: ReceivedPart) => void;
  readonly onComplete: (snapshot: CompleteSnapshot) => void;
}

interface Receiving {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly manifestBytes: Uint8Array;
  nextPart: number;
}

export interface Receiver {
  /**
   * Stores one part and answers with the number of the next one wanted; of all parts, once they are complete. Without the space
   * for it nothing is kept and nothing answered: the sender comes again after a while.
   */
  readonly store: (part: ReceivedPart, done: (nextPart: number) => void) => void;
  /** Inside the write queue: what was received of this snapshot is about to be overwritten. */
  readonly forget: (directory: string) => void;
}

export function createReceiver({
  writer,
  writeQueue,
  run,
  formatVersion,
  soon,
  neededByLog,
  isComplete,
  onBegin,
  onComplete,
}: ReceiverSettings): Receiver {
  let receiving: Receiving | null = null;

  /** Drops what an earlier sender left, and begins anew if the manifest is what it should be. False: there is no space for it. */
  function* begin(part: ReceivedPart): Steps<boolean> {
    const directory = directoryOf(part.meta);
    const manifest = decodeManifest(part.manifest, formatVersion);
    const abandoned = receiving;
    receiving = null;
    if (abandoned !== null) yield* writer.remove(abandoned.directory);
    if (manifest === null || directoryOf(manifest.meta) !== directory || manifest.parts.length !== part.parts)
      return true;
    onBegin(part);
    const bytes = manifest.parts.reduce((sum, { bytes: length }) => sum + length, part.manifest.length);
    if (!(yield* writer.begin(directory, bytes + neededByLog()))) return false;
    receiving = { directory, manifest, manifestBytes: new Uint8Array(part.manifest), nextPart: 0 };
    return true;
  }

  /** The number of the part that is wanted next; null: there is no space. */
  function* accept(part: ReceivedPart): Steps<number | null> {
    const state = receiving;
    if (state === null || state.directory !== directoryOf(part.meta)) return 0;
    const { directory, manifest, manifestBytes } = state;
    const expected = manifest.parts[state.nextPart];
    const matches = expected?.bytes === part.bytes.length && expected.crc === crc32(part.bytes);
    if (part.part !== state.nextPart || !matches) return state.nextPart;
    if (!(yield* writer.part(directory, part.part, part.bytes))) {
      receiving = null;
      return null;
    }
    state.nextPart++;
    if (state.nextPart < manifest.parts.length) return state.nextPart;
    receiving = null;
    const snapshot = yield* writer.complete(directory, manifest, manifestBytes);
    if (snapshot === null) return null;
    onComplete(snapshot);
    return state.nextPart;
  }

  function* store(part: ReceivedPart): Steps<number | null> {
    if (isComplete(part)) return part.parts;
    if (part.part === 0 && !(yield* begin(part))) return null;
    return yield* accept(part);
  }

  return {
    store: (part, done) => {
      writeQueue((release) =>
        run(store(part), (nextPart) =>
          soon(() => {
            release();
            if (nextPart !== null) done(nextPart);
          }),
        ),
      );
    },
    forget: (directory) => {
      if (receiving?.directory === directory) receiving = null;
    },
  };
}
