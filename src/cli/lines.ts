// Splits a stream of bytes into lines at line feeds. A line that is too long or not UTF-8 is reported as such: nothing grows without
// end, and no value is changed in silence.

const LINE_FEED = 0x0a;

/** A line, or why it cannot be read. */
export type Line = string | { readonly unreadable: "too long" | "not UTF-8" };

const TOO_LONG = { unreadable: "too long" } as const;
const NOT_UTF8 = { unreadable: "not UTF-8" } as const;

export interface Lines {
  /** Calls `onLine` for every line that is complete by now. */
  push(chunk: Uint8Array, onLine: (line: Line) => void): void;
  /** The last line, if the input did not end with a line feed. */
  end(onLine: (line: Line) => void): void;
}

export function createLines(maxLineBytes: number): Lines {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let tooLong = false;

  const decode = (bytes: Uint8Array): Line => {
    if (bytes.length > maxLineBytes) return TOO_LONG;
    try {
      return utf8.decode(bytes);
    } catch {
      return NOT_UTF8;
    }
  };

  function hold(part: Uint8Array): void {
    heldBytes += part.length;
    if (heldBytes > maxLineBytes) {
      tooLong = true;
      held = [];
    } else if (part.length > 0) {
      held.push(part.slice());
    }
  }

  function takeHeld(): Line {
    const line = tooLong ? TOO_LONG : decode(Buffer.concat(held));
    held = [];
    heldBytes = 0;
    tooLong = false;
    return line;
  }

  return {
    push: (chunk, onLine) => {
      let start = 0;
      for (;;) {
        const end = chunk.indexOf(LINE_FEED, start);
        if (end < 0) break;
        if (heldBytes === 0) {
          onLine(decode(chunk.subarray(start, end)));
        } else {
          hold(chunk.subarray(start, end));
          onLine(takeHeld());
        }
        start = end + 1;
      }
      if (start < chunk.length) hold(chunk.subarray(start));
    },
    end: (onLine) => {
      if (heldBytes > 0) onLine(takeHeld());
    },
  };
}
