// Is a request executed once, whichever node it is sent to and however often? Spoken on the wire directly, so that no client library
// helps. The long run: RAFTQ_E2E_OTHERS=10000.
import { expect } from "bun:test";
import { connect, type Socket } from "node:net";
import { WIRE } from "../../src/config.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import type { ClientMessage, ServerMessage, WireMessage } from "../../src/wire/protocol.ts";
import { type Cluster, clusterStatus, type NodeProcess, parameter, waitFor, inWorld } from "./harness.ts";
import { OPEN } from "../kit/messages.ts";

const OTHERS = parameter("RAFTQ_E2E_OTHERS", 2_000);
const ANSWER_MS = 10_000;

/** One connection to one node; a question, its answer, the next question. */
async function converse(node: NodeProcess): Promise<{
  ask(message: ClientMessage): Promise<ServerMessage>;
  /** Asks all of them, ends its own direction at once, and gives what is answered until the node ends the other one. */
  askAndEnd(messages: readonly ClientMessage[]): Promise<readonly ServerMessage[]>;
  end(): void;
}> {
  const answers: ServerMessage[] = [];
  const deframer = createDeframer(WIRE.maxPeerFrameBytes);
  const socket = await new Promise<Socket>((done, fail) => {
    const to = { port: node.port, host: "127.0.0.1", allowHalfOpen: true };
    const dialled = connect(to, () => done(dialled));
    dialled.once("error", fail);
  });
  let greeted = false;
  socket.on("data", (data: Uint8Array) => {
    deframer.push(data, (body) => {
      // The bytes inside a decoded message are views of the body, which lives for this call only.
      const message: WireMessage = decodeMessage(body.slice());
      if (message.type === "helloAnswer") greeted = true;
      else if ("frameId" in message) answers.push(message as ServerMessage);
      return true;
    });
  });
  const hello = {
    type: "hello",
    version: WIRE.protocolVersion,
    features: [],
    role: "client",
    clusterId: null,
    node: null,
  } as const;
  socket.write(encodeMessage(hello));
  await waitFor("the answer to a hello", ANSWER_MS, () => (greeted ? true : undefined));
  return {
    ask: (message) => {
      socket.write(encodeMessage(message));
      return waitFor(`the answer to ${message.type}`, ANSWER_MS, () =>
        answers.find(({ frameId }) => frameId === message.frameId),
      );
    },
    askAndEnd: (messages) =>
      new Promise((resolve) => {
        const before = answers.length;
        socket.once("end", () => resolve(answers.slice(before)));
        socket.end(Buffer.concat(messages.map((message) => encodeMessage(message))));
      }),
    end: () => socket.destroy(),
  };
}

let frameId = 0;
const nextFrameId = (): number => ++frameId;

/** The reply's bytes, from whichever node leads by then: redirects and "retry" are followed with the same number. */
async function askUntilReplied(
  cluster: Cluster,
  first: NodeProcess,
  make: () => ClientMessage,
): Promise<Extract<ServerMessage, { type: "reply" }>> {
  let node = first;
  for (let attempt = 0; attempt < 100; attempt++) {
    const conversation = await converse(node);
    const answer = await conversation.ask(make());
    conversation.end();
    if (answer.type === "reply") return answer;
    if (answer.type !== "failure" || answer.failure.applied === "yes")
      throw new Error(`a strange answer: ${JSON.stringify(answer)}`);
    node = cluster.nodes.find(({ address }) => answer.type === "failure" && address === answer.failure.leader) ?? node;
    await Bun.sleep(50);
  }
  throw new Error("no node gave a reply");
}

inWorld(
  "one number sent to three nodes at once, and again after other work, a snapshot and a full restart: one effect, one answer",
  async (world) => {
    const cluster = await world.cluster(3);
    const { nodes, addresses } = cluster;
    const leader = await cluster.leader();
    const nonce = new Uint8Array(16).fill(7);
    const open = (): ClientMessage => ({ ...OPEN, frameId: nextFrameId(), clientId: "c1", nonce });
    const opened = decodeReply((await askUntilReplied(cluster, leader, open)).reply);
    if (opened.type !== "opened") throw new Error(`a session was not opened: ${opened.type}`);
    const { session } = opened;

    const payload = new TextEncoder().encode("42");
    const command = encodeCommand({ type: "enqueue", queue: "default", jobs: [{ encoding: 1, payload }] });
    const request = (): ClientMessage => ({
      type: "request",
      frameId: nextFrameId(),
      group: 0,
      session,
      number: 1,
      acknowledgedThrough: 0,
      command,
    });
    const replies = await Promise.all(nodes.map((node) => askUntilReplied(cluster, node, request)));
    const [answer] = replies.map(({ reply }) => Buffer.from(reply).toString("hex"));
    expect(replies.map(({ reply }) => Buffer.from(reply).toString("hex"))).toEqual(nodes.map(() => answer as string));
    expect(replies.filter(({ duplicate }) => !duplicate).length).toBe(1);

    // Other clients' work, large enough that a snapshot is taken and the log before it is dropped.
    const filler = "x".repeat(Math.ceil((40 * 1024 * 1024) / OTHERS));
    const taken: string[] = [];
    const pipe = world.pipe(["client", "--id", "others", "--addr", addresses, "--timeout", "60s"], (line) =>
      taken.push(line),
    );
    for (let i = 0; i < OTHERS; i++) {
      pipe.write(i % 2 === 0 ? `enqueue("${i} ${filler}")` : "dequeue");
      if (pipe.waiting() > 200) await waitFor("answers", 60_000, () => (pipe.waiting() < 100 ? true : undefined));
    }
    expect(await pipe.end()).toBe(0);
    await waitFor("a snapshot on every node", 20_000, async () => {
      const status = await clusterStatus(world, addresses);
      return status?.nodes.every(({ snapshotIndex }) => (snapshotIndex ?? 0) > 1) === true ? true : undefined;
    });
    await Promise.all(nodes.map((node) => node.kill()));
    for (const node of nodes) node.start();
    await cluster.leader();

    const again = await Promise.all(nodes.map((node) => askUntilReplied(cluster, node, request)));
    for (const { reply, duplicate } of again) {
      expect({ reply: Buffer.from(reply).toString("hex"), duplicate }).toEqual({
        reply: answer as string,
        duplicate: true,
      });
    }
    const rest = world.pipe(["client", "--id", "rest", "--addr", addresses, "--timeout", "60s"], (line) =>
      taken.push(line),
    );
    const conversation = await converse(await cluster.leader());
    const numbers = Array.from({ length: 50 }, (_, at) => at + 2);
    const answered = await conversation.askAndEnd(numbers.map((number) => ({ ...request(), number })));
    expect(answered.map(({ type }) => type)).toEqual(numbers.map(() => "reply"));
    conversation.end();

    for (let i = 0; i < OTHERS; i++) rest.write("dequeue");
    expect(await rest.end()).toBe(0);
    expect(taken.at(-1)).toBe("(empty)");
    expect(taken.filter((line) => line === "42").length).toBe(1 + numbers.length);
  },
  120_000,
);
