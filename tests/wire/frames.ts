// How does a test make a frame around bytes of its own?
import { PEER_HEADROOM, peerFrame } from "../../src/wire/codec.ts";
import { LENGTH_BYTES } from "../../src/wire/frame.ts";

/** Writes the length into the four bytes of headroom that the frame was made with. */
export function sealFrame(frame: Uint8Array): Uint8Array {
  new DataView(frame.buffer, frame.byteOffset, LENGTH_BYTES).setUint32(0, frame.length - LENGTH_BYTES);
  return frame;
}

/** A member's frame around any bytes. */
export function encodePeerFrame(sequence: number, message: Uint8Array): Uint8Array {
  const encoded = new Uint8Array(PEER_HEADROOM + message.length);
  encoded.set(message, PEER_HEADROOM);
  return peerFrame(sequence, encoded);
}
