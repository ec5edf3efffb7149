// Joins the fragments of a member's message: in order, as many bytes as the first one announced, and no more.
import { Malformed } from "../lib/messagepack.ts";
import { peerMessageName } from "./codec.ts";
import { createGrowingBuffer } from "./growing-buffer.ts";
import type { PeerFragment } from "./protocol.ts";

export interface Reassembly {
  /** With the last fragment: the bytes of the message, to be released when it is decoded. Null: more follow. Throws Malformed. */
  add(fragment: PeerFragment): Uint8Array | null;
  /** The memory that an incomplete message takes. */
  allocated(): number;
  /** That message, for people: "AppendEntries, 1024 of 900123 bytes"; null: there is none. */
  describe(): string | null;
  /** The connection ends: what was received of an incomplete message is dropped. */
  discard(): void;
}

export function createReassembly(maxMessageBytes: number): Reassembly {
  const message = createGrowingBuffer();
  let left = 0;

  return {
    add: (fragment) => {
      const { length } = fragment.bytes;
      if (length === 0) throw new Malformed("a fragment is empty");
      const filled = message.length();
      if (filled > 0 && fragment.left + length !== left)
        throw new Malformed(`${fragment.left} bytes are left behind a fragment of ${length}, where ${left} were due`);
      const total = filled + length + fragment.left;
      if (total > maxMessageBytes) throw new Malformed(`a message in fragments has at most ${maxMessageBytes} bytes`);
      message.append(fragment.bytes, total);
      left = fragment.left;
      return left > 0 ? null : message.take();
    },
    allocated: message.allocated,
    describe: () => {
      const filled = message.length();
      return filled === 0 ? null : `${peerMessageName(message.bytes())}, ${filled} of ${filled + left} bytes`;
    },
    discard: message.discard,
  };
}
