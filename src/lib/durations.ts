// Parses and formats durations: `50ms`, `5s`, `2m`, `1h`, `7d`; inside the program always milliseconds.

const MS_PER_UNIT = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** Milliseconds of `50ms`, `1.5s`, `2m`, `1h`, `7d` or a bare `0`; undefined when `text` is no duration. */
export function parseDuration(text: string): number | undefined {
  if (text.trim() === "0") return 0;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim().toLowerCase());
  const perUnit = MS_PER_UNIT.get(match?.[2] ?? "");
  if (match === null || perUnit === undefined) return undefined;
  const ms = Math.round(Number(match[1]) * perUnit);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** The shortest accurate text: `412ms`, `1.3s`, `5m`, `7d`. */
export function formatDuration(ms: number): string {
  if (Math.round(ms) < 1_000) return `${Math.round(ms)}ms`;
  // The unit is chosen by the rounded value: 59,999 ms are 1m, not 60s.
  if (tenths(ms / 1_000) < 60) return `${tenths(ms / 1_000)}s`;
  if (tenths(ms / 60_000) < 60) return `${tenths(ms / 60_000)}m`;
  if (tenths(ms / 3_600_000) < 24) return `${tenths(ms / 3_600_000)}h`;
  return `${tenths(ms / 86_400_000)}d`;
}

const tenths = (value: number): number => Math.round(value * 10) / 10;
