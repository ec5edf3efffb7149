// Are clients served while strangers do what they can with connections? Thousands that are idle, silence, and bytes that drip.
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { SERVER, WIRE } from "../../src/config.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { Malformed } from "../../src/lib/msgpack.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import { BINARY } from "../scripts/project.ts";
import { freePorts } from "../ports.ts";
import { inWorld, parameter, waitFor } from "./harness.ts";

/** Over three addresses, since one may have 4,096. */
const IDLE = parameter("RAFTQ_E2E_IDLE", 1_000);
const DRIPS = 50;
const SILENT = 200;
const JOBS = 400;
/** Sockets that are opened at once. */
const AT_ONCE = 200;

const HELLO = encodeMessage({ type: "hello", version: 1, features: [], role: "client", clusterId: null, node: null });

interface Stranger {
  readonly socket: Socket;
  readonly greeted: () => boolean;
  /** Why the node closed, by its own word; null: it did so without one. Undefined while it is open. */
  readonly end: () => Failure | null | undefined;
}

/** From an address of the loopback network, so that strangers and clients can be told apart. With hello: until it is answered. */
function stranger(port: number, localAddress: string, hello: boolean): Promise<Stranger> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  const deframer = createDeframer(WIRE.maxClientFrameBytes);
  let greeted = false;
  let goodbye: Failure | null = null;
  let closed = false;
  let answered = (): void => {};
  socket.on("data", (data: Uint8Array) => {
    deframer.push(data, (body) => {
      try {
        const message = decodeMessage(body);
        if (message.type === "helloAnswer") greeted = true;
        if (message.type === "goodbye") goodbye = message.failure;
        answered();
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
      }
      return true;
    });
  });
  const result = { socket, greeted: () => greeted, end: () => (closed ? goodbye : undefined) };
  return new Promise((done) => {
    answered = () => done(result);
    socket.on("error", () => {});
    socket.on("close", () => {
      closed = true;
      done(result);
    });
    socket.on("connect", () => {
      if (hello) socket.write(HELLO);
      else done(result);
    });
  });
}

async function crowd(count: number, port: number, hello: boolean, addresses: readonly string[]): Promise<Stranger[]> {
  const all: Stranger[] = [];
  while (all.length < count) {
    const next = Array.from({ length: Math.min(AT_ONCE, count - all.length) }, (_, at) =>
      stranger(port, addresses[(all.length + at) % addresses.length] ?? "127.0.0.2", hello),
    );
    all.push(...(await Promise.all(next)));
  }
  return all;
}

/** A frame of a megabyte, of which one byte comes every second. */
function drip({ socket }: Stranger, afterHello: boolean): Timer {
  const frame = afterHello ? Uint8Array.of(0, 0x10, 0, 0) : HELLO;
  let at = 0;
  return setInterval(() => {
    if (!socket.destroyed) socket.write(Uint8Array.of(frame[at++] ?? 0x61));
  }, 1_000);
}

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;

/** Hundredths of a second of processor time. */
const processorTicks = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return Number(fields[11]) + Number(fields[12]);
};

inWorld(
  "idle connections, silent ones and dripping ones leave clients served and members connected",
  async (world) => {
    const { nodes, addresses } = await world.cluster(3);
    const [node] = nodes;
    if (node === undefined) throw new Error("there is a first node");
    const before = residentBytes(node.pid());
    const idle = await crowd(IDLE, node.port, true, ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    expect(idle.filter((one) => !one.greeted()).length).toBe(0);
    const silent = await crowd(SILENT, node.port, false, ["127.0.0.5"]);
    const slow = [
      ...(await crowd(DRIPS, node.port, true, ["127.0.0.6"])),
      ...(await crowd(DRIPS, node.port, false, ["127.0.0.6"])),
    ];
    const timers = slow.map((one, at) => drip(one, at < DRIPS));

    // Real clients, through the node that has all the strangers; one member is killed and has to come back in meanwhile.
    const other = nodes.find((candidate) => candidate !== node);
    await other?.kill();
    const lines = (verb: (at: number) => string): string =>
      Array.from({ length: JOBS }, (_, at) => `${verb(at)}\n`).join("");
    const client = ["client", "--id", "c1", "--addr", node.address];
    expect(await world.raftq(client, { input: lines((at) => `enqueue(${at})`) })).toMatchObject({ code: 0 });
    other?.start();
    const taken = await world.raftq(client, { input: lines(() => "dequeue()") });
    expect(taken.stdout.trim().split("\n")).toEqual(Array.from({ length: JOBS }, (_, at) => `${at}`));

    await waitFor("silent and dripping connections to be closed", 2 * WIRE.frameTimeoutMs, () =>
      [...silent, ...slow].every((one) => one.end() !== undefined) ? true : undefined,
    );
    for (const timer of timers) clearInterval(timer);
    for (const one of [...silent, ...slow]) expect(one.end()?.code).toBe("TIMEOUT");
    expect(idle.filter((one) => one.end() !== undefined).length).toBe(0);
    await waitFor("the killed member to be back", 10_000, async () => {
      const { stdout } = await world.raftq(["cluster", "status", "--addr", addresses, "--json"]);
      const status = JSON.parse(stdout) as { nodes: { appliedIndex: number | null }[] };
      const applied = status.nodes.map(({ appliedIndex }) => appliedIndex ?? -1);
      return applied.length === 3 && applied.every((index) => index === applied[0]) ? true : undefined;
    });
    const each = (residentBytes(node.pid()) - before) / IDLE;
    expect(each * IDLE).toBeLessThan(96 * 1024 * 1024 + 24 * 1024 * IDLE);
    for (const one of idle) one.socket.destroy();
  },
  180_000,
);

inWorld(
  "a node that may open few files says so, refuses by name, never spins, and serves again when places are free",
  async (world) => {
    const [port = 0] = freePorts(1);
    const args = ["node", "--id", "n1", "--port", String(port), "--data", join(world.directory, "few")];
    const child = Bun.spawn(["sh", "-c", 'ulimit -n 256; exec "$0" "$@"', BINARY, ...args], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const log = new Response(child.stderr).text();
    try {
      const client = ["client", "--addr", `127.0.0.1:${port}`];
      await waitFor("the node to serve", 10_000, async () =>
        (await world.raftq([...client, "enqueue", "1"])).code === 0 ? true : undefined,
      );
      const many = await crowd(400, port, true, ["127.0.0.2"]);
      await waitFor("those beyond the places to be refused", 10_000, () =>
        many.filter((one) => one.end() !== undefined).length >= 300 ? true : undefined,
      );
      const named = many.filter((one) => one.end()?.code === "OVERLOADED").length;
      expect(named).toBeGreaterThan(0);
      const ticks = processorTicks(child.pid);
      await Bun.sleep(1_000);
      expect(processorTicks(child.pid) - ticks).toBeLessThan(50);
      for (const one of many) one.socket.destroy();
      await waitFor("a client to be served", 10_000, async () => {
        const { code, stdout } = await world.raftq([...client, "dequeue"]);
        return code === 0 && stdout === "1\n" ? true : undefined;
      });
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
    expect(await log).toMatch(new RegExp(`may open few files .* instead of ${SERVER.places.maxClients}`));
  },
  60_000,
);
