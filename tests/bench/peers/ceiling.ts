// What does this machine give without any consensus? Three Bun processes make batches durable together (ceiling-node.ts),
// driven by a bare loop on one connection. A ratio to it, taken in the same run, shows what a real system costs.
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { unpack } from "msgpackr";
import { freePorts } from "../../kit/free-ports.ts";
import { frame, framer, TYPE } from "./ceiling-frames.ts";
import { CONNECTIONS, stopwatch, type Task, type Window, windowOf } from "./closed-loop.ts";
import { HOST, pause } from "./peer.ts";
import { type ServerProcess, serverProcess } from "./processes.ts";

const NODE = join(import.meta.dir, "ceiling-node.ts");
const WARM_UP_MS = 1_000;
const START_LIMIT_MS = 10_000;
const LAST_ANSWERS_MS = 100;

export interface Ceiling {
  measure(task: Task): Promise<Window>;
  stop(): Promise<void>;
}

export async function startCeiling(directory: string): Promise<Ceiling> {
  const [leader = 0, ...followers] = freePorts(3);
  const started: ServerProcess[] = [];
  const start = async (name: string, port: number, more: readonly number[]): Promise<void> => {
    const home = join(directory, name);
    const server = serverProcess([process.execPath, NODE, home, String(port), ...more.map(String)], home);
    server.start();
    started.push(server);
    (await dial(port)).destroy();
  };
  await Promise.all(followers.map((port, i) => start(`follower-${i}`, port, [])));
  await start("leader", leader, followers);
  return {
    measure: async (task) => {
      const dialed = Array.from({ length: Math.min(task.inFlight, CONNECTIONS) }, () => dial(leader));
      return drive(await Promise.all(dialed), task, started);
    },
    stop: async () => void (await Promise.all(started.map((server) => server.kill()))),
  };
}

/** Connects as soon as a process listens there. */
async function dial(port: number): Promise<Socket> {
  const limit = performance.now() + START_LIMIT_MS;
  for (;;) {
    const socket = connect({ port, host: HOST, noDelay: true });
    const isOpen = await new Promise<boolean>((done) => {
      socket.once("connect", () => done(true));
      socket.once("error", () => done(false));
    });
    if (isOpen) return socket;
    socket.destroy();
    if (performance.now() > limit) throw new Error(`nobody listens on port ${port}`);
    await pause(20);
  }
}

async function drive(sockets: readonly Socket[], task: Task, servers: readonly ServerProcess[]): Promise<Window> {
  let tookMs: number[] = [];
  let isRunning = true;
  const ended = sockets.map((socket, i) => {
    const share = Math.floor((task.inFlight + i) / sockets.length);
    return pipeline(
      socket,
      share,
      task.size,
      () => isRunning,
      (ms) => tookMs.push(ms),
    );
  });
  await pause(WARM_UP_MS);
  tookMs = [];
  const stop = stopwatch(servers);
  await pause(task.seconds * 1_000);
  const [counted, used] = [tookMs, stop()];
  isRunning = false;
  tookMs = [];
  await pause(LAST_ANSWERS_MS);
  for (const end of ended) end();
  return windowOf(task, counted, counted, used, 0);
}

/** Keeps `share` requests in flight on one connection; the answer ends it. */
function pipeline(
  socket: Socket,
  share: number,
  size: number,
  isRunning: () => boolean,
  took: (ms: number) => void,
): () => void {
  const payload = Buffer.alloc(size, "x");
  const sentAt = new Map<number, number>();
  let nextId = 0;
  let out: Buffer[] = [];
  const send = (): void => {
    sentAt.set(nextId, performance.now());
    out.push(frame([TYPE.request, nextId, "c1", nextId, 1, payload]));
    nextId++;
  };
  const flush = (): void => {
    if (out.length > 0) socket.write(Buffer.concat(out));
    out = [];
  };
  const feed = framer((body) => {
    const [, id] = unpack(body) as [number, number];
    took(performance.now() - (sentAt.get(id) ?? 0));
    sentAt.delete(id);
    if (isRunning()) send();
  });
  socket.on("error", () => undefined);
  socket.on("data", (data: Buffer) => {
    feed(data);
    flush();
  });
  for (let i = 0; i < share; i++) send();
  flush();
  return () => socket.destroy();
}
