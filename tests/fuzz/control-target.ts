// What does the supervisor's socket do with lines that no raftq wrote? It refuses them by name or closes; it never does what they
// do not state.
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askSupervisor, type ControlListener, type ControlRequest, listenControl } from "../../src/cluster/control.ts";
import { CLUSTER } from "../../src/config.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";

import { expectThat, type FuzzTarget, gist, randomBytes } from "./target.ts";
import { joined, mutateBytes } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

const COMMANDS = ["describe", "add", "down", "kill", "start", "pause", "resume", "retire"];
const WORDS = [
  "describe",
  "add",
  "down",
  "kill",
  "retire",
  "Kill",
  "__proto__",
  "constructor",
  "",
  "\u0000",
  "\u001b[2J",
  "..",
  "n1",
];
const SILENCE_MS = 2_000;

const utf8 = new TextEncoder();

/** An input: 0 for a request or 1 for an answer, then the bytes of the line. */
function line(random: Random): Uint8Array {
  const anything = (depth: number): unknown => {
    switch (random.below(depth > 0 ? 8 : 6)) {
      case 0:
        return pick(random, WORDS);
      case 1:
        return random.below(2 ** 32) - 2 ** 31;
      case 2:
        return null;
      case 3:
        return random.chance(50);
      case 4:
        return 1e308;
      case 5:
        return "n".repeat(random.below(40));
      case 6:
        return [anything(depth - 1)];
      default:
        return { [pick(random, WORDS)]: anything(depth - 1) };
    }
  };
  const command = random.chance(70) ? pick(random, COMMANDS) : anything(2);
  // `describe`, `add` and `down` take no node, and are refused with one.
  const request = random.chance(40)
    ? { command }
    : { command, node: random.chance(60) ? pick(random, WORDS) : anything(2) };
  const end = { code: null, signal: "SIGKILL", at: 1, lastLines: ["x"] };
  const facts = {
    id: "n1",
    address: "127.0.0.1:1",
    pid: 1,
    process: "running",
    ended: random.chance(50) ? end : anything(2),
  };
  const cluster = { name: "default", pid: 1, nodes: random.chance(80) ? [facts] : anything(2) };
  const answer = { ok: random.chance(80) ? true : anything(1), cluster, node: null, changed: true };
  const kind = random.below(2);
  return joined(Uint8Array.of(kind), utf8.encode(JSON.stringify(kind === 0 ? request : answer)), utf8.encode("\n"));
}

interface Stage {
  readonly path: string;
  /** What the next line to be answered is answered with; null: what the real supervisor answers. */
  answerWith: Uint8Array | null;
  readonly received: ControlRequest[];
  readonly end: () => void;
}

let stage: Promise<Stage> | null = null;

async function openStage(): Promise<Stage> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-fuzz-"));
  const path = join(directory, "control.sock");
  const received: ControlRequest[] = [];
  const listener: ControlListener = await listenControl(path, (request) => {
    received.push(request);
    return Promise.resolve({ cluster: { name: "default", pid: null, nodes: [] }, node: null, changed: false });
  });
  const end = (): void => {
    void listener.close().then(() => rmSync(directory, { recursive: true, force: true }));
  };
  return { path, answerWith: null, received, end };
}

export const control: FuzzTarget = {
  name: "control",
  maxMs: 1_000,
  generate: (random) => {
    if (random.chance(90)) return line(random);
    const length = pick(random, [1, 10, 100, CLUSTER.maxControlLineBytes + 10]);
    return joined(
      Uint8Array.of(0),
      random.chance(50) ? new Uint8Array(length).fill(0x20) : randomBytes(random, Math.min(length, 300)),
    );
  },
  mutate: (input, random) => joined(Uint8Array.of(random.below(2)), mutateBytes(input.subarray(1), random)),
  run: async (input) => {
    const open = await (stage ??= openStage());
    const bytes = input.slice(1);
    return input[0] === 1 ? readAnswer(bytes, open) : sendRequest(bytes, open);
  },
  end: () => {
    void stage?.then((open) => open.end());
    stage = null;
  },
};

/** One connection: the line is sent, its end too, and what comes back is judged. */
function sendRequest(bytes: Uint8Array, open: Stage): Promise<string> {
  const before = open.received.length;
  return new Promise((resolve, reject) => {
    const socket = connect(open.path);
    let text = "";
    let over = false;
    const finish = (how: string): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      socket.destroy();
      try {
        resolve(judge(how, text, open.received.slice(before)));
      } catch (error) {
        reject(error as Error);
      }
    };
    const timer = setTimeout(() => finish("silence"), SILENCE_MS);
    socket.on("data", (data: Uint8Array) => (text += Buffer.from(data).toString()));
    socket.on("error", () => finish("closed"));
    socket.on("close", () => finish("closed"));
    socket.on("connect", () => {
      socket.write(bytes);
      // Without the end of a line there is nothing to answer: the end of the connection comes first.
      if (!bytes.includes(10)) setTimeout(() => finish("waits"), 5);
    });
  });
}

function judge(how: string, text: string, received: readonly ControlRequest[]): string {
  expectThat(how !== "silence", "a whole line was never answered");
  expectThat(received.length <= 1, "one line was taken for several requests");
  for (const request of received) {
    expectThat(COMMANDS.includes(request.command), "a command that there is not was passed on");
    expectThat(!("node" in request) || typeof request.node === "string", "a node that is no text was passed on");
  }
  if (text === "") return how;
  const answer = JSON.parse(text) as { ok: boolean; code?: string };
  expectThat(answer.ok === (received.length === 1), "the answer states something else than what was done");
  return received[0]?.command ?? String(answer.code);
}

/** A supervisor that answers nonsense: the asker gets an answer of the right shape, or a named error. */
async function readAnswer(bytes: Uint8Array, open: Stage): Promise<string> {
  const path = `${open.path}.${process.pid}`;
  const { createServer } = await import("node:net");
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(bytes);
  });
  await new Promise<void>((ready) => server.listen(path, ready));
  try {
    const answer = await askSupervisor(path, { command: "describe" }, SILENCE_MS);
    for (const node of answer.cluster.nodes) expectThat(typeof node.id === "string", "a node without an id");
    return `answer of ${Math.min(2, answer.cluster.nodes.length)} nodes`;
  } catch (error) {
    if (!(error instanceof RaftqError)) throw error;
    return `${error.code} ${gist(error.message.replaceAll(path, "P"))}`;
  } finally {
    server.close();
  }
}
