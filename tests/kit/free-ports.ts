/**
 * On which ports may a test let a program listen?
 *
 * Not on those that the system hands out itself: a port of that range, once found free, is soon the near end of
 * somebody's outgoing connection, and then no program can listen there (seen: `cluster add`, "port in use"). So they are
 * taken from below that range, and no port twice in a process, since a stopped node may come back to its own. Each process
 * owns whole blocks of them: it listens on the first port of a block for as long as it lives, so that two test runs on one
 * machine never find the same port free.
 */

import { existsSync, readFileSync } from "node:fs";

const LOWEST = 10_000;
const BLOCK = 50;
const RANGE_OF_LINUX = "/proc/sys/net/ipv4/ip_local_port_range";
/** RFC 6335. */
const FIRST_ELSEWHERE = 49_152;

interface Block {
  /** Its first port is the claim. */
  readonly claim: Disposable;
  next: number;
  readonly end: number;
}

const blocks: Block[] = [];

/** `count` ports that no program listens on. */
export function freePorts(count: number): readonly number[] {
  return Array.from({ length: count }, () => freePortRow(1));
}

/** The first of `count` ports in a row that no program listens on. */
export function freePortRow(count: number): number {
  if (count >= BLOCK) throw new Error(`${count} ports in a row are more than a block has`);
  for (;;) {
    const block = blocks.at(-1);
    if (block === undefined || block.next + count > block.end) {
      blocks.push(claimBlock());
      continue;
    }
    const first = block.next;
    const row = Array.from({ length: count }, (_, i) => first + i);
    const busy = row.findLast((port) => !isFree(port));
    block.next = (busy ?? first + count - 1) + 1;
    if (busy === undefined) return first;
  }
}

/** Listens on a port until it is disposed of: somebody else's program. */
export function occupy(port: number): Disposable {
  return listenOn(port);
}

function claimBlock(): Block {
  const count = Math.floor((firstOfTheSystem() - LOWEST) / BLOCK);
  const start = Math.floor(Math.random() * count);
  for (let i = 0; i < count; i++) {
    const first = LOWEST + ((start + i) % count) * BLOCK;
    const claim = tryToOccupy(first);
    if (claim === null) continue;
    claim.unref();
    return { claim, next: first + 1, end: first + BLOCK };
  }
  throw new Error(`no block of ports from ${LOWEST} on is free`);
}

function firstOfTheSystem(): number {
  if (!existsSync(RANGE_OF_LINUX)) return FIRST_ELSEWHERE;
  const [first] = readFileSync(RANGE_OF_LINUX, "utf8").trim().split(/\s+/);
  return Math.max(Number(first), LOWEST + 1_000);
}

function isFree(port: number): boolean {
  using listener = tryToOccupy(port);
  return listener !== null;
}

function tryToOccupy(port: number): Bun.TCPSocketListener | null {
  try {
    return listenOn(port);
  } catch {
    return null;
  }
}

function listenOn(port: number): Bun.TCPSocketListener {
  return Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
}
