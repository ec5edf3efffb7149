// How long does a system take from empty directories to its first acknowledged write? And how is it ended again?
import { rmSync } from "node:fs";
import { type Peer, pause, serversOf, type System, within } from "./peer.ts";

const START_LIMIT_MS = 90_000;
const ATTEMPT_LIMIT_MS = 6_000;
const RETRY_MS = 10;
const BODY = Buffer.alloc(16, "x");

export async function coldStart(system: System, directory: string): Promise<{ peer: Peer; firstAckMs: number }> {
  rmSync(directory, { recursive: true, force: true });
  const peer = system.create(directory);
  const began = performance.now();
  for (const server of serversOf(peer)) server.start();
  let why: unknown;
  while (performance.now() - began < START_LIMIT_MS) {
    try {
      await within(ATTEMPT_LIMIT_MS, "the first write", firstWrite(peer));
      return { peer, firstAckMs: performance.now() - began };
    } catch (error) {
      why = error;
      const dead = serversOf(peer).find((server) => server.pids().length === 0);
      if (dead !== undefined) {
        await stopAll(peer);
        throw new Error(`a server ended while it was started; its last words: ${dead.lastWords()}`);
      }
      await pause(RETRY_MS);
    }
  }
  await stopAll(peer);
  throw new Error(`no write was acknowledged within ${START_LIMIT_MS / 1_000} s: ${String(why)}`);
}

async function firstWrite(peer: Peer): Promise<void> {
  await peer.prepare();
  const client = await peer.connect(await peer.leader(), 1, "producer");
  try {
    await client.enqueue(BODY);
  } finally {
    client.close();
  }
}

export async function stopAll(peer: Peer): Promise<void> {
  await Promise.all(peer.nodes.map((node) => node.kill()));
  await Promise.all(peer.others.map((other) => other.kill()));
}
