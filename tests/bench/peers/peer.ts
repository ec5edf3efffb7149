// What must the comparison know of a system to drive it like the others? How to reach it, and how durable its "ok" is.
import type { ServerProcess } from "./processes.ts";

/** What a system has done when it answers a write with ok. */
export type Durability = "synced by a majority" | "in the memory of a majority" | "synced by one node";

export interface QueueClient {
  /** Resolves when the server acknowledged the write. */
  enqueue(body: Buffer): Promise<unknown>;
  /** Receives one message and settles it for good; waits while there is none. */
  dequeue(): Promise<Uint8Array>;
  close(): void;
}

export type Role = "producer" | "consumer";

export interface Peer {
  /** `nodes[i]` serves `connect(i, …)`; they can be killed and started again. */
  readonly nodes: readonly ServerProcess[];
  /** Needed by the nodes and counted with them. */
  readonly others: readonly ServerProcess[];
  /** Operations in flight that one connection takes at most. */
  readonly inFlightPerConnection: number;
  /** Makes the queue; throws while the cluster cannot. */
  prepare(): Promise<void>;
  /** The node whose clients are served best. */
  leader(): Promise<number>;
  /** `share`: how many operations will be in flight on the connection. */
  connect(node: number, share: number, role: Role): Promise<QueueClient>;
  /** Messages that wait. */
  depth(): Promise<number>;
  clear(): Promise<void>;
}

/** A kind of system that can be compared. */
export interface System {
  readonly name: string;
  readonly durability: Durability;
  /** How it is set up here, in a few words. */
  readonly setting: string;
  /** null: made from this project. */
  readonly debianPackage: string | null;
  /** What must be there to run it: programs on the PATH, or files. */
  readonly programs: readonly string[];
  create(directory: string): Peer;
}

export const HOST = "127.0.0.1";
export const THREE = [0, 1, 2] as const;

export const serversOf = ({ nodes, others }: Peer): readonly ServerProcess[] => [...others, ...nodes];

/** One client for one call. */
export async function withClient<C extends { close(): void }, T>(
  open: () => Promise<C>,
  call: (client: C) => Promise<T>,
): Promise<T> {
  const client = await open();
  try {
    return await call(client);
  } finally {
    client.close();
  }
}

/** The same through the first of three nodes that lets us in. */
export async function withAnyNode<C extends { close(): void }, T>(
  open: (node: number) => Promise<C>,
  call: (client: C) => Promise<T>,
): Promise<T> {
  for (const node of THREE) {
    const client = await open(node).catch(() => null);
    if (client !== null) return withClient(() => Promise.resolve(client), call);
  }
  throw new Error("no node lets a client in");
}

export const pause = (ms: number): Promise<void> => new Promise((done) => void setTimeout(done, ms));

/** Somebody has waited long enough. */
export class Late extends Error {
  override name = "Late";
}

/** Fails with what it waited for when `ms` are over; the work itself goes on, its result unused. */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Late(`${what}: not done within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
