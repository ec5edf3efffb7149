// In which order, and how fast, do answers leave a pipe? In the order of their places; everything that is ready goes out in
// one write, and no further while the reader is behind.

export interface Place {
  text: string | null;
}

export interface Answers {
  /** The place of the next line's answer. */
  place(): Place;
  answer(place: Place, text: string): void;
  /** The reader is behind: resolves when it has caught up; null when it keeps up. */
  drained(): Promise<void> | null;
  /** Resolves when every answer given so far is written. */
  written(): Promise<void>;
}

/** `write` resolves when more may be written. `soon` runs its callback at the end of this round of the event loop. */
export function createAnswers(write: (text: string) => Promise<void>, soon: (run: () => void) => void): Answers {
  let places: Place[] = [];
  let first = 0;
  let isPlanned = false;
  let writing: Promise<void> | null = null;

  function takeReady(): string {
    let ready = "";
    for (;;) {
      const text = places[first]?.text;
      if (text === null || text === undefined) break;
      ready += `${text}\n`;
      first++;
    }
    if (first === places.length || first > 1_024) {
      places = places.slice(first);
      first = 0;
    }
    return ready;
  }

  function writeReady(): void {
    isPlanned = false;
    if (writing !== null) return;
    const ready = takeReady();
    if (ready === "") return;
    writing = write(ready).then(() => {
      writing = null;
      writeReady();
    });
  }

  return {
    place: () => {
      const place: Place = { text: null };
      places.push(place);
      return place;
    },
    answer: (place, text) => {
      place.text = text;
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
