// What shows that the end of the log was durable, when its last frames are lost together? Their number, in meta: another file. It is
// written after a while without a persist, once a second while there is no such while, and with every other change of meta.
import { STORAGE } from "../../config.ts";
import type { FailStop } from "../fail-stop.ts";
import type { LogWriter } from "./writer.ts";
import type { Meta, MetaFile } from "../meta.ts";
import { createSerialQueue, type SerialQueue } from "../serial-queue.ts";
import type { OpenStorage } from "../types.ts";

export interface Proofs {
  /** Meta with this change, and with the newest frame that is durable, is durable when done. */
  readonly update: (change: Partial<Meta>, done: () => void) => void;
  /** A persist begins: there is no quiet. */
  readonly stir: () => void;
  /** A persist has ended: what it wrote will be proven. */
  readonly arm: () => void;
  /** Proves all that is durable now, and nothing later. Done when nothing of meta is being written any more. */
  readonly finish: (done: () => void) => void;
  /** Nothing is proven any more, unless asked for. */
  readonly cancel: () => void;
}

interface Writers {
  readonly settings: OpenStorage;
  readonly failStop: FailStop;
  readonly logQueue: SerialQueue;
  readonly log: Pick<LogWriter, "provenFrame" | "appendClosing">;
  readonly meta: MetaFile;
}

export function createProofs({ settings, failStop, logQueue, log, meta }: Writers): Proofs {
  // Not the log's queue: what is acknowledged there must not wait for a proof of what was acknowledged before.
  const metaQueue = createSerialQueue();
  let cancelQuiet = (): void => undefined;
  let cancelRegular: (() => void) | null = null;
  let recording: "no" | "yes" | "yes, and once more" = "no";

  /** `change` null: only the frame, if meta does not name it yet. */
  const write = (change: Partial<Meta> | null, done: () => void): void =>
    metaQueue((release) => {
      if (!failStop.isOpen()) return;
      const end = (): void => {
        release();
        done();
      };
      const provenFrame = log.provenFrame();
      if (change === null && provenFrame === meta.current().provenFrame) end();
      else failStop.run(meta.update({ ...change, provenFrame }), end);
    });
  /** One at a time, however slow the disk: a term that waits for its turn comes before the next one. */
  const record = (): void => {
    if (recording !== "no") {
      recording = "yes, and once more";
      return;
    }
    recording = "yes";
    write(null, () => {
      const again = recording !== "yes";
      recording = "no";
      if (again) record();
    });
  };
  /** An empty frame proves the one before it by the log alone. */
  const closeLog = (): void =>
    logQueue((release) => {
      failStop.run(log.appendClosing(), () => {
        release();
        record();
      });
    });

  const cancel = (): void => {
    cancelQuiet();
    cancelRegular?.();
  };

  return {
    update: write,
    stir: () => cancelQuiet(),
    arm: () => {
      cancelQuiet();
      cancelQuiet = settings.after(STORAGE.quietMs, closeLog);
      cancelRegular ??= settings.after(STORAGE.proofMs, () => {
        cancelRegular = null;
        record();
      });
    },
    finish: (done) => {
      cancel();
      write(null, done);
    },
    cancel,
  };
}
