// Receives a snapshot from another node: part by part, in order, each checked against the manifest that came with it.
import { crc32 } from "../../lib/crc32.ts";
import { decodeManifest, manifestCrc } from "./manifest.ts";
import { beginSnapshot, completeSnapshot, directoryOf, queueRemoval, writePart } from "./files.ts";
import { addComplete, type SnapshotStore } from "./store.ts";
import type { Steps } from "../steps.ts";
import type { ReceivedPart } from "../types.ts";

/**
 * Stores one part and answers with the number of the next one wanted; of all parts, once they are complete. Without the space for it
 * nothing is kept and nothing answered: the sender comes again after a while.
 */
export function receivePart(store: SnapshotStore, part: ReceivedPart, done: (nextPart: number) => void): void {
  const { failStop, soon } = store.settings;
  store.writeQueue((release) =>
    failStop.run(storePart(store, part), (nextPart) =>
      soon(() => {
        release();
        if (nextPart !== null) done(nextPart);
      }),
    ),
  );
}

/** The number of the part that is wanted next; null: there is no space. */
function* storePart(store: SnapshotStore, part: ReceivedPart): Steps<number | null> {
  if (isComplete(store, part)) return part.parts;
  if (part.part === 0 && !(yield* begin(store, part))) return null;
  return yield* accept(store, part);
}

/** The snapshot of this part is complete here already. */
function isComplete({ complete, current }: SnapshotStore, { meta, manifest }: ReceivedPart): boolean {
  const stored = complete.get(meta.index);
  if (stored === undefined || stored.manifest.meta.term !== meta.term) return false;
  return stored === current || stored.crc === manifestCrc(manifest);
}

/** Drops what an earlier sender left, and begins anew if the manifest is what it should be. False: there is no space for it. */
function* begin(store: SnapshotStore, part: ReceivedPart): Steps<boolean> {
  const { writer, settings } = store;
  const directory = directoryOf(part.meta);
  const manifest = decodeManifest(part.manifest, settings.formatVersion);
  const abandoned = store.receiving;
  store.receiving = null;
  if (abandoned !== null) yield* queueRemoval(writer, abandoned.directory);
  if (manifest === null || directoryOf(manifest.meta) !== directory || manifest.parts.length !== part.parts)
    return true;
  store.complete.delete(part.meta.index);
  const bytes = manifest.parts.reduce((sum, { bytes: length }) => sum + length, part.manifest.length);
  if (!(yield* beginSnapshot(writer, directory, bytes + settings.neededByLog()))) return false;
  store.receiving = { directory, manifest, manifestBytes: new Uint8Array(part.manifest), nextPart: 0 };
  return true;
}

/** The number of the part that is wanted next; null: there is no space. */
function* accept(store: SnapshotStore, part: ReceivedPart): Steps<number | null> {
  const { writer, receiving } = store;
  if (receiving === null || receiving.directory !== directoryOf(part.meta)) return 0;
  const { directory, manifest, manifestBytes } = receiving;
  const expected = manifest.parts[receiving.nextPart];
  const matches = expected?.bytes === part.bytes.length && expected.crc === crc32(part.bytes);
  if (part.part !== receiving.nextPart || !matches) return receiving.nextPart;
  if (!(yield* writePart(writer, directory, part.part, part.bytes))) {
    store.receiving = null;
    return null;
  }
  receiving.nextPart++;
  if (receiving.nextPart < manifest.parts.length) return receiving.nextPart;
  store.receiving = null;
  const snapshot = yield* completeSnapshot(writer, directory, manifest, manifestBytes);
  if (snapshot === null) return null;
  addComplete(store, snapshot);
  return receiving.nextPart;
}
