// Is PROTOCOL.md true? Its byte examples, type numbers, limits and errors are computed again from the source.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { QUEUE, RAFT, SERVER, WIRE } from "../../src/config.ts";
import { ANSWER_BYTES, JOB_BYTES } from "../../src/queue/types.ts";
import { ERRORS, failure } from "../../src/lib/errors.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { encodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { KIND_NAMES } from "../../src/raft/entry.ts";
import type { ClusterId } from "../../src/raft/types.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { frameBody } from "../../src/wire/frame.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_MESSAGES } from "../../src/wire/peer-layouts.ts";
import type { Request, ServerMessage, WireMessage } from "../../src/wire/protocol.ts";
import { prove } from "../../src/wire/secret.ts";
import { ARRAY_ROWS, COMMAND_ROWS, FRAME_ROWS, PEER_ROWS, REPLY_ROWS } from "./described.ts";
import { asPeerFrame, HELLO, member, OPEN } from "../kit/messages.ts";

const page = readFileSync(join(import.meta.dir, "../../src/wire/PROTOCOL.md"), "utf8");
const words = page.replace(/\s+/g, " ");

const json = (text: string): { readonly encoding: number; readonly payload: Uint8Array } => ({
  encoding: 1,
  payload: new TextEncoder().encode(text),
});
const request = (frameId: number, number: number, command: Uint8Array): Request => ({
  type: "request",
  frameId,
  group: 0,
  session: 3,
  number,
  acknowledgedThrough: number - 1,
  command,
});
const reply = (frameId: number, value: Reply): ServerMessage => ({
  type: "reply",
  frameId,
  duplicate: false,
  reply: encodeReply(value),
});

const secretHello = { ...HELLO, nonce: Uint8Array.from({ length: 32 }, (_, at) => at) };
const challenge = {
  type: "challenge",
  nonce: Uint8Array.from({ length: 32 }, (_, at) => 32 + at),
  clusterId: "7f3a00112233ccdd" as ClusterId,
  node: member(1),
} as const;
const secret = new TextEncoder().encode("an example of a secret");

/** The message of each example of the page. */
const EXAMPLES: Readonly<Record<string, WireMessage>> = {
  hello: { type: "hello", version: WIRE.protocolVersion, features: [], role: "client", clusterId: null, node: null },
  helloAnswer: {
    type: "helloAnswer",
    version: WIRE.protocolVersion,
    features: [],
    clusterId: "7f3a00112233ccdd" as ClusterId,
    node: member(1),
    leader: member(1).address,
    term: 2,
    members: [member(1).address, member(2).address],
    maxFrameBytes: WIRE.maxClientFrameBytes,
    maxPayloadBytes: WIRE.maxPayloadBytes,
  },
  secretHello,
  challenge,
  proof: { type: "proof", proof: prove("dialed", secret, { hello: secretHello, challenge }) },
  open: { ...OPEN, frameId: 1, clientId: "c1", nonce: Uint8Array.from({ length: 16 }, (_, at) => at) },
  opened: reply(1, {
    type: "opened",
    index: 3,
    session: 3,
    lastNumber: 0,
    acknowledgedThrough: 0,
    expiresMs: QUEUE.sessionExpiryMs,
  }),
  enqueue: request(2, 1, encodeCommand({ type: "enqueue", queue: "default", jobs: [json("42")] })),
  enqueued: reply(2, { type: "enqueued", index: 4, firstId: 1, count: 1 }),
  dequeue: request(
    3,
    2,
    encodeCommand({
      type: "dequeue",
      queues: ["default"],
      max: 1,
      maxBytes: WIRE.maxPayloadBytes,
      leaseMs: 0,
      waitMs: 0,
    }),
  ),
  dequeued: reply(3, { type: "dequeued", index: 5, jobs: [{ id: 1, ...json("42") }] }),
  failure: {
    type: "failure",
    frameId: 2,
    failure: failure("NOT_LEADER", "n1 is not leading", { leader: member(2).address }),
  },
  Heartbeat: asPeerFrame({ type: "Heartbeat", term: 3, leaderCommit: 11, time: 98_765, readContext: 17 }),
};

const shown = new Map(
  [...page.matchAll(/```example (\w+)\n([\s\S]*?)```/g)].map(([, name, block]) => {
    const hex = block!.replace(/;.*$/gm, "").replace(/\s+/g, "");
    return [name!, hex] as const;
  }),
);

test("the page shows the examples that the test knows, and no other", () => {
  expect([...shown.keys()].toSorted()).toEqual(Object.keys(EXAMPLES).toSorted());
});

test.each(Object.entries(EXAMPLES))(
  "the bytes of the example %s are those that raftq writes, and it reads them so",
  (name, message) => {
    expect(shown.get(name)).toBe(Buffer.from(encodeMessage(message)).toString("hex"));
    expect(decodeMessage(frameBody(Uint8Array.from(Buffer.from(shown.get(name)!, "hex"))))).toEqual(message);
  },
);

/** Rows of the table under that head, without the padding that formatters add. */
function tableUnder(head: string): readonly string[] {
  const lines = page.split("\n").map((line) => line.replace(/\s+/g, " ").trim());
  const first = lines.indexOf(head) + 2;
  return lines.slice(first, lines.indexOf("", first));
}

test("the table of errors is that of lib/errors.ts", () => {
  const rows = Object.entries(ERRORS)
    .filter(([, rule]) => rule.class !== "local")
    .map(([code, rule]) => `| ${code} | ${rule.class} | ${rule.next} |`);
  expect(tableUnder("| code | class | next |")).toEqual(rows);
});

test("the tables of all messages match their layouts", () => {
  expect(tableUnder("| number | message | sent by | least role | priority | values behind the number |")).toEqual(
    FRAME_ROWS,
  );
  expect(tableUnder("| number | message | priority | values behind the number |")).toEqual(PEER_ROWS);
  expect(tableUnder("| number | command | values behind the number |")).toEqual(COMMAND_ROWS);
  expect(tableUnder("| number | reply | values behind the number |")).toEqual(REPLY_ROWS);
  expect(tableUnder("| array | values |")).toEqual(ARRAY_ROWS);
});

/** The names of the values, in order, where the text shows a message as an array. */
function namesShown(array: string): readonly string[] {
  const inside = array.slice(array.indexOf(",") + 1, array.lastIndexOf("]"));
  let depth = 0;
  const values = [""];
  for (const letter of inside) {
    if (letter === "[") depth++;
    if (letter === "]") depth--;
    if (letter === "," && depth === 0) values.push("");
    else values.push(values.pop() + letter);
  }
  return values.map((value) => value.trim().split(/[ ?]/)[0]!);
}

test("every message stands on the page with its number, and its values in their order", () => {
  const layouts = [...Object.values(FRAMES), ...Object.values(PEER_MESSAGES)];
  for (const { type, number, count } of layouts) {
    const at = words.search(new RegExp(`(\\*\\*${number} ${type}\\*\\*|\\| ${type} \\|) \`\\[${number}[,\\]]`));
    expect([type, at >= 0]).toEqual([type, true]);
    const array = words.slice(words.indexOf("`[", at) + 1, words.indexOf("`", words.indexOf("`[", at) + 1));
    expect([type, namesShown(array).length]).toEqual([type, count - 1]);
  }
});

test("every message has its number on the page", () => {
  const frames = Object.entries(FRAMES).map(([name, { number }]) => `**${number} ${name}** \`[${number}, `);
  const inside = Object.entries(PEER_MESSAGES).map(([name, { number }]) => `| ${name} | \`[${number}, `);
  expect([...frames, ...inside].filter((text) => !words.includes(text))).toEqual([]);
});

test("the limits on the page are those of config.ts", () => {
  const {
    maxClientFrameBytes,
    maxPeerFrameBytes,
    maxHelloBytes,
    maxHelloAnswerBytes,
    maxPayloadBytes,
    helloTimeoutMs,
    frameTimeoutMs,
    frameProgressBytes,
    pingIntervalMs,
    idleTimeoutMs,
  } = WIRE;
  const { maxConnections } = SERVER;
  const mebibytes = (bytes: number): string => (bytes < 2 ** 30 ? `${bytes / 2 ** 20} MiB` : `${bytes / 2 ** 30} GiB`);
  const facts = [
    `# The raftq protocol, version ${WIRE.protocolVersion}`,
    `at most ${maxClientFrameBytes} (1 MiB + 64 KiB) from and to clients, ${maxPeerFrameBytes} (4 MiB) between members`,
    `(hello, proof) have at most ${maxHelloBytes} bytes, the answers (challenge, helloAnswer) ${maxHelloAnswerBytes}.`,
    `| a frame of ${maxHelloBytes} bytes before the hello`,
    `| a frame of ${maxClientFrameBytes} bytes from clients, ${maxPeerFrameBytes} from members`,
    `of an answer ${WIRE.chunkCostBytes} bytes more`,
    `Beyond ${mebibytes(SERVER.maxBufferedBytes)} connections are closed`,
    `may have ${mebibytes(WIRE.maxClosingBytes)} of undelivered bytes`,
    `hello does not come within ${helloTimeoutMs / 1000} s`,
    `a node closes a connection`,
    `gets less than ${frameProgressBytes} bytes further within ${frameTimeoutMs / 1000} s`,
    `A side that has received nothing for ${pingIntervalMs / 1000} s`,
    `A side that has received nothing for ${idleTimeoutMs / 1000} s closes`,
    `a node takes ${SERVER.maxPendingPerConnection}; beyond it`,
    `up to ${SERVER.maxLogPageEntries} entries`,
    `| ${maxConnections.maxUnauthenticated} connections that have not sent a hello`,
    `| ${maxConnections.maxClients} clients`,
    `| ${maxConnections.maxClientsPerAddress} of them from one`,
    `| ${maxConnections.maxAdmins} administrators`,
    `| ${maxConnections.maxPeers} connections of members, ${maxConnections.maxPeersPerMember} of each`,
    `| hello within ${helloTimeoutMs / 1000} s`,
    `| ${frameProgressBytes / 1024} KiB more of a frame, or its end, within ${frameTimeoutMs / 1000} s`,
    `| ${mebibytes(WIRE.maxClientSendBytes)} of answers not read by one client, ${mebibytes(WIRE.maxPeerSendBytes)} by`,
    `| ${mebibytes(SERVER.maxUnreadPeekBytes)} of answers not read yet, and a job of more than ${SERVER.largePeekBytes / 1024} KiB`,
    `| ${mebibytes(SERVER.maxBufferedBytes)} held for all connections`,
    `| ${SERVER.maxPendingPerConnection} requests, or ${mebibytes(SERVER.maxPendingBytesPerConnection)} of their`,
    `| ${SERVER.maxPending} requests, or ${mebibytes(SERVER.maxPendingBytes)} of their`,
    `| ${mebibytes(RAFT.maxUncommittedBytes)} of commands that are not committed yet`,
    `| ${QUEUE.maxSessions} live sessions, each used within the last ${QUEUE.dormantAfterMs / 1000} s`,
    `| ${QUEUE.maxClientIds} client ids`,
    `There are ${QUEUE.maxSessions} live sessions`,
    `not for ${QUEUE.dormantAfterMs / 1000} s of the cluster's time, becomes dormant`,
    `| ${mebibytes(QUEUE.maxAnswerBytes)} of answers of dormant sessions`,
    `| ${QUEUE.maxReplies} answers, or ${mebibytes(QUEUE.maxReplyBytes)} of them`,
    `| ${mebibytes(QUEUE.maxAnswerBytes)} of answers not acknowledged by all sessions (each counts ${ANSWER_BYTES} bytes`,
    `| ${mebibytes(QUEUE.maxReadyBytes)} of waiting jobs (each counts ${JOB_BYTES} bytes`,
    `At ${QUEUE.maxReplies} unacknowledged replies or ${QUEUE.maxReplyBytes / 1024 / 1024} MiB`,
    `cluster's time (${QUEUE.sessionExpiryMs / 24 / 3_600_000} days)`,
    `A payload has at most ${maxPayloadBytes} bytes`,
    `cut to ${QUEUE.maxJobsPerCommand} jobs and ${QUEUE.maxPayloadBytes} bytes`,
    `\`kind\`: ${KIND_NAMES.join(", ")}.`,
  ];
  expect(facts.filter((fact) => !words.toLowerCase().includes(fact.toLowerCase()))).toEqual([]);
});
