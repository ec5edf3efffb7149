// The supervisor's control socket, by which other terminals reach it: one JSON line in, one JSON line out, over `.raftq/<name>/control.sock`.
import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import * as v from "valibot";
import { CLUSTER } from "../config.ts";
import { isErrorCode, RaftqError } from "../lib/errors.ts";
import { problemIn } from "./json.ts";
import { NODE_END } from "./node-process.ts";

// `retire`: stop it and forget it, keep its data.
const NODE_VERB = v.picklist(["kill", "start", "pause", "resume", "retire"]);
export type NodeVerb = v.InferOutput<typeof NODE_VERB>;

const REQUEST = v.pipe(
  v.variant("command", [
    v.strictObject({ command: v.literal("describe") }),
    // A new local node is started; it asks the others to be let in.
    v.strictObject({ command: v.literal("add") }),
    v.strictObject({ command: v.literal("down") }),
    v.strictObject({ command: NODE_VERB, node: v.string() }),
  ]),
  v.readonly(),
);
export type ControlRequest = v.InferOutput<typeof REQUEST>;

/** What the supervisor knows of one node: its process. What only the node knows is asked of the node. */
const NODE_FACTS = v.pipe(
  v.strictObject({
    id: v.string(),
    address: v.string(),
    pid: v.nullable(v.number()),
    process: v.picklist(["running", "paused", "down"]),
    // How it ended when it was not asked to.
    ended: v.nullable(NODE_END),
  }),
  v.readonly(),
);
export type NodeFacts = v.InferOutput<typeof NODE_FACTS>;

const CLUSTER_FACTS = v.pipe(
  v.strictObject({
    name: v.string(),
    pid: v.nullable(v.number()),
    nodes: v.pipe(v.array(NODE_FACTS), v.readonly()),
  }),
  v.readonly(),
);
export type ClusterFacts = v.InferOutput<typeof CLUSTER_FACTS>;

const GRANTED = {
  cluster: CLUSTER_FACTS,
  // The node that the request was about.
  node: v.nullable(v.string()),
  // True when there was something to do: killing a node that is down changes nothing.
  changed: v.boolean(),
};
const ANSWER = v.variant("ok", [
  v.strictObject({ ok: v.literal(true), ...GRANTED }),
  v.strictObject({ ok: v.literal(false), code: v.string(), message: v.string() }),
]);
type Answer = v.InferOutput<typeof ANSWER>;
export type ControlAnswer = Readonly<Omit<Extract<Answer, { ok: true }>, "ok">>;

const REQUEST_LINE = v.pipe(v.string(), v.parseJson(), REQUEST);
const ANSWER_LINE = v.pipe(v.string(), v.parseJson(), ANSWER);

export interface ControlListener {
  /** Takes no more requests; resolves when the answers that are under way have left. */
  close(): Promise<void>;
  /** Instead of `close`, which removes whatever is at the path: that may be another supervisor's socket by now. */
  abandon(): void;
}

/** Throws when the path cannot be bound. The caller holds the cluster's lock, so an existing socket was left by a supervisor that has ended. */
export function listenControl(
  path: string,
  handle: (request: ControlRequest) => Promise<ControlAnswer>,
): Promise<ControlListener> {
  rmSync(path, { force: true });
  const silent = new Set<Socket>();
  const server = createServer((socket) => {
    silent.add(socket);
    socket.on("close", () => silent.delete(socket));
    socket.on("error", () => socket.destroy());
    readLine(socket, (line) => {
      silent.delete(socket);
      const request = v.safeParse(REQUEST_LINE, line);
      if (!request.success) {
        const why = `this is no request to a supervisor (${problemIn(request.issues)})`;
        return finish(socket, refusal(new RaftqError("BAD_REQUEST", why)));
      }
      handle(request.output).then(
        (answer) => finish(socket, { ok: true, ...answer }),
        (error: unknown) => finish(socket, refusal(error)),
      );
    });
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      for (const socket of silent) socket.destroy();
      server.close(() => resolve());
    });
  return new Promise((resolve, reject) => {
    server.once("error", (error) =>
      reject(new RaftqError("UNWRITABLE", `cannot open ${path}: ${error.message}`, error)),
    );
    server.listen(path, () => resolve({ close, abandon: () => void server.unref() }));
  });
}

/** Sends one request to the supervisor at `path`; throws what it refused, or UNREACHABLE. */
export function askSupervisor(path: string, request: ControlRequest, timeoutMs: number): Promise<ControlAnswer> {
  return new Promise((resolve, reject) => {
    const unreachable = (why: string): void =>
      reject(new RaftqError("UNREACHABLE", `the supervisor of this cluster does not answer at ${path}: ${why}`));
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new Error(`silent for ${timeoutMs}ms`)), timeoutMs);
    socket.on("error", (error) => unreachable(error.message));
    socket.on("close", () => {
      clearTimeout(timer);
      unreachable("the connection closed");
    });
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    readLine(socket, (line) => {
      const answer = parseAnswer(line);
      if (answer instanceof RaftqError) reject(answer);
      else resolve(answer);
      socket.end();
    });
  });
}

/** The first line of a stream; a peer that sends more than a request can hold is cut off. */
function readLine(socket: Socket, take: (line: string) => void): void {
  const decoder = new TextDecoder();
  let text = "";
  let taken = false;
  socket.on("data", (bytes: Uint8Array) => {
    if (taken) return;
    text += decoder.decode(bytes, { stream: true });
    const newline = text.indexOf("\n");
    if (newline >= 0) {
      taken = true;
      take(text.slice(0, newline));
    } else if (text.length > CLUSTER.maxControlLineBytes) {
      socket.destroy();
    }
  });
}

/** The answer is in the other side's buffer when the system took it; waiting for that side to close could take forever. */
const finish = (socket: Socket, answer: Answer): void => {
  socket.end(`${JSON.stringify(answer)}\n`, () => socket.destroy());
};

function refusal(error: unknown): Answer {
  const code = error instanceof RaftqError ? error.code : "BAD_REQUEST";
  return { ok: false, code, message: error instanceof Error ? error.message : String(error) };
}

function parseAnswer(line: string): ControlAnswer | RaftqError {
  const read = v.safeParse(ANSWER_LINE, line);
  if (!read.success) {
    return new RaftqError(
      "VERSION",
      `the supervisor of this cluster is of another raftq (${problemIn(read.issues)}): end it with that version's \`raftq cluster down\``,
    );
  }
  const answer = read.output;
  if (!answer.ok) return new RaftqError(isErrorCode(answer.code) ? answer.code : "BAD_REQUEST", answer.message);
  const { cluster, node, changed } = answer;
  return { cluster, node, changed };
}
