// How do other terminals reach the supervisor? One JSON line in, one JSON line out, over `.raftq/<name>/control.sock`.
import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { CLUSTER } from "../config.ts";
import { isErrorCode, RaftqError } from "../lib/errors.ts";
import type { NodeEnd } from "./node-process.ts";
import { isObject } from "./state.ts";

export type NodeVerb = "kill" | "start" | "pause" | "resume" | "retire";
export type ControlRequest =
  | { readonly command: "describe" }
  /** A new local node is started; it asks the others to be let in. */
  | { readonly command: "add" }
  | { readonly command: "down" }
  /** `retire`: stop it and forget it, keep its data. */
  | { readonly command: NodeVerb; readonly node: string };

/** What the supervisor knows of one node: its process. What the node itself says is asked of the node. */
export interface NodeFacts {
  readonly id: string;
  readonly address: string;
  readonly pid: number | null;
  readonly process: "running" | "paused" | "down";
  /** How it ended when nobody told it to. */
  readonly ended: NodeEnd | null;
}

export interface ClusterFacts {
  readonly name: string;
  readonly pid: number | null;
  readonly nodes: readonly NodeFacts[];
}

export interface ControlAnswer {
  readonly cluster: ClusterFacts;
  /** The node that the request was about. */
  readonly node: string | null;
  /** True when there was something to do: killing a node that is down changes nothing. */
  readonly changed: boolean;
}

export interface ControlListener {
  /** Takes no more requests; resolves when the answers that are under way have left. */
  close(): Promise<void>;
  /** Instead of `close`, which removes whatever is at the path: that may be another supervisor's socket by now. */
  abandon(): void;
}

/** Throws when the path cannot be bound. The caller holds the cluster's lock, so a socket that is there is a dead supervisor's. */
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
      const request = parseRequest(line);
      if (request === null)
        return finish(socket, refusal(new RaftqError("BAD_REQUEST", "this is no request to a supervisor")));
      handle(request).then(
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

/** The answer is in the other side's buffer when the system took it; waiting for that side to close could take for ever. */
const finish = (socket: Socket, answer: object): void => {
  socket.end(`${JSON.stringify(answer)}\n`, () => socket.destroy());
};

function refusal(error: unknown): object {
  const code = error instanceof RaftqError ? error.code : "BAD_REQUEST";
  return { ok: false, code, message: error instanceof Error ? error.message : String(error) };
}

function parse(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function parseRequest(line: string): ControlRequest | null {
  const { command, node } = parse(line) ?? {};
  if (command === "describe" || command === "add" || command === "down") return { command };
  return isNodeVerb(command) && typeof node === "string" ? { command, node } : null;
}

function parseAnswer(line: string): ControlAnswer | RaftqError {
  const answer = parse(line);
  const { ok, code, message, cluster, node, changed } = answer ?? {};
  if (ok === false && typeof code === "string" && typeof message === "string") {
    return new RaftqError(isErrorCode(code) ? code : "BAD_REQUEST", message);
  }
  if (ok === true && isClusterFacts(cluster) && (node === null || typeof node === "string")) {
    return { cluster, node, changed: changed === true };
  }
  return new RaftqError(
    "VERSION",
    "the supervisor of this cluster is of another raftq: end it with that version's `raftq cluster down`",
  );
}

const isNodeVerb = (value: unknown): value is NodeVerb =>
  value === "kill" || value === "start" || value === "pause" || value === "resume" || value === "retire";

const isClusterFacts = (value: unknown): value is ClusterFacts =>
  isObject(value) &&
  typeof value["name"] === "string" &&
  Array.isArray(value["nodes"]) &&
  value["nodes"].every(isNodeFacts);

const isNodeFacts = (value: unknown): value is NodeFacts =>
  isObject(value) &&
  typeof value["id"] === "string" &&
  typeof value["address"] === "string" &&
  (value["pid"] === null || typeof value["pid"] === "number") &&
  (value["process"] === "running" || value["process"] === "paused" || value["process"] === "down") &&
  (value["ended"] === null || isNodeEnd(value["ended"]));

const isNodeEnd = (value: unknown): value is NodeEnd =>
  isObject(value) &&
  (value["code"] === null || typeof value["code"] === "number") &&
  (value["signal"] === null || typeof value["signal"] === "string") &&
  typeof value["at"] === "number" &&
  Array.isArray(value["lastLines"]) &&
  value["lastLines"].every((line) => typeof line === "string");
