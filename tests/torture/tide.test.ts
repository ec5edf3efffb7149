// Does the workload of the torture stay bounded? Producers pause at high water, until consumers have taken out most of it.
import { expect, test } from "bun:test";
import { payloadOf, sizeOf } from "./payload.ts";
import { createTide, HIGH_WATER_BYTES } from "./tide.ts";

test("it rises to high water, stays high while most of that waits, and falls when it was taken out", () => {
  const tide = createTide();
  let last = 0;
  let bytes = 0;
  for (; !tide.isHigh(); last++) {
    tide.note({ type: "enqueue", value: last });
    bytes += payloadOf(last).length;
  }
  expect(bytes).toBeGreaterThan(HIGH_WATER_BYTES * 0.9);
  expect(bytes).toBeLessThan(HIGH_WATER_BYTES * 1.1);
  let taken = 0;
  for (; tide.isHigh(); taken++) tide.note({ type: "dequeue", value: taken });
  expect(taken).toBeGreaterThan(last / 2);
  expect(taken).toBeLessThan(last);
});

test("an empty queue's answer changes nothing", () => {
  const tide = createTide();
  for (let count = 0; count < 1_000; count++) tide.note({ type: "dequeue", value: null });
  expect(tide.isHigh()).toBe(false);
});

test("sizes are those of the payloads, but for the value itself", () => {
  for (let value = 0; value < 500; value++) {
    const rest = payloadOf(value).length - sizeOf(value);
    expect(rest).toBeGreaterThan(5);
    expect(rest).toBeLessThan(20);
  }
});
