// Frames around any bytes: for tests of what reads frames.
import { encodePeerMessage, joined, peerFrame } from "../../src/wire/codec.ts";
import { LENGTH_BYTES } from "../../src/wire/frame.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";

/** Writes the length into the four bytes of headroom that the frame was made with. */
export function sealFrame(frame: Uint8Array): Uint8Array {
  new DataView(frame.buffer, frame.byteOffset, LENGTH_BYTES).setUint32(0, frame.length - LENGTH_BYTES);
  return frame;
}

/** A member's frame around any bytes. */
export function encodePeerFrame(sequence: number, message: Uint8Array): Uint8Array {
  return joined(peerFrame(sequence, { parts: [message], length: message.length }));
}

/** A member's message, without the frame. */
export function peerMessageBytes(message: PeerMessage): Uint8Array {
  return joined(encodePeerMessage(message));
}
