// When does meta name the newest frame that is durable, on a disk where writing meta takes longer than writing the log?
import { expect, test } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import { createFailStop } from "../../src/storage/fail-stop.ts";
import type { Meta, MetaFile } from "../../src/storage/meta.ts";
import {
  createDurableEnd,
  type DurableEnd,
  persistBegan,
  persistEnded,
  updateMeta,
} from "../../src/storage/wal/durable-end.ts";
import { createSerialQueue } from "../../src/storage/serial-queue.ts";
import { createScheduler, pass, type Scheduler } from "../kit/scheduler.ts";
import { hardState, INCARNATION, N1 } from "../kit/test-storage.ts";

interface Slow {
  readonly durableEnd: DurableEnd;
  readonly scheduler: Scheduler;
  /** A persist that ends now. */
  readonly persisted: () => void;
  /** What meta was asked to become: durable frame and term. */
  readonly begun: string[];
  /** Ends the write of meta that is under way. */
  readonly end: () => void;
}

function slowMeta(): Slow {
  const scheduler = createScheduler();
  let newest = 1;
  let current: Meta = {
    nodeId: N1,
    incarnation: INCARNATION,
    clusterId: null,
    hardState: hardState(1),
    segmentAtOpen: 1,
    oldestSegment: 1,
    durableFrame: 1,
  };
  const begun: string[] = [];
  let underWay: (() => void) | null = null;
  const meta: MetaFile = {
    current: () => current,
    *update(change: Partial<Meta>) {
      if (underWay !== null) throw new Error("two writes of meta at once");
      const next = { ...current, ...change };
      begun.push(`${next.durableFrame} in term ${next.hardState.currentTerm}`);
      yield (done) => {
        underWay = () => done(null);
      };
      current = next;
    },
    close: () => undefined,
  };
  const failStop = createFailStop((error) => {
    throw error;
  });
  const durableEnd = createDurableEnd({
    after: (ms, run) => scheduler.after(ms, run),
    failStop,
    logQueue: createSerialQueue(),
    meta,
    durableFrame: () => newest,
    *proveLastFrame() {
      yield (done) => done(null);
    },
  });
  return {
    durableEnd,
    scheduler,
    begun,
    persisted: () => {
      newest++;
      persistBegan(durableEnd);
      persistEnded(durableEnd);
    },
    end: () => {
      const finish = underWay;
      if (finish === null) throw new Error("no write of meta is under way");
      underWay = null;
      finish();
    },
  };
}

test("what becomes durable while meta is being written is named by one more write, however long the first one takes", () => {
  const slow = slowMeta();
  slow.persisted();
  pass(slow.scheduler, STORAGE.quietMs + 1);
  expect(slow.begun).toEqual(["2 in term 1"]);
  for (let more = 0; more < 3; more++) {
    slow.persisted();
    pass(slow.scheduler, 2 * STORAGE.durableFrameMs);
  }
  expect(slow.begun).toEqual(["2 in term 1"]);
  slow.end();
  expect(slow.begun).toEqual(["2 in term 1", "5 in term 1"]);
  slow.end();
  pass(slow.scheduler, 2 * STORAGE.durableFrameMs);
  expect(slow.begun).toEqual(["2 in term 1", "5 in term 1"]);
});

test("a term waits for one write of meta at most, and names the newest frame itself", () => {
  const slow = slowMeta();
  let durable = 0;
  slow.persisted();
  pass(slow.scheduler, STORAGE.quietMs + 1);
  slow.persisted();
  pass(slow.scheduler, STORAGE.quietMs + 1);
  updateMeta(slow.durableEnd, { hardState: hardState(2) }, () => durable++);
  slow.end();
  expect(slow.begun).toEqual(["2 in term 1", "3 in term 2"]);
  expect(durable).toBe(0);
  slow.end();
  expect(durable).toBe(1);
  // Nothing is left to be named.
  pass(slow.scheduler, 2 * STORAGE.durableFrameMs);
  expect(slow.begun.length).toBe(2);
});

test("while persists never pause, meta names the newest frame once a second", () => {
  const slow = slowMeta();
  let ended = 0;
  for (let at = 0; at < 200; at++) {
    slow.persisted();
    pass(slow.scheduler, STORAGE.quietMs / 2);
    if (slow.begun.length === ended) continue;
    slow.end();
    ended++;
  }
  const seconds = (200 * STORAGE.quietMs) / 2 / STORAGE.durableFrameMs;
  expect(ended).toBeGreaterThanOrEqual(seconds - 1);
  expect(ended).toBeLessThanOrEqual(seconds);
});
