// What happened when? One line an event, printed as it happens and kept for the record of a failure.

export interface Timeline {
  record(text: string): void;
  /** Seconds since the run began, as it is printed. */
  at(now: number): string;
  text(): string;
}

export function createTimeline(print: (line: string) => void): Timeline {
  const began = performance.now();
  const lines: string[] = [];
  const at = (now: number): string => `${((now - began) / 1_000).toFixed(3)} s`;
  return {
    at,
    record: (text) => {
      const line = `${at(performance.now()).padStart(11)}  ${text}`;
      lines.push(line);
      print(line);
    },
    text: () => lines.map((line) => `${line}\n`).join(""),
  };
}
