// How does a snapshot from another node come in? Part by part, in order, each checked against the manifest that came with it.
import { crc32 } from "../lib/crc32.ts";
import { decodeManifest, type Manifest } from "./manifest.ts";
import type { SerialQueue } from "./serial-queue.ts";
import { type CompleteSnapshot, directoryOf, type SnapshotWriter } from "./snapshot-files.ts";
import type { ReceivedPart } from "./types.ts";

export interface ReceiverSettings {
  readonly writer: SnapshotWriter;
  /** Shared with the snapshots of one's own state: both may be of the same index, and then have the same directory. */
  readonly writeQueue: SerialQueue;
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
  formatVersion,
  soon,
  neededByLog,
  isComplete,
  onBegin,
  onComplete,
}: ReceiverSettings): Receiver {
  let receiving: Receiving | null = null;

  /** Drops what an earlier sender left, and begins anew if the manifest is what it should be. */
  const begin = (part: ReceivedPart, then: () => void, noSpace: () => void): void => {
    const directory = directoryOf(part.meta);
    const manifest = decodeManifest(part.manifest, formatVersion);
    const abandoned = receiving;
    receiving = null;
    const open = (): void => {
      if (manifest === null || directoryOf(manifest.meta) !== directory || manifest.parts.length !== part.parts)
        return then();
      onBegin(part);
      const bytes = manifest.parts.reduce((sum, { bytes: length }) => sum + length, part.manifest.length);
      const begun = (): void => {
        receiving = { directory, manifest, manifestBytes: new Uint8Array(part.manifest), nextPart: 0 };
        then();
      };
      writer.begin(directory, bytes + neededByLog(), begun, noSpace);
    };
    if (abandoned === null) open();
    else writer.remove(abandoned.directory, open);
  };

  const accept = (part: ReceivedPart, answer: (nextPart: number) => void, noSpace: () => void): void => {
    const state = receiving;
    if (state === null || state.directory !== directoryOf(part.meta)) return answer(0);
    const expected = state.manifest.parts[state.nextPart];
    const matches = expected?.bytes === part.bytes.length && expected.crc === crc32(part.bytes);
    if (part.part !== state.nextPart || !matches) return answer(state.nextPart);
    const drop = (): void => {
      receiving = null;
      noSpace();
    };
    const complete = (snapshot: CompleteSnapshot): void => {
      onComplete(snapshot);
      answer(state.nextPart);
    };
    const written = (): void => {
      state.nextPart++;
      if (state.nextPart < state.manifest.parts.length) return answer(state.nextPart);
      receiving = null;
      writer.complete(state.directory, state.manifest, state.manifestBytes, complete, drop);
    };
    writer.part(state.directory, part.part, part.bytes, written, drop);
  };

  return {
    store: (part, done) => {
      writeQueue((release) => {
        const answer = (nextPart: number): void =>
          soon(() => {
            release();
            done(nextPart);
          });
        const noSpace = (): void => soon(release);
        if (isComplete(part)) answer(part.parts);
        else if (part.part === 0) begin(part, () => accept(part, answer, noSpace), noSpace);
        else accept(part, answer, noSpace);
      });
    },
    forget: (directory) => {
      if (receiving?.directory === directory) receiving = null;
    },
  };
}
