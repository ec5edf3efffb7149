// Where is the directory that format version 1 wrote, and what is in it?
import path from "node:path";

export const GOLDEN_DIRECTORY = path.join(import.meta.dir, "golden/v1");
/** Five blocks: small, so that a few entries fill several segments. */
export const GOLDEN_SEGMENT = 5 * 4096;
