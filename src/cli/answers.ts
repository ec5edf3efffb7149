// In which order, and how fast, do answers leave a pipe? In the order of their places; everything that is ready goes out in
// one write, and no further while the reader is behind. Each is called back whether it was written.

export interface AnswerSlot {
  text: string | null;
  onWritten: OnWritten;
}

/** Called once: the whole answer was written, or never will be. */
export type OnWritten = (isWritten: boolean) => void;

export interface Answers {
  /** The place of the next line's answer. */
  place(): AnswerSlot;
  answer(place: AnswerSlot, text: string, onWritten: OnWritten): void;
  /** The reader is behind: resolves when it has caught up; null when it keeps up. */
  drained(): Promise<void> | null;
  /** Resolves when every answer given so far is written, or never will be. */
  written(): Promise<void>;
}

/**
 * `write` resolves when more may be written: null, or how many bytes were written before it failed. `soon` runs its callback at the
 * end of this round of the event loop.
 */
export function createAnswers(
  write: (text: string) => Promise<number | null>,
  soon: (run: () => void) => void,
): Answers {
  let places: AnswerSlot[] = [];
  let first = 0;
  let isPlanned = false;
  let writing: Promise<void> | null = null;
  let hasFailed = false;

  function takeReady(): readonly AnswerSlot[] {
    let end = first;
    while (places[end]?.text !== null && places[end] !== undefined) end++;
    const ready = places.slice(first, end);
    first = end;
    if (first === places.length || first > 1_024) {
      places = places.slice(first);
      first = 0;
    }
    return ready;
  }

  function writeReady(): void {
    isPlanned = false;
    if (writing !== null || hasFailed) return;
    const ready = takeReady();
    if (ready.length === 0) return;
    writing = write(ready.map(lineOf).join("")).then((written) => {
      writing = null;
      if (written === null) for (const { onWritten } of ready) onWritten(true);
      else failed(ready, written);
      writeReady();
    });
  }

  /** The lines that fit into what was written are whole; no other will ever be. */
  function failed(ready: readonly AnswerSlot[], written: number): void {
    hasFailed = true;
    const waiting = places.slice(first).filter(({ text }) => text !== null);
    places = [];
    first = 0;
    let end = 0;
    for (const place of ready) {
      end += Buffer.byteLength(lineOf(place));
      place.onWritten(end <= written);
    }
    for (const { onWritten } of waiting) onWritten(false);
  }

  return {
    place: () => {
      const place: AnswerSlot = { text: null, onWritten: () => {} };
      if (!hasFailed) places.push(place);
      return place;
    },
    answer: (place, text, onWritten) => {
      if (hasFailed) return onWritten(false);
      place.text = text;
      place.onWritten = onWritten;
      if (isPlanned || writing !== null) return;
      isPlanned = true;
      soon(writeReady);
    },
    drained: () => writing,
    written: async () => {
      writeReady();
      while (writing !== null) await writing;
    },
  };
}

const lineOf = ({ text }: AnswerSlot): string => `${text}\n`;
