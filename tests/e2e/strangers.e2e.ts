// Are clients served while strangers do what they can with connections? Thousands that are idle, silence, bytes that drip, frames
// that are never whole, answers that nobody reads. And does the memory stay bounded?
import { expect } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { SERVER, WIRE } from "../../src/config.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import { BINARY } from "../scripts/project.ts";
import { freePorts } from "../kit/free-ports.ts";
import { inWorld, parameter, waitFor } from "./harness.ts";

/** Over three addresses, since one may have 4,096. */
const IDLE = parameter("RAFTQ_E2E_IDLE", 1_000);
const DRIPS = 50;
const SILENT = 200;
const JOBS = 400;
/** Connections with unfinished frames or unread answers. */
const FLOOD = parameter("RAFTQ_E2E_FLOOD", 1_000);
const MiB = 1024 * 1024;
/** Sockets that are opened at once. */
const AT_ONCE = 200;

const HELLO = encodeMessage({
  type: "hello",
  version: WIRE.protocolVersion,
  features: [],
  role: "client",
  clusterId: null,
  node: null,
});

interface Stranger {
  readonly socket: Socket;
  readonly greeted: () => boolean;
  /** Why the node closed, by its own word; null: it did so without one. Undefined while it is open. */
  readonly end: () => Failure | null | undefined;
}

/** From an address of the loopback network, so that strangers and clients can be distinguished. With hello: until it is answered. */
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

/** The most memory the process ever held, by the system's own account. */
const peakBytes = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;

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

/** What comes in one piece from each of many connections. */
interface Flood {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly secret?: boolean;
  readonly reads?: boolean;
  /** How those end that are not left alone. */
  readonly end: Failure["code"] | null;
  /** Above what the node has at its start. */
  readonly mostBytes: number;
}

/** A frame of 1 MiB and more, but for its last bytes. */
const UNFINISHED = new Uint8Array(WIRE.maxPayloadBytes + 4);
UNFINISHED.set([0, 0x10, 0xff, 0xff]);
const NONCE_HELLO = encodeMessage({
  type: "hello",
  version: WIRE.protocolVersion,
  features: [],
  role: "client",
  clusterId: null,
  node: null,
  nonce: new Uint8Array(32),
});
const peeks = Array.from({ length: 12 }, (_, at) => encodeMessage({ type: "peek", frameId: at + 1 }));
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

const floods: readonly Flood[] = [
  { name: "instead of a hello", bytes: UNFINISHED, end: "TOO_LARGE", mostBytes: 96 * MiB },
  {
    name: "instead of a proof",
    bytes: joined(NONCE_HELLO, UNFINISHED),
    secret: true,
    end: "TOO_LARGE",
    mostBytes: 96 * MiB,
  },
  {
    name: "behind a hello",
    bytes: joined(HELLO, UNFINISHED),
    end: "OVERLOADED",
    mostBytes: SERVER.maxBufferedBytes + 192 * MiB,
  },
  {
    name: "of answers that are not read",
    bytes: joined(HELLO, ...peeks),
    reads: false,
    end: null,
    mostBytes: SERVER.maxBufferedBytes + 384 * MiB,
  },
];

/** Resolves when the node has taken all its bytes, or has closed. */
function send(port: number, at: number, { bytes, reads }: Flood): Promise<Stranger> {
  return stranger(port, `127.0.${1 + (at % 7)}.9`, false).then(
    (one) =>
      new Promise((done) => {
        if (reads === false) one.socket.pause();
        one.socket.on("close", () => done(one));
        one.socket.write(bytes, () => done(one));
      }),
  );
}

for (const flood of floods) {
  inWorld(
    `a megabyte on each of many connections, ${flood.name}, costs a node no more memory than it promises, and clients are served`,
    async (world) => {
      const [port = 0] = freePorts(1);
      writeFileSync(join(world.directory, "secret"), "peer:a secret that is long enough", { mode: 0o600 });
      const flags = flood.secret === true ? ["--secret-file", join(world.directory, "secret")] : [];
      const node = world.node({ id: "n1", port, flags });
      const client = ["client", "--addr", node.address, ...flags];
      const large = "x".repeat(1_000_000);
      await waitFor("the node to serve", 10_000, async () =>
        (await world.raftq([...client, "status"])).code === 0 ? true : undefined,
      );
      // One of them stays, to be peeked at.
      expect(await world.raftq(client, { input: `enqueue("${large}")\n`.repeat(2) })).toMatchObject({ code: 0 });
      const before = peakBytes(node.pid());
      const all: Stranger[] = [];
      while (all.length < FLOOD) {
        const next = Array.from({ length: Math.min(50, FLOOD - all.length) }, (_, at) =>
          send(port, all.length + at, flood),
        );
        all.push(...(await Promise.all(next)));
      }
      const taken = await world.raftq([...client, "dequeue"]);
      expect(taken).toMatchObject({ code: 0, stdout: `"${large}"\n` });
      let ticks = processorTicks(node.pid());
      await waitFor("the node to have done what was asked", 60_000, async () => {
        await Bun.sleep(300);
        const spent = processorTicks(node.pid()) - ticks;
        ticks += spent;
        return spent < 3 ? true : undefined;
      });
      const ends = all.map((one) => one.end()).filter((end) => end !== undefined);
      if (flood.end !== null) expect(ends.map((end) => end?.code ?? null)).toContain(flood.end);
      if (flood.end === "TOO_LARGE") expect(ends.length).toBe(FLOOD);
      expect(peakBytes(node.pid()) - before).toBeLessThan(flood.mostBytes);
      for (const one of all) one.socket.destroy();
    },
    120_000,
  );
}

inWorld(
  "a node that may open few files reports it, refuses by name, never spins, and serves again when places are free",
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
    expect(await log).toMatch(new RegExp(`may open few files .* instead of ${SERVER.maxConnections.maxClients}`));
  },
  60_000,
);
