// Do replies keep their bytes for ever? A stored answer must be the same after years of newer versions.
import { describe, expect, test } from "bun:test";
import { Malformed } from "../../src/lib/messagepack.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { decodeReply, encodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { hex, text } from "../kit/queue-log.ts";
import { mutateSome } from "../kit/mutate-bytes.ts";

const goldens: readonly [string, Reply, string][] = [
  ["enqueued", { type: "enqueued", index: 12, firstId: 7, count: 2 }, "94010c0702"],
  [
    "dequeued",
    {
      type: "dequeued",
      index: 300,
      jobs: [
        { id: 7, encoding: 1, payload: text("42") },
        { id: 8, encoding: 0, payload: new Uint8Array([255]) },
      ],
    },
    "9302cd012c92930701c4023432930800c401ff",
  ],
  ["empty", { type: "dequeued", index: 13, jobs: [] }, "93020d90"],
  ["void", { type: "void", index: 14 }, "92030e"],
  [
    "opened",
    { type: "opened", index: 9, session: 9, lastNumber: 70_000, acknowledgedThrough: 69_999, expiresMs: 604_800_000 },
    "96040909ce00011170ce0001116fce240c8400",
  ],
  ["closed", { type: "closed", index: 5_000_000_000 }, "9205d3000000012a05f200"],
  [
    "refused",
    { type: "refused", index: 15, code: "NO_QUEUE", message: "no" },
    "96060fa84e4f5f5155455545a566696e616ca26e6fa26e6f",
  ],
];

describe("replies", () => {
  test.each(goldens)("%s has these bytes and comes back from them", (_, reply, golden) => {
    expect(hex(encodeReply(reply))).toBe(golden);
    expect(decodeReply(Uint8Array.fromHex(golden))).toEqual(reply);
  });

  const damaged: readonly [string, string][] = [
    ["an unknown reply", "920700"],
    ["a reply with a field too many", "93030e00"],
    ["a reply with a field too few", "93010c07"],
    ["an error code nobody knows", "94060fa44e4f5045a26e6f"],
    ["bytes behind the reply", "92030e00"],
    ["more jobs than bytes", "930201ddffffffff"],
  ];
  test.each(damaged)("%s is refused", (_, bytes) => {
    expect(() => decodeReply(Uint8Array.fromHex(bytes))).toThrow(Malformed);
  });

  test("damaged replies are refused as malformed, or are replies again: nothing else comes out", () => {
    const random = seededRandom(13);
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      const bytes = mutateSome(Uint8Array.fromHex(goldens[random.below(goldens.length)]![2]), random);
      try {
        const reply = decodeReply(bytes);
        expect(decodeReply(encodeReply(reply))).toEqual(reply);
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(10_000);
  });
});
