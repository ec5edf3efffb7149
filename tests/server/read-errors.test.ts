// What does a node do when its disk cannot be read? It stops with a name for it, at its start as well as later.
import { expect, test } from "bun:test";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { createTown, type Guest, type Settled } from "./town.ts";
import { OPEN } from "../wire/messages.ts";

const PORTS = [3000, 3001, 3002];
const JOB_BYTES = 200_000;
/** Together more than the log that a town's node keeps without a snapshot. */
const JOBS = 8;

const isLeader = ({ node }: Settled): boolean => node.status()?.state === "leader";
const savedSnapshot = ({ logged }: Settled): boolean => logged.some(({ event }) => event === "snapshot-saved");

function fill(town: ReturnType<typeof createTown>, guest: Guest): void {
  const answered = (frameId: number) =>
    guest.received.find((message) => "frameId" in message && message.frameId === frameId);
  guest.send({ ...OPEN, frameId: 1, clientId: "c1", nonce: new Uint8Array(16).fill(7) });
  town.until(() => answered(1) !== undefined);
  const opened = answered(1);
  const reply = opened?.type === "reply" ? decodeReply(opened.reply) : null;
  const session = reply?.type === "opened" ? reply.session : expect.unreachable("the session was not opened");
  for (let number = 1; number <= JOBS; number++) {
    const jobs = [{ encoding: 1, payload: new Uint8Array(JOB_BYTES).fill(number) }];
    const command = encodeCommand({ type: "enqueue", queue: "default", jobs });
    guest.send({
      type: "request",
      frameId: 1 + number,
      group: 0,
      session,
      number,
      acknowledgedThrough: number - 1,
      command,
    });
    town.until(() => answered(1 + number) !== undefined);
  }
}

test("a node whose disk fails at any read of its start stops with DISK_FAILED, also when it is its snapshot", () => {
  const town = createTown();
  const first = town.start(3000);
  town.until(() => isLeader(first));
  fill(town, town.visit(3000));
  town.until(() => savedSnapshot(first));
  town.pass(500);
  town.end(3000, "kill");
  const codes: (string | undefined)[] = [];
  for (let nth = 1; codes.at(-1) !== "started"; nth++) {
    town.failRead(3000, nth);
    const again = town.start(3000);
    town.until(() => again.stopped() !== undefined || isLeader(again));
    codes.push(again.stopped() === undefined ? "started" : again.stopped()?.code);
    town.end(3000, "kill");
  }
  // Meta, the log's segments, the manifest, the parts.
  expect(codes.length).toBeGreaterThan(4);
  expect(new Set(codes)).toEqual(new Set(["DISK_FAILED", "started"]));
});

test("a leader that cannot read the snapshot that a follower needs stops with DISK_FAILED", () => {
  const town = createTown(3);
  const nodes = PORTS.map((port) => town.start(port, PORTS, 3));
  town.until(() => nodes.some(isLeader));
  const leader = nodes.findIndex(isLeader);
  const behind = PORTS[(leader + 1) % 3]!;
  town.end(behind, "kill");
  fill(town, town.visit(PORTS[leader]!));
  town.until(() => savedSnapshot(nodes[leader]!));
  town.pass(500);
  town.failRead(PORTS[leader]!, 1);
  town.start(behind, PORTS, 3);
  town.until(() => nodes[leader]!.stopped() !== undefined);
  expect(nodes[leader]!.stopped()?.code).toBe("DISK_FAILED");
});
