// How is the comparison shown? Markdown tables: one line for each system first, then each window with its ratios.
import type { Task, Window, Work } from "./closed-loop.ts";
import type { Comparison, Measured } from "./compare.ts";
import { CEILING } from "./systems.ts";

/** The window that stands for a system in the first table. */
const TYPICAL = { inFlight: 256, size: 16 } as const;
/** Above this the machine was not ours, and the figures are a hint only. */
const QUIET_CORES = 0.1;
const NONE = "–";

export function comparisonText({ measured, leftOut }: Comparison): string {
  const parts = [overview(measured), details(measured), silences(measured)];
  const settings = measured.map(({ name, version, setting }) => `- ${name} ${version}: ${setting}`);
  parts.push(settings.join("\n"));
  if (leftOut.length > 0) parts.push(leftOut.map((line) => `LEFT OUT ${line}`).join("\n"));
  const others = Math.max(0, ...measured.flatMap(({ windows }) => windows.map(({ otherCores }) => otherCores)));
  if (others > QUIET_CORES) {
    parts.push(`Other programs used up to ${others.toFixed(2)} cores meanwhile: these figures are a hint only.`);
  }
  return parts.join("\n\n");
}

function overview(measured: readonly Measured[]): string {
  const head = [
    "system",
    "ok means",
    "enqueue/s",
    "× ceiling",
    "servers CPU µs/op",
    "dequeue/s",
    "pairs/s",
    "p50 / p99 ms at 1",
    "silence after kill -9 ms",
    "cold start ms",
  ];
  const rows = measured.map((system) => {
    const enqueue = find(system, { work: "enqueue", ...TYPICAL });
    const single = find(system, { work: "enqueue", ...TYPICAL, inFlight: 1 });
    return [
      `${system.name} ${system.version}`,
      system.durability ?? NONE,
      rateOf(enqueue),
      ratio(enqueue?.rate, findRate(measured, enqueue, isCeiling)),
      enqueue === undefined ? NONE : shown(enqueue.serverMicros),
      rateOf(find(system, { work: "dequeue", ...TYPICAL })),
      rateOf(find(system, { work: "pairs", ...TYPICAL })),
      single === undefined ? NONE : `${shown(single.p50Ms)} / ${shown(single.p99Ms)}`,
      spread(system.silences.map(({ silenceMs }) => silenceMs)),
      spread(system.silences.map(({ firstAckMs }) => firstAckMs)),
    ];
  });
  return `${TYPICAL.size} bytes, ${TYPICAL.inFlight} in flight:\n\n${table(head, rows)}`;
}

function details(measured: readonly Measured[]): string {
  const head = [
    "work",
    "bytes",
    "in flight",
    "system",
    "per second",
    "× ceiling",
    "× best of equal durability",
    "p50 ms",
    "p99 ms",
    "servers CPU µs/op",
    "client CPU µs/op",
    "failures",
  ];
  const tasks = new Map(measured.flatMap(({ windows }) => windows.map((window) => [keyOf(window), window] as const)));
  const rows = [...tasks.keys()].toSorted(byTask(tasks)).flatMap((key) =>
    measured.flatMap((system) => {
      const window = system.windows.find((one) => keyOf(one) === key);
      if (window === undefined) return [];
      const best = system.durability === null ? undefined : findRate(measured, window, isEqualPeer(measured));
      return [
        [
          window.work,
          String(window.size),
          String(window.inFlight),
          system.name,
          rateOf(window),
          ratio(window.rate, findRate(measured, window, isCeiling)),
          ratio(window.rate, best),
          shown(window.p50Ms),
          shown(window.p99Ms),
          shown(window.serverMicros),
          shown(window.clientMicros),
          String(window.failures),
        ],
      ];
    }),
  );
  return table(head, rows);
}

function silences(measured: readonly Measured[]): string {
  const head = ["system", "kills", "silence ms", "cold start ms", "acknowledged", "lost", "duplicated"];
  const rows = measured
    .filter((system) => system.silences.length > 0)
    .map(({ name, silences: all }) => [
      name,
      String(all.length),
      spread(all.map(({ silenceMs }) => silenceMs)),
      spread(all.map(({ firstAckMs }) => firstAckMs)),
      String(sum(all.map(({ acknowledged }) => acknowledged))),
      String(sum(all.map(({ lost }) => lost))),
      String(sum(all.map(({ duplicated }) => duplicated))),
    ]);
  return `The leader killed under load, then everything read back:\n\n${table(head, rows)}`;
}

type TaskKey = Pick<Task, "work" | "inFlight" | "size">;
const keyOf = ({ work, size, inFlight }: TaskKey): string => `${work} ${size} ${inFlight}`;
const ORDER: Readonly<Record<Work, number>> = { enqueue: 0, dequeue: 1, pairs: 2 };

const byTask = (tasks: ReadonlyMap<string, Window>) => (left: string, right: string) => {
  const [a, b] = [tasks.get(left), tasks.get(right)];
  if (a === undefined || b === undefined) return 0;
  return ORDER[a.work] - ORDER[b.work] || a.size - b.size || a.inFlight - b.inFlight;
};

function find({ windows }: Measured, task: TaskKey): Window | undefined {
  return windows.find((window) => keyOf(window) === keyOf(task));
}

const isCeiling = ({ name }: Measured): boolean => name === CEILING;

/** What raftq is held against: other systems whose ok means the same as raftq's. */
const isEqualPeer =
  (measured: readonly Measured[]) =>
  ({ name, durability }: Measured): boolean =>
    name !== "raftq" && durability !== null && durability === measured.find((one) => one.name === "raftq")?.durability;

/** The best rate for this task among some systems. */
function findRate(
  measured: readonly Measured[],
  task: TaskKey | undefined,
  among: (system: Measured) => boolean,
): number | undefined {
  if (task === undefined) return undefined;
  const rates = measured.filter(among).flatMap((system) => find(system, task)?.rate ?? []);
  return rates.length === 0 ? undefined : Math.max(...rates);
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const rateOf = (window: Window | undefined): string =>
  window === undefined ? NONE : Math.round(window.rate).toLocaleString("en");
const ratio = (value: number | undefined, of: number | undefined): string =>
  value === undefined || of === undefined ? NONE : (value / of).toFixed(2);

function shown(value: number): string {
  if (!Number.isFinite(value)) return "never ended";
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** Median, and the range if there are several. */
function spread(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  if (median === undefined) return NONE;
  if (sorted.length === 1) return shown(median);
  return `${shown(median)} (${shown(sorted[0] ?? median)} to ${shown(sorted.at(-1) ?? median)})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
