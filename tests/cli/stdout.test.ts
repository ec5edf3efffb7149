// What does the client count as written? Only what the system reported as taken.
import { expect, test } from "bun:test";
import { createOutput, type WriteSome } from "../../src/cli/stdout.ts";

interface SystemError {
  readonly code: string;
}
const failed = (code: string): Error & SystemError => Object.assign(new Error(`${code}: scripted`), { code });

/** Each step takes so many bytes, or fails. */
function scripted(steps: (number | string)[]): { readonly write: WriteSome; readonly taken: () => string } {
  let taken = "";
  return {
    taken: () => taken,
    write: (bytes, at) => {
      const step = steps.shift() ?? bytes.length;
      if (typeof step === "string") return Promise.reject(failed(step));
      const some = bytes.subarray(at, at + step);
      taken += new TextDecoder().decode(some);
      return Promise.resolve(some.length);
    },
  };
}

const waits: number[] = [];
const clock = {
  after: (milliseconds: number, run: () => void) => {
    waits.push(milliseconds);
    queueMicrotask(run);
    return () => {};
  },
};

test("a write goes on where the system stopped, and waits for room in a pipe", async () => {
  const system = scripted([3, "EAGAIN", "EINTR", "EAGAIN", 2]);
  waits.length = 0;
  const output = createOutput(system.write, clock);
  expect(await output.write("one\ntwo\n")).toBeNull();
  expect([system.taken(), waits.length, output.problem()]).toEqual(["one\ntwo\n", 2, null]);
});

test("a failed write reports how many bytes were taken before, and nothing is written any more", async () => {
  const system = scripted([5, "ENOSPC"]);
  const output = createOutput(system.write, clock);
  expect(await output.write("one\ntwo\n")).toBe(5);
  expect(output.problem()).toEqual({ isReaderGone: false, message: "ENOSPC: scripted" });
  expect(await output.write("three\n")).toBe(0);
  expect(system.taken()).toBe("one\nt");
});

test("a reader that has gone is distinguished from a disk that is full", async () => {
  const output = createOutput(scripted(["EPIPE"]).write, clock);
  expect(await output.write("one\n")).toBe(0);
  expect(output.problem()?.isReaderGone).toBe(true);
});
