// Are spoiled states wrong, and whole? Each kind differs from what it was, in its digest and its bytes, and is a state that could be.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { digestOf } from "../../src/queue/digest.ts";
import { freeze, restore } from "../../src/queue/snapshot.ts";
import { enqueue, Log } from "../kit/queue-log.ts";
import { corruptState } from "./wrong-state.ts";

/** Two clients with answers that they have not acknowledged, and a job that waits. */
function filled(): Log {
  const log = new Log();
  for (const client of ["c1", "c2"]) {
    const { reply } = log.open(client);
    if (reply.type !== "opened") throw new Error(`${client} opened nothing`);
    log.send(reply.session, 1, enqueue(client));
    log.send(reply.session, 2, enqueue(client, client));
  }
  return log;
}

function restored({ queue }: Log): void {
  const frozen = freeze(queue, 1_000);
  const parts: Uint8Array[] = [];
  for (let part = frozen.nextPart(); part !== null; part = frozen.nextPart()) parts.push(part);
  expect(digestOf(restore(parts))).toBe(digestOf(queue));
}

test("every kind changes the digest, and leaves a state that can be written and read again", () => {
  const right = digestOf(filled().queue);
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const log = filled();
    const { what, isShown } = corruptState(log.queue, false, false, seededRandom(seed));
    kinds.add(`${isShown ? "shown" : "hidden"}: ${what.replace(/\d+/g, "N")}`);
    expect(digestOf(log.queue)).not.toBe(right);
    restored(log);
  }
  expect([...kinds].sort()).toEqual([
    "hidden: sessions were used N times more",
    "shown: cN would get another answer to number N",
    "shown: it is N hours later",
    "shown: job N is gone",
    "shown: the session of cN is closed",
  ]);
});

test("a leader's answers stay right, and states that must be unlike each other are", () => {
  for (let seed = 1; seed <= 20; seed++)
    expect(corruptState(filled().queue, true, false, seededRandom(seed)).isShown).toBe(false);
  const digests = Array.from({ length: 20 }, (_, seed) => {
    const { queue } = filled();
    corruptState(queue, false, true, seededRandom(seed + 1));
    return digestOf(queue);
  });
  expect(new Set(digests).size).toBe(digests.length);
});
