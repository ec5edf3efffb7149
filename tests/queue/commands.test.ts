// Do commands keep their bytes for ever, and is everything else refused?
import { describe, expect, test } from "bun:test";
import { Malformed } from "../../src/lib/messagepack.ts";
import { seededRandom } from "../../src/lib/random.ts";
import {
  decodeCommand,
  decodeOpen,
  decodeTick,
  decodeTouch,
  decodeVersion,
  encodeCommand,
  encodeOpen,
  encodeTick,
  encodeTouch,
  encodeVersion,
  isClientId,
  isResolve,
  TICK_PURPOSES,
  versionIn,
} from "../../src/queue/commands.ts";
import type { QueueLimits } from "../../src/queue/limits.ts";
import type { Command } from "../../src/queue/types.ts";
import { dequeue, enqueue, hex, LIMITS, nonce, resolve, text } from "../kit/queue-log.ts";
import { mutateSome } from "../kit/mutate-bytes.ts";

const goldens: readonly [string, Command, string][] = [
  ["an enqueue of one job", enqueue("42"), "9301a764656661756c74919801c4023432c0000000c0c0"],
  [
    "an enqueue of two jobs with different encodings",
    {
      type: "enqueue",
      queue: "default",
      jobs: [
        { encoding: 0, payload: new Uint8Array([0, 255]) },
        { encoding: 1, payload: new Uint8Array(0) },
      ],
    },
    "9301a764656661756c74929800c40200ffc0000000c0c09801c400c0000000c0c0",
  ],
  ["a dequeue", dequeue(1, 1_048_576), "960291a764656661756c7401ce001000000000"],
  ["a resolve", resolve, "9103"],
];

describe("commands", () => {
  test.each(goldens)("%s has these bytes and comes back from them", (_, command, golden) => {
    expect(hex(encodeCommand(command))).toBe(golden);
    expect(decodeCommand(Uint8Array.fromHex(golden), LIMITS)).toEqual(command);
  });

  const damaged: readonly [string, string, string][] = [
    ["nothing", "", "ends"],
    ["nil", "c0", "an array"],
    ["an unknown command", "9104", "the command type 4 is unknown"],
    ["bytes behind the command", "910300", "left over"],
    ["a resolve with a field too many", "920300", "a resolve has 1 value, not 2"],
    ["an enqueue with a field too few", "9201a764656661756c74", "an enqueue has 3 values, not 2"],
    ["an enqueue without jobs", "9301a764656661756c7490", "0 values"],
    ["a job with headers", "9301a764656661756c74919801c4016190000000c0c0", "headers: not supported in this version"],
    ["a job with a delay", "9301a764656661756c74919801c40161c0010000c0c0", "delay: not supported in this version"],
    [
      "a job with a priority",
      "9301a764656661756c74919801c40161c0000100c0c0",
      "priority: not supported in this version",
    ],
    ["a job with a time to live", "9301a764656661756c74919801c40161c0000001c0c0", "ttl: not supported in this version"],
    ["a job with a group", "9301a764656661756c74919801c40161c0000000a161c0", "group: not supported in this version"],
    ["a job with a key", "9301a764656661756c74919801c40161c0000000c0a161", "key: not supported in this version"],
    ["a job with an encoding above one byte", "9301a764656661756c749198cd0100c40161c0000000c0c0", "256"],
    ["a payload that is text", "9301a764656661756c74919801a161c0000000c0c0", "a binary"],
    ["a dequeue from no queue", "96029001000000", "0 values"],
    ["a dequeue from two queues", "960292a161a16101000000", "2 values"],
    ["a dequeue of no job", "960291a16100000000", "max: the number 0 is below the 1 allowed"],
    ["a dequeue with a lease", "960291a16101000100", "leaseMs: not supported in this version"],
    ["a dequeue that waits", "960291a16101000001", "waitMs: not supported in this version"],
    ["a number below zero", "960291a161ff000000", "not negative"],
    ["an array that claims 4,294,967,295 jobs", "9301a161ddffffffff", "4294967295 bytes too early"],
  ];
  test.each(damaged)("%s is refused by name", (_, bytes, message) => {
    expect(() => decodeCommand(Uint8Array.fromHex(bytes), LIMITS)).toThrow(Malformed);
    expect(() => decodeCommand(Uint8Array.fromHex(bytes), LIMITS)).toThrow(message);
  });

  test("as many jobs as the limit allows are accepted, one more is refused", () => {
    const limits = { maxJobsPerCommand: 3 };
    expect(decodeCommand(encodeCommand(enqueue("a", "b", "c")), limits).type).toBe("enqueue");
    expect(() => decodeCommand(encodeCommand(enqueue("a", "b", "c", "d")), limits)).toThrow(Malformed);
  });

  test("a queue name of 64 bytes is read, one of 65 is refused", () => {
    const named = (length: number): Uint8Array =>
      encodeCommand({ ...dequeue(), type: "dequeue", queues: ["q".repeat(length)] } as Command);
    expect(decodeCommand(named(64), LIMITS)).toMatchObject({ queues: ["q".repeat(64)] });
    expect(() => decodeCommand(named(65), LIMITS)).toThrow(Malformed);
  });

  test("random enqueues come back as they were", () => {
    const random = seededRandom(5);
    for (let round = 0; round < 300; round++) {
      const jobs = Array.from({ length: random.between(1, 20) }, () => ({
        encoding: random.below(256),
        payload: new Uint8Array(random.below(random.chance(5) ? 70_000 : 300)).map(() => random.below(256)),
      }));
      const command: Command = { type: "enqueue", queue: "default", jobs };
      expect(decodeCommand(encodeCommand(command), LIMITS)).toEqual(command);
    }
  });

  test("damaged commands are refused as malformed, or are commands again: nothing else comes out", () => {
    const random = seededRandom(11);
    const seeds = [...goldens.map(([, command]) => command), enqueue("one", "two", "three", "x".repeat(300))].map(
      encodeCommand,
    );
    let refused = 0;
    for (let round = 0; round < 20_000; round++) {
      const bytes = mutateSome(seeds[random.below(seeds.length)]!, random);
      try {
        const command = decodeCommand(bytes, LIMITS);
        expect(decodeCommand(encodeCommand(command), LIMITS)).toEqual(command);
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(10_000);
  });

  test("only a resolve is a resolve", () => {
    expect(isResolve(encodeCommand(resolve))).toBe(true);
    expect(isResolve(encodeCommand(dequeue()))).toBe(false);
    expect(isResolve(encodeCommand(enqueue("a")))).toBe(false);
    expect(isResolve(new Uint8Array([0x91, 0x03, 0x03]))).toBe(false);
    expect(isResolve(new Uint8Array(0))).toBe(false);
  });
});

describe("opening, touching, versions", () => {
  test("an open has these bytes and comes back from them", () => {
    const open = { clientId: "c1", nonce: nonce(0xab), generated: true, resume: false };
    const golden = "94a26331c410ababababababababababababababababc3c2";
    expect(hex(encodeOpen(open))).toBe(golden);
    expect(decodeOpen(Uint8Array.fromHex(golden))).toEqual(open);
  });

  test("a touch has these bytes and comes back from them", () => {
    expect(hex(encodeTouch([1, 300]))).toBe("9201cd012c");
    expect(decodeTouch(Uint8Array.fromHex("9201cd012c"))).toEqual([1, 300]);
    expect(decodeTouch(encodeTouch([]))).toEqual([]);
  });

  test("a version has these bytes and comes back from them", () => {
    const limits = Object.fromEntries(Object.keys(LIMITS).map((name, at) => [name, at + 1])) as unknown as QueueLimits;
    const version = { version: 1, limits };
    const golden = "92019f0102030405060708090a0b0c0d0e0f";
    expect(hex(encodeVersion(version))).toBe(golden);
    expect(decodeVersion(Uint8Array.fromHex(golden))).toEqual(version);
    expect(versionIn(Uint8Array.fromHex("93079101c0"))).toBe(7);
    expect(() => decodeVersion(Uint8Array.fromHex("92019f0102030405060708090a0b0c0d0e00"))).toThrow(
      "below the 1 allowed",
    );
  });

  test("a tick has these bytes and comes back from them", () => {
    expect(hex(encodeTick("due times"))).toBe(`91a9${hex(text("due times"))}`);
    for (const purpose of TICK_PURPOSES) expect(decodeTick(encodeTick(purpose))).toBe(purpose);
  });

  const openOf = (clientId: string, bytes = nonce(1)): Uint8Array =>
    encodeOpen({ clientId, nonce: bytes, generated: false, resume: false });

  const badOpens: readonly [string, Uint8Array][] = [
    ["no client id", openOf("")],
    ["a client id with a line feed", openOf("a\nb")],
    ["a client id of 65 bytes", openOf("x".repeat(65))],
    ["a nonce of 15 bytes", openOf("c1", new Uint8Array(15))],
    ["a nonce of 17 bytes", openOf("c1", new Uint8Array(17))],
  ];
  test.each(badOpens)("an open with %s is refused", (_, bytes) => {
    expect(() => decodeOpen(bytes)).toThrow(Malformed);
  });

  test("a touch that claims more sessions than it has bytes is refused", () => {
    expect(() => decodeTouch(Uint8Array.fromHex("ddffffffff"))).toThrow(Malformed);
  });

  test("a client id is 1 to 64 bytes of text that shows as it is", () => {
    for (const id of ["c", "client 01", "ünï", "日本語", "😀", "x".repeat(64), "ü".repeat(32)])
      expect(isClientId(id)).toBe(true);
    const hidden = [
      "",
      "x".repeat(65),
      "ü".repeat(33),
      "a\tb",
      "a\u0000",
      "\u001b[31m",
      "a\u007f",
      "a\u0085",
      "a\u2028b",
      "a\u202eb",
      "\ud800",
    ];
    for (const id of hidden) expect(isClientId(id)).toBe(false);
  });
});
