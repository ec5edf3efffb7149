// How fast are the parts by themselves? The codec, the log with its sync, and the queue's apply, each without the others.
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { QUEUE, STORAGE, WIRE } from "../../src/config.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { encodeCommand, encodeOpen, encodeVersion } from "../../src/queue/commands.ts";
import { apply, createQueue, STATE_MACHINE_VERSION } from "../../src/queue/queue.ts";
import { type Draft, encodeEntry, type Entry, type EntryKind, fieldsOf } from "../../src/raft/entry.ts";
import type { Incarnation, NodeId } from "../../src/raft/types.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { NEWER_CONTENT } from "../../src/server/snapshots.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/types.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { frameBody } from "../../src/wire/frame.ts";
import { type Figure, measure, repeated } from "./measure.ts";

const PAYLOAD = new Uint8Array(16).fill(0x31);
const ENQUEUE = encodeCommand({ type: "enqueue", queue: "default", jobs: [{ encoding: 1, payload: PAYLOAD }] });
const DEQUEUE = encodeCommand({ type: "dequeue", queues: ["default"], max: 1, maxBytes: 1024, leaseMs: 0, waitMs: 0 });
/** As many jobs as one request may hold. */
const JOBS = QUEUE.maxJobsPerCommand;
const ENQUEUE_MANY = encodeCommand({
  type: "enqueue",
  queue: "default",
  jobs: Array.from({ length: JOBS }, () => ({ encoding: 1, payload: PAYLOAD })),
});
const DEQUEUE_MANY = encodeCommand({
  type: "dequeue",
  queues: ["default"],
  max: JOBS,
  maxBytes: WIRE.maxPayloadBytes,
  leaseMs: 0,
  waitMs: 0,
});
const SESSION = 1;
const BATCH = 64;
const BATCHES = 500;

function entry(index: number, kind: EntryKind, number: number, body: Uint8Array): Entry {
  const draft: Draft = {
    kind,
    session: kind === "command" ? SESSION : 0,
    number,
    acknowledgedThrough: Math.max(0, number - 1),
    body,
  };
  return encodeEntry({ index, term: 1, time: index, wall: 0 }, draft);
}

/** What the disk gives, to hold the log against: one block written and synced, one after the other. */
function syncs(directory: string): readonly [number, number] {
  const file = openSync(join(directory, "ceiling"), "w");
  const block = new Uint8Array(STORAGE.blockBytes);
  writeSync(file, new Uint8Array(BATCHES * block.length));
  fdatasyncSync(file);
  const began = performance.now();
  for (let i = 0; i < BATCHES; i++) {
    writeSync(file, block, 0, block.length, i * block.length);
    fdatasyncSync(file);
  }
  const seconds = (performance.now() - began) / 1_000;
  closeSync(file);
  return [BATCHES, seconds];
}

function open(directory: string): Promise<Storage> {
  const random = seededRandom(1);
  const clock = createRealClock();
  return new Promise((done, fail) => {
    openStorage(
      createRealDisk(directory),
      {
        nodeId: "n1" as NodeId,
        newIncarnation: "0123456789abcdef" as Incarnation,
        drawSalt: () => random.below(2 ** 32),
        onFailure: fail,
        after: (ms, callback) => clock.after(ms, callback),
        segmentBytes: STORAGE.segmentBytes,
        newerContent: NEWER_CONTENT,
        reservedBytes: () => 0,
        onSpaceChanged: () => undefined,
      },
      (opened) => (opened.ok ? done(opened.storage) : fail(opened.error)),
    );
  });
}

/** Batches of entries, each written and synced before the next: what one node does at its fastest. */
async function appends(directory: string): Promise<readonly [number, number]> {
  const storage = await open(directory);
  let index = 0;
  const began = performance.now();
  for (let seq = 1; seq <= BATCHES; seq++) {
    const entries = Array.from({ length: BATCH }, () => entry(++index, "command", index, ENQUEUE));
    await new Promise<void>((done) =>
      storage.persist({ seq, hardState: null, entries, snapshot: null, sendAfter: [] }, () => done()),
    );
  }
  const seconds = (performance.now() - began) / 1_000;
  await new Promise<void>((done) => storage.close(done));
  return [BATCHES * BATCH, seconds];
}

/** Two commands, in turn. */
function applies(enqueue: Uint8Array, dequeue: Uint8Array): readonly [number, number] {
  const queue = createQueue();
  apply(queue, fieldsOf(entry(1, "version", 0, encodeVersion({ version: STATE_MACHINE_VERSION, limits: QUEUE }))));
  apply(
    queue,
    fieldsOf(
      entry(2, "open", 0, encodeOpen({ clientId: "c1", nonce: new Uint8Array(16), generated: true, resume: false })),
    ),
  );
  let index = 2;
  let number = 0;
  return repeated(() => {
    const body = number % 2 === 0 ? enqueue : dequeue;
    apply(queue, fieldsOf(entry(++index, "command", ++number, body)));
  });
}

export async function benchParts(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-bench-"));
  const request = {
    type: "request",
    frameId: 1,
    group: 0,
    session: 12,
    number: 345,
    acknowledgedThrough: 344,
    command: ENQUEUE,
  } as const;
  const body = frameBody(encodeMessage(request));
  const entries = Array.from({ length: BATCH }, (_, i) => entry(i + 1, "command", i + 1, ENQUEUE));
  const append = { type: "AppendEntries", term: 1, prevLogIndex: 0, prevLogTerm: 0, leaderCommit: 0, entries } as const;
  const peerBody = frameBody(encodeMessage({ type: "peer", sequence: 1, message: append }));
  let round = 0;
  try {
    return [
      await measure("codec: requests encoded", "requests", () => repeated(() => encodeMessage(request))),
      await measure("codec: requests decoded", "requests", () => repeated(() => decodeMessage(body))),
      await measure(`codec: AppendEntries of ${BATCH} decoded`, "messages", () =>
        repeated(() => decodeMessage(peerBody)),
      ),
      await measure("queue: entries made and applied", "entries", () => applies(ENQUEUE, DEQUEUE)),
      await measure(`queue: jobs, ${JOBS.toLocaleString("en")} to an entry`, "jobs", () => {
        const [entries, seconds] = applies(ENQUEUE_MANY, DEQUEUE_MANY);
        return [(entries / 2) * JOBS, seconds];
      }),
      await measure("disk: 4 KiB written and synced", "syncs", () => syncs(directory)),
      await measure(`log: entries, ${BATCH} to a sync`, "entries", () => appends(join(directory, `log-${++round}`))),
    ];
  } finally {
    rmSync(directory, { recursive: true });
  }
}
