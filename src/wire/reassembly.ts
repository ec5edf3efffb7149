// How do the fragments of a member's message become the message again? In order, as many bytes as the first one announced, and no more.
import { createReader, Malformed } from "../lib/msgpack.ts";
import { release } from "../lib/release.ts";
import { PEER_TYPE } from "./message-types.ts";
import type { PeerFragment } from "./protocol.ts";

/** It grows with what arrives, so a claim alone costs nothing. */
const FIRST_BUFFER_BYTES = 16 * 1024;

export interface Reassembly {
  /** With the last fragment: the bytes of the message, to be released when it is decoded. Null: more follow. Throws Malformed. */
  add(fragment: PeerFragment): Uint8Array | null;
  /** The memory that an incomplete message takes. */
  allocated(): number;
  /** That message, for people: "AppendEntries, 1024 of 900123 bytes"; null: there is none. */
  describe(): string | null;
  /** The rest will not come. */
  discard(): void;
}

export function createReassembly(maxMessageBytes: number): Reassembly {
  let body = new Uint8Array(0);
  let filled = 0;
  let left = 0;

  function store(bytes: Uint8Array, total: number): void {
    const needed = filled + bytes.length;
    if (needed > body.length) {
      const larger = new Uint8Array(Math.min(total, Math.max(needed, body.length * 2, FIRST_BUFFER_BYTES)));
      larger.set(body.subarray(0, filled));
      release(body);
      body = larger;
    }
    body.set(bytes, filled);
    filled = needed;
  }

  function begin(): void {
    body = new Uint8Array(0);
    filled = 0;
    left = 0;
  }

  return {
    add: (fragment) => {
      const { length } = fragment.bytes;
      if (length === 0) throw new Malformed("a fragment is empty");
      if (filled > 0 && fragment.left + length !== left)
        throw new Malformed(`${fragment.left} bytes are left behind a fragment of ${length}, where ${left} were due`);
      const total = filled + length + fragment.left;
      if (total > maxMessageBytes) throw new Malformed(`a message in fragments has at most ${maxMessageBytes} bytes`);
      store(fragment.bytes, total);
      left = fragment.left;
      if (left > 0) return null;
      const whole = body;
      begin();
      return whole;
    },
    allocated: () => body.length,
    describe: () => (filled === 0 ? null : `${nameIn(body.subarray(0, filled))}, ${filled} of ${filled + left} bytes`),
    discard: () => {
      release(body);
      begin();
    },
  };
}

/** Of the message that begins so. */
function nameIn(first: Uint8Array): string {
  try {
    const reader = createReader(first);
    reader.array(1, 9);
    const type = reader.uint();
    return Object.entries(PEER_TYPE).find(([, number]) => number === type)?.[0] ?? "a message";
  } catch (error) {
    if (error instanceof Malformed) return "a message";
    throw error;
  }
}
