// The answers of a pipe: they leave in the order of their lines, everything that is ready in one write, and no further while the
// reader is behind. Each is called back whether it was written.

export interface AnswerSlot {
  text: string | null;
  onWritten: OnWritten;
}

/** Called once: the whole answer was written, or never will be. */
export type OnWritten = (isWritten: boolean) => void;

export interface Answers {
  /** A slot for the next line's answer. */
  slot(): AnswerSlot;
  answer(slot: AnswerSlot, text: string, onWritten: OnWritten): void;
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
  let slots: AnswerSlot[] = [];
  let first = 0;
  let isPlanned = false;
  let writing: Promise<void> | null = null;
  let hasFailed = false;

  function takeReady(): readonly AnswerSlot[] {
    let end = first;
    while (slots[end]?.text !== null && slots[end] !== undefined) end++;
    const ready = slots.slice(first, end);
    first = end;
    if (first === slots.length || first > 1_024) {
      slots = slots.slice(first);
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
    const waiting = slots.slice(first).filter(({ text }) => text !== null);
    slots = [];
    first = 0;
    let end = 0;
    for (const slot of ready) {
      end += Buffer.byteLength(lineOf(slot));
      slot.onWritten(end <= written);
    }
    for (const { onWritten } of waiting) onWritten(false);
  }

  return {
    slot: () => {
      const slot: AnswerSlot = { text: null, onWritten: () => {} };
      if (!hasFailed) slots.push(slot);
      return slot;
    },
    answer: (slot, text, onWritten) => {
      if (hasFailed) return onWritten(false);
      slot.text = text;
      slot.onWritten = onWritten;
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
