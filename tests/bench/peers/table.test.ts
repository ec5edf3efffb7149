import { expect, test } from "bun:test";
import type { Window } from "./closed-loop.ts";
import type { Measured } from "./compare.ts";
import { comparisonText } from "./table.ts";

const window = (rate: number, more: Partial<Window> = {}): Window => ({
  work: "enqueue",
  inFlight: 256,
  size: 16,
  seconds: 1,
  operations: rate,
  rate,
  p50Ms: 1,
  p99Ms: 2,
  serverMicros: 3,
  clientMicros: 4,
  otherCores: 0,
  failures: 0,
  ...more,
});

const system = (name: string, durability: Measured["durability"], windows: readonly Window[]): Measured => ({
  name,
  version: "1",
  durability,
  setting: "as it is",
  windows,
  silences: [],
});

const MAJORITY = "synced by a majority";
const MEASURED = [
  system("ceiling", null, [window(1_000)]),
  system("raftq", MAJORITY, [window(800)]),
  system("etcd", MAJORITY, [window(100)]),
  system("rabbitmq", MAJORITY, [window(200)]),
  system("redis", "synced by one node", [window(5_000)]),
];

/** The cells of the line of one system in the table of all windows. */
function cellsOf(name: string, measured: readonly Measured[] = MEASURED): readonly string[] {
  const line = comparisonText({ measured, leftOut: [] })
    .split("\n")
    .find((one) => one.startsWith("| enqueue |") && one.includes(`| ${name} |`));
  return (line ?? "").split("|").map((cell) => cell.trim());
}
const [CEILING, BEST] = [6, 7];

test("each rate is held against the ceiling, and against the best other system whose ok means the same", () => {
  expect(cellsOf("raftq")[CEILING]).toBe("0.80");
  expect(cellsOf("raftq")[BEST]).toBe("4.00");
  expect(cellsOf("etcd")[BEST]).toBe("0.50");
  expect(cellsOf("redis")[CEILING]).toBe("5.00");
});

test("a ratio to what was not measured is left open", () => {
  const alone = MEASURED.filter(({ name }) => name === "raftq");
  expect(cellsOf("raftq", alone)[CEILING]).toBe("–");
  expect(cellsOf("raftq", alone)[BEST]).toBe("–");
});

test("ratios are taken at the same number in flight and the same size only", () => {
  const elsewhere = [system("ceiling", null, [window(1_000, { inFlight: 64 }), window(1_000, { size: 1_024 })])];
  expect(cellsOf("raftq", [...elsewhere, ...MEASURED.slice(1)])[CEILING]).toBe("–");
});

test("what was left out is reported, and that a machine was not quiet", () => {
  const busy = [system("raftq", MAJORITY, [window(1, { otherCores: 0.5 })])];
  const text = comparisonText({ measured: busy, leftOut: ["nats: not installed"] });
  expect(text).toContain("LEFT OUT nats: not installed");
  expect(text).toContain("up to 0.50 cores");
  expect(comparisonText({ measured: MEASURED, leftOut: [] })).not.toContain("hint only");
});

test("a silence that never ended is called so", () => {
  const silence = { firstAckMs: 1, silenceMs: Number.POSITIVE_INFINITY, acknowledged: 1, lost: 0, duplicated: 0 };
  const text = comparisonText({ measured: [{ ...system("raftq", MAJORITY, []), silences: [silence] }], leftOut: [] });
  expect(text).toContain("never ended");
});
