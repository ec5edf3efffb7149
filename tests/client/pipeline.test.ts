// One session's pipeline of numbered requests, without a network.
import { beforeEach, describe, expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import type { ClientSettings, Outcome } from "../../src/client/client.ts";
import {
  continueNumbers,
  createPipeline,
  expireRequests,
  failRequests,
  nextDeadline,
  nextRequest,
  onRequestRefused,
  onReply,
  type Pipeline,
  type PipelineEvents,
  pushRequest,
  repeatLast,
  resendRequests,
  untaken,
} from "../../src/client/pipeline.ts";
import { CLIENT } from "../../src/config.ts";
import { type ErrorCode, failure } from "../../src/lib/errors.ts";
import { decodeCommand } from "../../src/queue/commands.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import type { Request } from "../../src/wire/protocol.ts";

const SESSION = 7;
let pipeline: Pipeline;
let outcomes: Map<string, Outcome>;
let frame = 0;

interface Start {
  readonly numbered?: boolean;
  readonly acknowledges?: ClientSettings["acknowledge"]["when"];
  readonly onLate?: PipelineEvents["onLate"];
  readonly window?: number;
  readonly windowBytes?: number;
}

function start(
  { numbered = false, acknowledges = "delivered", onLate = () => {}, window = 64, windowBytes = 1_000 }: Start = {},
  lastNumber = 0,
): void {
  const settings = {
    numbered,
    acknowledge: { when: acknowledges, earlier: "fetched", whenIdle: false },
    timeoutMs: 1_000,
    follow: true,
    limits: { ...CLIENT.limits, window, windowBytes },
  } as const;
  pipeline = createPipeline(settings, { onLate, onTaken: () => {} });
  continueNumbers(pipeline, lastNumber, lastNumber);
  outcomes = new Map();
  frame = 0;
}
beforeEach(() => start());

/** `command` is any byte; its name is how the test finds its outcome. */
function push(name: string, deadline = 1_000, number: number | null = null): void {
  pushRequest(pipeline, new TextEncoder().encode(name), deadline, (outcome) => outcomes.set(name, outcome), number);
}
function sendAll(): Request[] {
  const sent: Request[] = [];
  for (
    let next = nextRequest(pipeline, SESSION, frame + 1);
    next !== null;
    next = nextRequest(pipeline, SESSION, frame + 1)
  ) {
    frame++;
    sent.push(next);
  }
  return sent;
}
const numbers = (requests: Request[]): number[] => requests.map(({ number }) => number);
const isResolve = ({ command }: Request): boolean => {
  try {
    return decodeCommand(command, { maxJobsPerCommand: 1 }).type === "resolve";
  } catch {
    return false;
  }
};
const enqueued = (index: number): Uint8Array => encodeReply({ type: "enqueued", index, firstId: index, count: 1 });
const answer = (request: Request | undefined): void => {
  expect(onReply(pipeline, request!.frameId, enqueued(request!.number), false)).toEqual({ type: "goOn" });
};
const refuse = (request: Request | undefined, code: ErrorCode) =>
  onRequestRefused(pipeline, request!.frameId, failure(code, "scripted"));
function failureOf(name: string) {
  const outcome = outcomes.get(name);
  return outcome === undefined || outcome.ok ? null : { code: outcome.failure.code, applied: outcome.failure.applied };
}

describe("numbers", () => {
  test("go on behind the last number of the session", () => {
    start({}, 41);
    push("a");
    push("b");
    expect(numbers(sendAll())).toEqual([42, 43]);
  });

  test("of an earlier process are acknowledged, because nobody can ask for them any more", () => {
    start({}, 41);
    push("a");
    expect(sendAll()[0]!.acknowledgedThrough).toBe(41);
  });

  test("are acknowledged up to the first one that is unanswered", () => {
    for (const name of ["a", "b", "c"]) push(name);
    const [a, b, c] = sendAll();
    answer(c);
    answer(a);
    push("d");
    expect(sendAll()[0]!.acknowledgedThrough).toBe(1);
    answer(b);
    push("e");
    expect(sendAll()[0]!.acknowledgedThrough).toBe(3);
  });

  test("never are further apart than the window", () => {
    start({ window: 3 });
    for (const name of ["a", "b", "c", "d", "e"]) push(name);
    const first = sendAll();
    expect(numbers(first)).toEqual([1, 2, 3]);
    answer(first[1]);
    expect(sendAll()).toEqual([]);
    answer(first[0]);
    expect(numbers(sendAll())).toEqual([4, 5]);
  });

  test("are not under way with more bytes than the window of bytes, but always with one", () => {
    start({ windowBytes: 4 });
    for (const name of ["aa", "bb", "c", "ddddd", "e"]) push(name);
    const first = sendAll();
    expect(numbers(first)).toEqual([1, 2]);
    answer(first[0]);
    const second = sendAll();
    expect(numbers(second)).toEqual([3]);
    answer(first[1]);
    expect(sendAll()).toEqual([]);
    answer(second[0]);
    expect(numbers(sendAll())).toEqual([4]);
    resendRequests(pipeline);
    const again = sendAll();
    expect(numbers(again)).toEqual([4]);
    answer(again[0]);
    expect(numbers(sendAll())).toEqual([5]);
  });

  test("given by the caller are kept as they are and earlier answers stay available", () => {
    start({ numbered: true }, 500);
    push("a", 1_000, 1);
    push("b", 1_000, 2);
    const sent = sendAll();
    expect(sent.map(({ number, acknowledgedThrough }) => [number, acknowledgedThrough])).toEqual([
      [1, 0],
      [2, 0],
    ]);
  });
});

describe("sending again", () => {
  test("after a lost connection repeats what is unanswered, in order and with the same numbers", () => {
    for (const name of ["a", "b", "c"]) push(name);
    const first = sendAll();
    answer(first[0]);
    resendRequests(pipeline);
    const again = sendAll();
    expect(numbers(again)).toEqual([2, 3]);
    expect(again.map(({ command }) => command)).toEqual(first.slice(1).map(({ command }) => command));
  });

  test.each(["OVERLOADED", "OUT_OF_ORDER", "WINDOW_FULL", "DISK_FULL"] as const)(
    "after %s goes back to the refused number",
    (code) => {
      for (const name of ["a", "b", "c"]) push(name);
      const [a, b, c] = sendAll();
      answer(a);
      expect(refuse(b, code)).toEqual({ type: "pause", retryAfterMs: undefined });
      expect(refuse(c, "OUT_OF_ORDER").type).toBe("pause");
      expect(numbers(sendAll())).toEqual([2, 3]);
      expect(outcomes.size).toBe(1);
    },
  );

  test("an answer to an earlier attempt counts, the repeated attempt's is ignored", () => {
    push("a");
    const [first] = sendAll();
    expect(refuse(first, "OVERLOADED").type).toBe("pause");
    const [second] = sendAll();
    answer(second);
    expect(onReply(pipeline, second!.frameId, enqueued(1), true)).toEqual({ type: "goOn" });
    expect(outcomes.get("a")).toMatchObject({ ok: true, number: 1, duplicate: false });
    expect(pipeline.waiting).toBe(0);
  });

  test.each(["NOT_LEADER", "NO_LEADER", "STARTING", "LEADER_CHANGED", "VERSION"] as const)(
    "%s means another node",
    (code) => {
      push("a");
      expect(refuse(sendAll()[0], code).type).toBe("leave");
    },
  );
});

describe("the final word", () => {
  test("on a number that was never sent is what the client met, and the number is free again", () => {
    push("a", 10);
    expireRequests(pipeline, 10, failure("NO_LEADER", "scripted"));
    expect(outcomes.get("a")).toMatchObject({ ok: false, number: 1 });
    expect(failureOf("a")).toEqual({ code: "NO_LEADER", applied: "no" });
    push("b");
    const sent = sendAll();
    expect(numbers(sent)).toEqual([1]);
    expect(isResolve(sent[0]!)).toBe(false);
  });

  test("on a number that was never sent is certain, although others' leader is gone, and no later one waits for it", () => {
    start({ window: 2 });
    for (const name of ["a", "b", "c"]) push(name, name === "c" ? 10 : 1_000);
    const [a, b] = sendAll();
    expireRequests(pipeline, 10, failure("LEADER_CHANGED", "scripted"));
    expect(failureOf("c")).toEqual({ code: "NO_LEADER", applied: "no" });
    answer(a);
    answer(b);
    for (const name of ["d", "e"]) push(name);
    const later = sendAll();
    expect(numbers(later)).toEqual([3, 4]);
    for (const request of later) answer(request);
    expect(pipeline.acknowledgedThrough).toBe(4);
  });

  test("on a number that once was unclear is TIMEOUT, never NO_LEADER", () => {
    push("a", 10);
    sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, failure("NO_LEADER", "scripted"));
    expect(failureOf("a")).toEqual({ code: "TIMEOUT", applied: "unknown" });
  });

  test("stays unknown when later attempts were surely refused", () => {
    push("a", 10);
    expect(refuse(sendAll()[0], "LEADER_CHANGED").type).toBe("leave");
    expect(refuse(sendAll()[0], "OVERLOADED").type).toBe("pause");
    expireRequests(pipeline, 10, null);
    expect(failureOf("a")).toEqual({ code: "TIMEOUT", applied: "unknown" });
  });

  test("on a number that every node surely refused is not unknown", () => {
    push("a", 10);
    refuse(sendAll()[0], "DISK_FULL");
    expireRequests(pipeline, 10, null);
    expect(failureOf("a")).toEqual({ code: "DISK_FULL", applied: "no" });
  });

  test("of a fenced session leaves unclear numbers unknown and the others not applied", () => {
    push("a");
    push("b");
    const [a] = sendAll();
    push("c");
    expect(refuse(a, "SESSION_FENCED").type).toBe("over");
    failRequests(pipeline, failure("SESSION_FENCED", "scripted"));
    expect(failureOf("a")).toEqual({ code: "SESSION_FENCED", applied: "no" });
    expect(failureOf("b")).toEqual({ code: "SESSION_FENCED", applied: "unknown" });
    expect(failureOf("c")).toEqual({ code: "SESSION_FENCED", applied: "no" });
  });

  test("may be a refusal that the log holds", () => {
    push("a");
    const reply = encodeReply({ type: "refused", index: 9, code: "TOO_LARGE", message: "scripted" });
    onReply(pipeline, sendAll()[0]!.frameId, reply, false);
    expect(failureOf("a")).toEqual({ code: "TOO_LARGE", applied: "no" });
    push("b");
    expect(numbers(sendAll())).toEqual([2]);
  });

  test("is given to all requests whose time is over, and to no other", () => {
    push("a", 10);
    push("b", 20);
    push("c", 30);
    expireRequests(pipeline, 20, failure("UNREACHABLE", "scripted"));
    expect([...outcomes.keys()]).toEqual(["a", "b"]);
    expect(nextDeadline(pipeline)).toBe(30);
  });

  test("of a request that a callback pushes meanwhile is not given early", () => {
    pushRequest(pipeline, new Uint8Array([1]), 10, () => push("later"), null);
    failRequests(pipeline, failure("UNREACHABLE", "scripted"));
    expect(outcomes.has("later")).toBe(false);
    expect(pipeline.waiting).toBe(1);
  });
});

describe("a number that was given up", () => {
  test("is resolved before the next one is sent", () => {
    push("a", 10);
    sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, null);
    expect(sendAll()).toEqual([]);
    push("b");
    const sent = sendAll();
    expect(numbers(sent)).toEqual([1, 2]);
    expect(sent.map(isResolve)).toEqual([true, false]);
    onReply(pipeline, sent[0]!.frameId, encodeReply({ type: "void", index: 3 }), false);
    answer(sent[1]);
    expect(outcomes.get("b")).toMatchObject({ ok: true, number: 2 });
  });

  test("on a number that had to wait for a refused one names the reason of that one", () => {
    for (const name of ["a", "b", "c"]) push(name, 10);
    const [a, b, c] = sendAll();
    refuse(a, "DISK_FULL");
    for (const later of [b, c]) refuse(later, "OUT_OF_ORDER");
    expireRequests(pipeline, 10, null);
    expect(["a", "b", "c"].map((name) => failureOf(name)?.code)).toEqual(["DISK_FULL", "DISK_FULL", "DISK_FULL"]);
  });

  test("because the node refused it for good is resolved while later ones are under way", () => {
    for (const name of ["a", "b"]) push(name);
    const [a, b] = sendAll();
    expect(refuse(a, "BAD_REQUEST")).toEqual({ type: "goOn" });
    refuse(b, "OUT_OF_ORDER");
    const again = sendAll();
    expect(numbers(again)).toEqual([1, 2]);
    expect(again.map(isResolve)).toEqual([true, false]);
  });

  test("and refused as spent needs no settling", () => {
    for (const name of ["a", "b"]) push(name);
    const [a] = sendAll();
    refuse(a, "CONFLICT");
    expect(failureOf("a")).toEqual({ code: "CONFLICT", applied: "no" });
    resendRequests(pipeline);
    expect(numbers(sendAll())).toEqual([2]);
  });

  test("and is refused for good afterwards is not acknowledged where the next run asks for it again", () => {
    for (const numbered of [false, true]) {
      start({ numbered, acknowledges: "taken" });
      push("a", 10, numbered ? 1 : null);
      const [sent] = sendAll();
      expireRequests(pipeline, 10, null);
      onReply(
        pipeline,
        sent!.frameId,
        encodeReply({ type: "refused", index: 9, code: "QUEUE_FULL", message: "scripted" }),
        false,
      );
      expect(pipeline.acknowledgedThrough).toBe(numbered ? 0 : 1);
    }
  });

  test("because it is spent brings nothing of what is under way behind it to be sent again", () => {
    start({ numbered: true });
    for (const [at, name] of ["a", "b", "c"].entries()) push(name, 1_000, at + 1);
    const [a] = sendAll();
    expect(refuse(a, "FORGOTTEN")).toEqual({ type: "goOn" });
    expect(failureOf("a")).toEqual({ code: "FORGOTTEN", applied: "no" });
    expect(sendAll()).toEqual([]);
  });

  test("is tried again when its resolve meets the command that is still under way", () => {
    push("a", 10);
    sendAll();
    expireRequests(pipeline, 10, null);
    push("b");
    resendRequests(pipeline);
    const [resolve] = sendAll();
    expect(refuse(resolve, "CONFLICT").type).toBe("pause");
    expect(sendAll().map(isResolve)).toEqual([true, false]);
  });

  test("by a caller who numbers is still to be done, so the command itself is sent again", () => {
    start({ numbered: true });
    push("a", 10, 1);
    push("b", 1_000, 2);
    const first = sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, null);
    const again = sendAll();
    expect(numbers(again)).toEqual([1, 2]);
    expect(again[0]!.command).toEqual(first[0]!.command);
  });
});

describe("again", () => {
  const again = (): boolean => repeatLast(pipeline, 1_000, (outcome) => outcomes.set("again", outcome));

  test("sends the last answered number and its command once more, not acknowledging it", () => {
    push("a");
    const [first] = sendAll();
    answer(first);
    expect(again()).toBe(true);
    const [second] = sendAll();
    expect(second).toEqual({ ...first!, frameId: second!.frameId });
    onReply(pipeline, second!.frameId, enqueued(1), true);
    expect(outcomes.get("again")).toMatchObject({ ok: true, number: 1, duplicate: true });
    push("b");
    expect(numbers(sendAll())).toEqual([2]);
  });

  test("sends an unclear number with its own command, to learn the truth", () => {
    push("a", 10);
    const [first] = sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, null);
    expect(again()).toBe(true);
    const [second] = sendAll();
    expect(second!.command).toEqual(first!.command);
    expect(second!.number).toBe(1);
  });

  test("has nothing to send before the first request, and not while another one waits", () => {
    expect(again()).toBe(false);
    push("a");
    expect(again()).toBe(false);
  });
});

test("ten thousand requests pass through in order, each answered once", () => {
  let outcomeCount = 0;
  for (let at = 0; at < 10_000; at++)
    pushRequest(pipeline, new Uint8Array([at & 0xff]), 1_000, () => outcomeCount++, null);
  for (let expected = 1; expected <= 10_000;) {
    for (const request of sendAll()) {
      expect(request.number).toBe(expected++);
      answer(request);
    }
  }
  expect(outcomeCount).toBe(10_000);
  expect(pipeline.waiting).toBe(0);
});

test("an answered command is not kept, but for the last one", () => {
  const heldBytes = (): number => {
    Bun.gc(true);
    return heapStats().extraMemorySize;
  };
  const size = 1_000_000;
  const before = heldBytes();
  for (let count = 0; count < 40; count++) {
    pushRequest(pipeline, new Uint8Array(size), 1_000, () => {}, null);
    answer(sendAll()[0]);
  }
  expect(heldBytes() - before).toBeLessThan(10 * size);
});

describe("answers that must be taken", () => {
  let takers: Map<string, () => void>;
  let late: { readonly outcome: Outcome; readonly taken: () => void }[];
  beforeEach(() => {
    takers = new Map();
    late = [];
    start({ acknowledges: "taken", onLate: (outcome, taken) => late.push({ outcome, taken }), window: 3 });
  });
  const pushTaken = (name: string, deadline = 1_000): void =>
    pushRequest(
      pipeline,
      new TextEncoder().encode(name),
      deadline,
      (outcome, taken) => {
        outcomes.set(name, outcome);
        takers.set(name, taken);
      },
      null,
    );
  const takeIt = (name: string): void => takers.get(name)!();

  test("are acknowledged up to the first one that was not taken, whatever was answered", () => {
    for (const name of ["a", "b"]) pushTaken(name);
    for (const request of sendAll()) answer(request);
    expect([pipeline.acknowledgedThrough, untaken(pipeline)]).toEqual([0, { first: 1, last: 2 }]);
    takeIt("b");
    expect([pipeline.acknowledgedThrough, untaken(pipeline)]).toEqual([0, { first: 1, last: 1 }]);
    takeIt("a");
    expect([pipeline.acknowledgedThrough, untaken(pipeline)]).toEqual([2, null]);
    pushTaken("c");
    expect(sendAll()[0]!.acknowledgedThrough).toBe(2);
  });

  test("hold up the requests behind the window until they are", () => {
    for (const name of ["a", "b", "c", "d"]) pushTaken(name);
    for (const request of sendAll()) answer(request);
    expect(sendAll()).toEqual([]);
    takeIt("a");
    expect(numbers(sendAll())).toEqual([4]);
  });

  test("are not sent again on a new connection", () => {
    for (const name of ["a", "b"]) pushTaken(name);
    const [a] = sendAll();
    answer(a);
    resendRequests(pipeline);
    expect(numbers(sendAll())).toEqual([2]);
  });

  test("that come after the final word are handed on, and cannot be taken by the one who got that", () => {
    pushTaken("a", 10);
    sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, null);
    expect(failureOf("a")).toEqual({ code: "TIMEOUT", applied: "unknown" });
    pushTaken("b");
    const [resolve, b] = sendAll();
    expect([isResolve(resolve!), b!.acknowledgedThrough]).toEqual([true, 0]);
    answer(resolve);
    answer(b);
    takeIt("a");
    takeIt("b");
    expect([pipeline.acknowledgedThrough, untaken(pipeline)]).toEqual([0, { first: 1, last: 1 }]);
    expect(late.map(({ outcome }) => outcome)).toMatchObject([{ ok: true, number: 1, reply: { type: "enqueued" } }]);
    late[0]!.taken();
    expect([pipeline.acknowledgedThrough, untaken(pipeline)]).toEqual([2, null]);
  });

  test("need nobody where a resolve found that the number was never executed", () => {
    pushTaken("a", 10);
    sendAll();
    resendRequests(pipeline);
    expireRequests(pipeline, 10, null);
    pushTaken("b");
    const [resolve] = sendAll();
    onReply(pipeline, resolve!.frameId, encodeReply({ type: "void", index: 1 }), false);
    expect([pipeline.acknowledgedThrough, late.length]).toEqual([1, 0]);
  });

  test("are not awaited for a number that was surely not executed", () => {
    pushTaken("a", 10);
    const [a] = sendAll();
    refuse(a, "NO_LEADER");
    expireRequests(pipeline, 10, null);
    expect(untaken(pipeline)).toBeNull();
  });
});
