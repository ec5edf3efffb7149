/**
 * On which ports may a test let a program listen?
 *
 * Not on those that the system hands out itself: a port of that range, once found free, is soon the near end of
 * somebody's outgoing connection, and then nobody can listen there (seen: `cluster add`, "port in use"). So they are
 * drawn from below that range, and no port twice in a process, since a stopped node may come back to its own.
 */

import { existsSync, readFileSync } from "node:fs";

const LOWEST = 10_000;
const RANGE_OF_LINUX = "/proc/sys/net/ipv4/ip_local_port_range";
/** RFC 6335. */
const FIRST_ELSEWHERE = 49_152;
const handedOut = new Set<number>();

/** `count` ports that nobody listens on. */
export function freePorts(count: number): readonly number[] {
  return Array.from({ length: count }, () => freePortRow(1));
}

/** The first of `count` ports in a row that nobody listens on. */
export function freePortRow(count: number): number {
  const end = firstOfTheSystem();
  for (;;) {
    const first = LOWEST + Math.floor(Math.random() * (end - LOWEST - count));
    const row = Array.from({ length: count }, (_, i) => first + i);
    if (!row.every((port) => !handedOut.has(port) && isFree(port))) continue;
    for (const port of row) handedOut.add(port);
    return first;
  }
}

function firstOfTheSystem(): number {
  if (!existsSync(RANGE_OF_LINUX)) return FIRST_ELSEWHERE;
  const [first] = readFileSync(RANGE_OF_LINUX, "utf8").trim().split(/\s+/);
  return Math.max(Number(first), LOWEST + 1_000);
}

function isFree(port: number): boolean {
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop(true);
    return true;
  } catch {
    return false;
  }
}
