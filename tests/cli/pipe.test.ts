// A pipe whose answers are read slowly, or not at all, or cannot be written.
import { expect, test } from "bun:test";
import { createAnswers } from "../../src/cli/answers.ts";
import { createLines } from "../../src/cli/lines.ts";
import { type PipeEnds, runPipe } from "../../src/cli/pipe.ts";
import type { Client } from "../../src/client/client.ts";
import type { Command } from "../../src/queue/types.ts";

interface World {
  readonly client: Client;
  readonly asked: Command[];
  /** Numbers, in the order in which they were taken. */
  readonly taken: number[];
}

/** Answers at once: job n for request n. */
function world(): World {
  const asked: Command[] = [];
  const taken: number[] = [];
  const client: Client = {
    submit: (command, done) => {
      const number = asked.push(command);
      const jobs = [{ id: number, encoding: 1, payload: new TextEncoder().encode(String(number)) }];
      setImmediate(() =>
        done({ ok: true, number, duplicate: false, reply: { type: "dequeued", index: number, jobs } }, () =>
          taken.push(number),
        ),
      );
    },
    again: () => false,
    ask: () => {},
    open: (done) => done(null),
    numberAtOpen: () => 0,
    unacknowledgedAtOpen: () => null,
    untaken: () => null,
    node: () => null,
    addresses: () => [],
    close: (done) => done(),
  };
  return { client, asked, taken };
}

async function* input(lines: number): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode("dequeue\n".repeat(lines));
}

function run(client: Client, lines: number, write: (text: string) => Promise<number | null>): Promise<number> {
  const ends: PipeEnds = {
    input: input(lines),
    endInput: () => {},
    lines: createLines(1_000),
    answers: createAnswers(write, (soon) => void setImmediate(soon)),
    notify: () => {},
  };
  const settings = {
    clientId: "c1",
    style: { json: false, terminal: false },
    numbered: false,
    resume: false,
    inFlight: 64,
  };
  return runPipe(client, () => Promise.reject(new Error("nothing is asked")), ends, settings);
}

test("a pipe asks for no more than 64 jobs beyond those whose lines were written", async () => {
  const { client, asked, taken } = world();
  const writes: { readonly lines: number; readonly go: () => void }[] = [];
  let written = 0;
  let most = 0;
  const done = run(client, 1_000, (text) => {
    const lines = text.split("\n").length - 1;
    const { promise, resolve } = Promise.withResolvers<null>();
    writes.push({ lines, go: () => resolve(null) });
    return promise;
  });
  while (taken.length < 1_000) {
    // Many rounds of the event loop for a client that would ask for more.
    for (let round = 0; round < 20; round++) await new Promise((next) => setImmediate(next));
    most = Math.max(most, asked.length - written);
    const write = writes.shift();
    expect(taken.length).toBe(written);
    if (write === undefined) return expect.unreachable("nothing is written although jobs were taken");
    written += write.lines;
    write.go();
    await Promise.resolve();
    await new Promise((next) => setImmediate(next));
  }
  expect(await done).toBe(0);
  expect(most).toBe(64);
  expect(taken).toEqual(Array.from({ length: 1_000 }, (_, at) => at + 1));
});

test("a pipe whose output fails takes exactly the lines that are whole, asks for nothing more, and ends", async () => {
  const { client, asked, taken } = world();
  let bytes = 0;
  await run(client, 1_000, (text) => {
    const room = 100 - bytes;
    bytes += text.length;
    return Promise.resolve(text.length <= room ? null : room);
  });
  // "1" to "9" are 18 bytes with their line ends, "10" to "36" another 81: one byte of line 37 was written.
  expect(taken).toEqual(Array.from({ length: 36 }, (_, at) => at + 1));
  expect(asked.length).toBeLessThanOrEqual(36 + 64);
});
