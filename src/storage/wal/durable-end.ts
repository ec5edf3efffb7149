// Records in meta the number of the newest durable frame, so that recovery notices when frames at the end of the log are missing: after a
// pause between persists, once a second while there is none, and with every change of meta.
import { STORAGE } from "../../config.ts";
import type { FailStop } from "../fail-stop.ts";
import type { Meta, MetaFile } from "../meta.ts";
import { createSerialQueue, type SerialQueue } from "../serial-queue.ts";
import type { Steps } from "../steps.ts";
import type { OpenStorage } from "../types.ts";

export interface DurableEndPorts {
  readonly after: OpenStorage["after"];
  readonly failStop: FailStop;
  readonly logQueue: SerialQueue;
  readonly meta: MetaFile;
  /** What meta is to record as the durable frame now (LogWriter.lastContentFrame). */
  readonly durableFrame: () => number;
  /** Writes an empty frame behind the last one, so that the log alone proves that one durable. */
  readonly proveLastFrame: () => Steps;
}

export interface DurableEnd {
  readonly ports: DurableEndPorts;
  /** Not the log's queue: what is acknowledged there must not wait for the record of what was acknowledged before. */
  readonly metaQueue: SerialQueue;
  cancelQuietTimer: () => void;
  cancelPeriodicTimer: (() => void) | null;
  /** One record at a time, however slow the disk: a term that waits for its turn comes before the next one. */
  recording: "no" | "yes" | "yes, and once more";
}

export function createDurableEnd(ports: DurableEndPorts): DurableEnd {
  return {
    ports,
    metaQueue: createSerialQueue(),
    cancelQuietTimer: () => undefined,
    cancelPeriodicTimer: null,
    recording: "no",
  };
}

/** A persist begins: the time of quiet starts again after it. */
export function persistBegan(end: DurableEnd): void {
  end.cancelQuietTimer();
}

/** What it wrote will be recorded. */
export function persistEnded(end: DurableEnd): void {
  const { after } = end.ports;
  end.cancelQuietTimer();
  end.cancelQuietTimer = after(STORAGE.quietMs, () => closeLogEnd(end));
  end.cancelPeriodicTimer ??= after(STORAGE.durableFrameMs, () => {
    end.cancelPeriodicTimer = null;
    record(end);
  });
}

/** Records all that is durable now, and nothing later. Done when nothing of meta is being written any more. */
export function recordLast(end: DurableEnd, done: () => void): void {
  cancelRecords(end);
  updateMeta(end, null, done);
}

/** Nothing is recorded any more, unless asked for. */
export function cancelRecords(end: DurableEnd): void {
  end.cancelQuietTimer();
  end.cancelPeriodicTimer?.();
}

/**
 * Meta with this change, and with the newest frame that is durable, is durable when done. null: only the frame, if meta does not name
 * it yet.
 */
export function updateMeta({ ports, metaQueue }: DurableEnd, change: Partial<Meta> | null, done: () => void): void {
  const { failStop, meta } = ports;
  metaQueue((release) => {
    if (!failStop.isOpen()) return;
    const finish = (): void => {
      release();
      done();
    };
    const durableFrame = ports.durableFrame();
    if (change === null && durableFrame === meta.current().durableFrame) finish();
    else failStop.run(meta.update({ ...change, durableFrame }), finish);
  });
}

function record(end: DurableEnd): void {
  if (end.recording !== "no") {
    end.recording = "yes, and once more";
    return;
  }
  end.recording = "yes";
  updateMeta(end, null, () => {
    const again = end.recording !== "yes";
    end.recording = "no";
    if (again) record(end);
  });
}

function closeLogEnd(end: DurableEnd): void {
  const { logQueue, failStop, proveLastFrame } = end.ports;
  logQueue((release) => {
    failStop.run(proveLastFrame(), () => {
      release();
      record(end);
    });
  });
}
