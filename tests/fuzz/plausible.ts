// What would an attacker send who knows how nodes work? Whole and in itself right, or broken under right checksums.
import { QUEUE, STORAGE } from "../../src/config.ts";
import { crc32 } from "../../src/lib/crc32.ts";
import type { Random } from "../../src/lib/random.ts";
import { apply } from "../../src/queue/queue.ts";
import { encodeEntry, type EntryKind, fieldsOf } from "../../src/raft/entry.ts";
import type { SnapshotMeta } from "../../src/raft/types.ts";
import { bootstrapEntry } from "../../src/server/bootstrap-rules.ts";
import { encodeManifest } from "../../src/storage/snapshot/manifest.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";
import { queueWith } from "../kit/queue-log.ts";
import { mutate } from "./mutate.ts";

import { HOSTILE, type Scene } from "./scenes.ts";
import { pick } from "../kit/pick.ts";
import { smallPartsOf } from "./queue-targets.ts";

/** What another founder of the same group may send; the record of its cluster may be right, or anything under a right checksum. */
export function founderWord(choices: Random, scene: Scene): PeerMessage {
  const set = ["127.0.0.1:3000", HOSTILE.address];
  const right = bootstrapEntry([HOSTILE, ...scene.met.values()]);
  const { body } = fieldsOf(right);
  const kind = pick<EntryKind>(choices, ["config", "config", "noop"]);
  const draft = { kind, session: 0, number: 0, acknowledgedThrough: 0 };
  const stamp = { index: choices.between(1, 2), term: choices.between(0, 2), time: 0, wall: choices.below(2) };
  const forged = encodeEntry(stamp, { ...draft, body: choices.chance(70) ? mutate(body, choices) : body });
  const record = choices.chance(20) ? null : choices.chance(20) ? right.record : forged.record;
  const word = { expect: choices.chance(90) ? 2 : 3, set, fresh: choices.chance(50), record };
  return { type: pick(choices, ["bootstrap", "bootstrapAnswer"]), ...word };
}

/** A snapshot in one part, which a node installs when it comes from its leader: it is whole, whatever is in it. */
export function wholeSnapshot(choices: Random, scene: Scene, term: number, lastIndex: number): PeerMessage {
  const index = lastIndex + choices.between(1, 4);
  const queue = queueWith(QUEUE);
  const blank = {
    term: 1,
    kind: "noop",
    flags: 0,
    time: 1,
    wall: 0,
    session: 0,
    number: 0,
    acknowledgedThrough: 0,
  } as const;
  const applied = choices.chance(90) ? index : index + 1;
  for (let at = 1; at <= applied; at++) apply(queue, { index: at, ...blank, body: new Uint8Array(0) });
  const [state = new Uint8Array(0)] = smallPartsOf(queue);
  const bytes = choices.chance(50) ? mutate(state, choices) : state;
  const learners = [...scene.met.values()].map((member) => ({ ...member, replaces: null }));
  const configuration = { voters: [HOSTILE], outgoing: [], learners, removed: [] };
  const meta: SnapshotMeta = { index, term, configuration, configurationIndex: choices.below(index), time: 1 };
  const manifest = encodeManifest({ meta, parts: [{ bytes: bytes.length, crc: crc32(bytes) }] }, STORAGE.formatVersion);
  const sentManifest = choices.chance(90) ? manifest : mutate(manifest, choices);
  return {
    type: "InstallSnapshot",
    term: term + choices.below(2),
    meta,
    manifest: sentManifest,
    part: 0,
    parts: 1,
    offset: 0,
    bytes,
  };
}
