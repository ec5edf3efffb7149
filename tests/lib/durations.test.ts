// Are durations read as people write them, and refused when they are unclear?
import { describe, expect, test } from "bun:test";
import { formatDuration, parseDuration } from "../../src/lib/durations.ts";

describe("reading", () => {
  const good: readonly [string, number][] = [
    ["0", 0],
    ["0s", 0],
    ["50ms", 50],
    ["5s", 5_000],
    ["1.5s", 1_500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["7d", 604_800_000],
    [" 5s ", 5_000],
    ["5S", 5_000],
    ["0.4ms", 0],
    ["007s", 7_000],
  ];
  test.each(good)("%p is %d milliseconds", (text, ms) => expect(parseDuration(text)).toBe(ms));

  test.each([
    "",
    "5",
    "s",
    "-5s",
    "+5s",
    "5 s",
    "5sec",
    "1h30m",
    "1,5s",
    ".5s",
    "5.s",
    "1e3s",
    "NaN",
    "Infinity",
    "5µs",
    "99999999999999d",
    "constructor",
  ])("%p is no duration", (text) => expect(parseDuration(text)).toBeUndefined());
});

describe("showing", () => {
  const shown: readonly [number, string][] = [
    [0, "0ms"],
    [0.4, "0ms"],
    [412, "412ms"],
    [999, "999ms"],
    [999.6, "1s"],
    [1_000, "1s"],
    [1_300, "1.3s"],
    [59_949, "59.9s"],
    [59_999, "1m"],
    [60_000, "1m"],
    [300_000, "5m"],
    [3_599_999, "1h"],
    [3_600_000, "1h"],
    [86_399_999, "1d"],
    [86_400_000, "1d"],
    [604_800_000, "7d"],
  ];
  test.each(shown)("%d milliseconds are %p", (ms, text) => expect(formatDuration(ms)).toBe(text));

  test("what was shown can be read again, near what it was", () => {
    for (let ms = 1; ms < 2_000_000_000; ms = Math.ceil(ms * 1.37)) {
      const again = parseDuration(formatDuration(ms));
      expect(Math.abs((again ?? -1) - ms) / ms).toBeLessThan(0.06);
    }
  });
});
