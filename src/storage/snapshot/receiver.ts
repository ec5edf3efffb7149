// Receives a snapshot from another node: chunks to parts, parts in order, each checked against the manifest that came with it.
import { crc32 } from "../../lib/crc32.ts";
import { refuseNewerSnapshot } from "../format-version.ts";
import type { Steps } from "../steps.ts";
import type { ReceivedPart, Storage } from "../types.ts";
import { beginSnapshot, completeSnapshot, directoryOf, queueRemoval, writePart } from "./files.ts";
import { decodeManifest, manifestCrc } from "./manifest.ts";
import { addComplete, snapshotAt, type SnapshotStore } from "./store.ts";

/** As Storage.storePart describes it. */
export function receivePart(
  store: SnapshotStore,
  received: ReceivedPart,
  done: Parameters<Storage["storePart"]>[1],
): void {
  const { failStop, soon, newerContent, formatVersion } = store.settings;
  // A snapshot that is complete here already needs no chunks: it is answered at once.
  const isHere = snapshotAt(store, received.meta.index) !== null;
  const next: Gathered = isHere ? { type: "part", part: received } : addChunk(store, received);
  if (next.type === "wanted") return soon(() => done(next.part, next.offset));
  refuseNewerSnapshot(next.part, newerContent, formatVersion);
  store.writeQueue((release) =>
    failStop.run(storePart(store, next.part), (nextPart) =>
      soon(() => {
        release();
        if (nextPart !== null) done(nextPart, 0);
      }),
    ),
  );
}

/** A whole part, or what is wanted next. */
type Gathered =
  | { readonly type: "part"; readonly part: ReceivedPart }
  | { readonly type: "wanted"; readonly part: number; readonly offset: number };

/** Chunks that a slow link brings are kept in memory, in order: only whole parts are checked and written. */
function addChunk(store: SnapshotStore, received: ReceivedPart): Gathered {
  const { meta, part, offset, bytes } = received;
  const length = decodeManifest(received.manifest, store.settings.formatVersion)?.parts[part]?.bytes ?? 0;
  // One that the manifest knows nothing of is checked as it is, as is a part that came at once.
  const isChunk = offset > 0 || (bytes.length > 0 && bytes.length < length);
  if (!isChunk) {
    store.chunks = null;
    return { type: "part", part: received };
  }
  const isKnown = store.chunks?.meta.index === meta.index && store.chunks.meta.term === meta.term;
  if (offset === 0) store.chunks = { meta, part, bytes: new Uint8Array(length), filled: 0 };
  else if (!isKnown) return { type: "wanted", part: 0, offset: 0 };
  const { chunks } = store;
  // Of the part before it this is a repetition, or its beginning was lost.
  if (chunks === null || chunks.part !== part) return { type: "wanted", part, offset: 0 };
  const { filled } = chunks;
  const fits = offset === filled && filled + bytes.length <= chunks.bytes.length && bytes.length > 0;
  if (!fits) return { type: "wanted", part, offset: filled };
  chunks.bytes.set(bytes, filled);
  chunks.filled += bytes.length;
  if (chunks.filled < chunks.bytes.length) return { type: "wanted", part, offset: chunks.filled };
  // Whose chunks come next is known: the storage may still write these.
  store.chunks = { meta, part, bytes: new Uint8Array(0), filled: 0 };
  return { type: "part", part: { ...received, offset: 0, bytes: chunks.bytes } };
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

/** Drops what an earlier sender left, and begins again if the manifest is what it should be. False: there is no space for it. */
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
