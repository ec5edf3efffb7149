// Does the real network keep what the port promises? Every byte, in order, however slowly it is read; true errors; goodbyes arrive.
import { afterEach, expect, test } from "bun:test";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import { WIRE } from "../../src/config.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { createRealClock } from "../../src/lib/real-clock.ts";
import { type Connection, type Message, openConnection } from "../../src/wire/connection.ts";
import { createDeframer } from "../../src/wire/frame.ts";
import { sealFrame } from "../kit/frames.ts";
import type { ByteStream, DialResult, Listener } from "../../src/wire/network.ts";
import { createTcpNetwork } from "../../src/wire/tcp.ts";
import { HELLO, HELLO_ANSWER } from "../kit/messages.ts";

const network = createTcpNetwork(WIRE);
const toClose: (() => void)[] = [];

afterEach(() => {
  for (const close of toClose.splice(0)) close();
});

interface Listening {
  readonly listener: Listener;
  readonly address: string;
  /** Streams in the order in which they were accepted. */
  next(): Promise<ByteStream>;
}

async function listen(host = "127.0.0.1", name = host): Promise<Listening> {
  const accepted: ByteStream[] = [];
  const waiters: ((stream: ByteStream) => void)[] = [];
  const listener = await new Promise<Listener>((resolve, reject) => {
    network.listen(
      host,
      0,
      (stream) => {
        toClose.push(() => stream.close());
        const waiter = waiters.shift();
        if (waiter === undefined) accepted.push(stream);
        else waiter(stream);
      },
      (error, bound) => (bound === null ? reject(error ?? new Error("no listener")) : resolve(bound)),
    );
  });
  toClose.push(() => listener.close());
  const next = (): Promise<ByteStream> =>
    new Promise((resolve) => {
      const stream = accepted.shift();
      if (stream === undefined) waiters.push(resolve);
      else resolve(stream);
    });
  return { listener, address: `${name}:${listener.port}`, next };
}

function dial(address: string, timeoutMs = 2_000): Promise<DialResult> {
  return new Promise((resolve) => network.dial(address, timeoutMs, resolve));
}

async function dialed(address: string): Promise<ByteStream> {
  const result = await dial(address);
  if (!result.ok) throw new Error(result.why);
  toClose.push(() => result.stream.close());
  return result.stream;
}

/** A plain socket whose reading the test controls. */
function rawSocket(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host: "127.0.0.1", port });
    toClose.push(() => socket.destroy());
    socket.on("error", reject);
    socket.on("connect", () => resolve(socket));
  });
}

const ended = (stream: ByteStream): Promise<string> =>
  new Promise((resolve) => {
    stream.onClose = resolve;
  });

test.each([
  ["127.0.0.1", "127.0.0.1"],
  ["localhost", "localhost"],
  ["::1", "[::1]"],
])("%s can be listened on and dialed", async (host, name) => {
  const server = await listen(host, name);
  const near = await dialed(server.address);
  const far = await server.next();
  const received = new Promise<Uint8Array>((resolve) => {
    far.onData = (data) => resolve(data.slice());
  });
  near.write(Uint8Array.of(1, 2, 3));
  expect(await received).toEqual(Uint8Array.of(1, 2, 3));
  expect(near.remote).toContain(String(server.listener.port));
});

test("received data is a plain view, whose slice is a copy", async () => {
  const server = await listen();
  const near = await dialed(server.address);
  const far = await server.next();
  const received = new Promise<Uint8Array>((resolve) => {
    far.onData = (data) => {
      const copy = data.slice();
      data.fill(0);
      resolve(copy);
    };
  });
  near.write(Uint8Array.of(9));
  expect(await received).toEqual(Uint8Array.of(9));
});

test("a burst of 10,000 frames to a slow reader arrives whole, in order, and is counted as pending until then", async () => {
  const server = await listen();
  const socket = await rawSocket(server.listener.port);
  socket.pause();
  const stream = await server.next();
  const random = seededRandom(5);
  const sizes = Array.from({ length: 10_000 }, () => random.between(1, random.chance(5) ? 30_000 : 600));
  let total = 0;
  let peak = 0;
  let drained = 0;
  stream.onDrain = () => drained++;
  for (const [at, size] of sizes.entries()) {
    const frame = sealFrame(new Uint8Array(4 + size).fill(at % 251));
    total += frame.length;
    stream.write(frame);
    peak = Math.max(peak, stream.unsentBytes());
  }
  expect(stream.unsentBytes()).toBeGreaterThan(total - 20_000_000);
  expect(peak).toBeGreaterThan(1_000_000);
  await Bun.sleep(50);
  expect(stream.unsentBytes()).toBeGreaterThan(0);
  expect(drained).toBe(0);

  const deframer = createDeframer(WIRE.maxPeerFrameBytes);
  let count = 0;
  let wrong = 0;
  await new Promise<void>((resolve) => {
    let sinceRest = 0;
    socket.on("data", (data: Uint8Array) => {
      const failed = deframer.push(data, (body) => {
        if (body.length !== sizes[count] || body[0] !== count % 251 || body.at(-1) !== count % 251) wrong++;
        count++;
        return true;
      });
      if (failed !== null) wrong++;
      if (count === sizes.length) return resolve();
      sinceRest += data.length;
      if (sinceRest < 500_000) return;
      sinceRest = 0;
      socket.pause();
      setTimeout(() => socket.resume(), 2);
    });
    socket.resume();
  });
  expect([count, wrong]).toEqual([10_000, 0]);
  await Bun.sleep(20);
  expect(stream.unsentBytes()).toBe(0);
  expect(drained).toBeGreaterThan(0);
});

test("a chunk of 30 MiB arrives whole", async () => {
  const server = await listen();
  const near = await dialed(server.address);
  const far = await server.next();
  const size = 30 * 1024 * 1024;
  const sent = new Uint8Array(size);
  for (let at = 0; at < size; at += 997) sent[at] = at % 253;
  const hash = new Bun.CryptoHasher("sha256");
  const done = new Promise<void>((resolve) => {
    let got = 0;
    far.onData = (data) => {
      hash.update(data);
      got += data.length;
      if (got === size) resolve();
    };
  });
  near.write(sent.slice());
  await done;
  expect(hash.digest("hex")).toBe(new Bun.CryptoHasher("sha256").update(sent).digest("hex"));
});

test("what was written before a close arrives, however much it is", async () => {
  const server = await listen();
  const near = await dialed(server.address);
  const far = await server.next();
  let got = 0;
  far.onData = (data) => (got += data.length);
  const farEnd = ended(far);
  const nearEnd = ended(near);
  near.write(new Uint8Array(5_000_000));
  near.write(new Uint8Array(11));
  near.close();
  expect(await nearEnd).toBe("closed by this side");
  expect(await farEnd).toBe("the other side closed the connection");
  expect(got).toBe(5_000_011);
});

test("a goodbye reaches a side that keeps sending", async () => {
  const server = await listen();
  const socket = await rawSocket(server.listener.port);
  const flood = setInterval(() => socket.write(new Uint8Array(100_000)), 1);
  toClose.push(() => clearInterval(flood));
  const far = await server.next();
  await new Promise<void>((resolve) => {
    far.onData = () => resolve();
  });
  far.write(new TextEncoder().encode("goodbye"));
  far.close();
  const received = await new Promise<string>((resolve) => {
    socket.on("data", (data) => resolve(data.toString()));
    socket.on("close", () => resolve("closed without a word"));
  });
  expect(received).toBe("goodbye");
});

test("a side that neither reads nor closes is cut off after the time for a close", async () => {
  const impatient = createTcpNetwork({ ...WIRE, closeTimeoutMs: 50 });
  const silent = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", () => resolve()));
  toClose.push(() => silent.close());
  const { port } = silent.address() as { readonly port: number };
  const accepted = new Promise<Socket>((resolve) => silent.once("connection", resolve));
  const near = await new Promise<ByteStream>((resolve, reject) => {
    impatient.dial(`127.0.0.1:${port}`, 1_000, (result) =>
      result.ok ? resolve(result.stream) : reject(new Error(result.why)),
    );
  });
  near.write(new Uint8Array(30_000_000));
  near.close();
  const other = await accepted;
  toClose.push(() => other.destroy());
  await Bun.sleep(200);
  let got = 0;
  await new Promise<void>((resolve) => {
    other.on("data", (data) => (got += data.length));
    for (const end of ["close", "end", "error"]) other.on(end, () => resolve());
    other.resume();
  });
  expect(got).toBeLessThan(30_000_000);
});

test("of the bytes that closed streams still have to deliver only so many are kept: the one closed first is cut off", async () => {
  const few = createTcpNetwork({ ...WIRE, closeTimeoutMs: 60_000, maxClosingBytes: 70_000_000 });
  const accepted: Socket[] = [];
  const silent = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    accepted.push(socket.on("error", () => {}));
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", () => resolve()));
  toClose.push(() => silent.close());
  toClose.push(() => accepted.map((socket) => socket.destroy()));
  const { port } = silent.address() as { readonly port: number };
  for (let at = 0; at < 3; at++) {
    const near = await new Promise<ByteStream>((resolve, reject) => {
      few.dial(`127.0.0.1:${port}`, 1_000, (result) =>
        result.ok ? resolve(result.stream) : reject(new Error(result.why)),
      );
    });
    near.write(new Uint8Array(30_000_000));
    near.close();
    while (accepted.length <= at) await Bun.sleep(1);
  }
  const got = await Promise.all(
    accepted.map(
      (socket) =>
        new Promise<number>((resolve) => {
          let sum = 0;
          socket.on("data", (data) => (sum += data.length));
          for (const end of ["close", "end"]) socket.on(end, () => resolve(sum));
          socket.resume();
        }),
    ),
  );
  expect(got[0]).toBeLessThan(30_000_000);
  expect(got.slice(1)).toEqual([30_000_000, 30_000_000]);
});

test("a side that ends its half and does not read what it is owed is cut off after the time for a close", async () => {
  const impatient = createTcpNetwork({ ...WIRE, closeTimeoutMs: 50 });
  const streams: ByteStream[] = [];
  const listener = await new Promise<Listener>((resolve, reject) => {
    impatient.listen(
      "127.0.0.1",
      0,
      (stream) => streams.push(stream),
      (error, bound) => (bound === null ? reject(error ?? new Error("no listener")) : resolve(bound)),
    );
  });
  toClose.push(() => listener.close());
  const socket = connectSocket({ host: "127.0.0.1", port: listener.port, allowHalfOpen: true });
  toClose.push(() => socket.destroy());
  socket.pause();
  socket.on("error", () => {});
  while (streams.length === 0) await Bun.sleep(1);
  streams[0]?.write(new Uint8Array(30_000_000));
  socket.end();
  while (streams[0]?.unsentBytes() !== 0) await Bun.sleep(1);
  let got = 0;
  const over = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  socket.on("data", (data) => (got += data.length));
  socket.resume();
  await over;
  expect(got).toBeLessThan(30_000_000);
});

test("the memory of what was received is given back after the call, that of what was written once it is taken", async () => {
  const server = await listen();
  const near = await dialed(server.address);
  const far = await server.next();
  const sent = new Uint8Array(3_000_000).fill(5);
  const pieces: Uint8Array[] = [];
  let got = 0;
  const arrived = new Promise<void>((resolve) => {
    far.onData = (data) => {
      pieces.push(data);
      got += data.length;
      if (got === 3_000_000) setImmediate(resolve);
    };
  });
  const drained = new Promise<void>((resolve) => {
    near.onDrain = resolve;
  });
  near.write(sent);
  await Promise.all([arrived, drained]);
  expect(sent.length).toBe(0);
  const small = 16 * 1024;
  expect(pieces.filter(({ length }) => length >= small)).toEqual([]);
  expect(near.unsentBytes()).toBe(0);
});

test("a closed stream delivers nothing any more and reports its end once", async () => {
  const server = await listen();
  const near = await dialed(server.address);
  const far = await server.next();
  let received = 0;
  let closes = 0;
  far.onData = () => received++;
  far.onClose = () => closes++;
  far.close();
  far.close();
  near.write(new Uint8Array(10));
  await ended(near);
  await Bun.sleep(10);
  expect([received, closes]).toEqual([0, 1]);
});

test("a reset by the other side ends the stream, not the process", async () => {
  const server = await listen();
  const socket = await rawSocket(server.listener.port);
  const far = await server.next();
  const why = ended(far);
  socket.resetAndDestroy();
  expect((await why).length).toBeGreaterThan(0);
  far.write(new Uint8Array(10));
  expect(far.unsentBytes()).toBe(0);
});

test("a port in use is PORT_IN_USE with its address", async () => {
  const server = await listen();
  const error = await new Promise<Error | null>((resolve) =>
    network.listen("127.0.0.1", server.listener.port, () => {}, resolve),
  );
  expect(error).toBeInstanceOf(RaftqError);
  expect(error).toMatchObject({ code: "PORT_IN_USE", message: expect.stringContaining(server.address) });
});

test("an address that this machine does not have is reported in one clear line", async () => {
  const error = await new Promise<Error | null>((resolve) => network.listen("203.0.113.7", 0, () => {}, resolve));
  expect(error).toMatchObject({ code: "USAGE", message: expect.stringContaining("203.0.113.7") });
});

test.each(["127.0.0.1", "localhost", "[::1]"])(
  "a dial to a port of %s where nobody listens is refused",
  async (host) => {
    const server = await listen();
    const { port } = server.listener;
    server.listener.close();
    await Bun.sleep(10);
    expect(await dial(`${host}:${port}`)).toMatchObject({
      ok: false,
      refused: true,
      why: expect.stringContaining("ECONNREFUSED"),
    });
  },
);

test("a dial to something that is no address fails without a throw", async () => {
  expect(await dial("nowhere")).toMatchObject({ ok: false, refused: false });
});

test("a dial that is not answered ends at its time-out, and is not called a refusal", async () => {
  const program = `require("node:net").createServer().listen({ port: 0, host: "127.0.0.1" }, function () { console.log(this.address().port); })`;
  const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe" });
  toClose.push(() => child.kill("SIGKILL"));
  const line = await child.stdout.getReader().read();
  const port = Number(new TextDecoder().decode(line.value));
  // A stopped process whose backlog is full: its system neither accepts nor refuses.
  child.kill("SIGSTOP");
  const isConnected = (): Promise<boolean> =>
    Promise.race([rawSocket(port).then(() => true), Bun.sleep(1_000).then(() => false)]);
  while (await isConnected());
  const result = await dial(`127.0.0.1:${port}`, 100);
  expect(result).toMatchObject({ ok: false, refused: false, why: `127.0.0.1:${port} did not answer within 100ms` });
});

const hello = HELLO;

interface Talker {
  readonly connection: Connection;
  readonly ended: Promise<unknown>;
}

function talk(
  stream: ByteStream,
  side: "accepted" | "dialed",
  onMessage: (message: Message, connection: Connection) => void,
): Talker {
  let connection: Connection | undefined;
  const over = new Promise<unknown>((resolve) => {
    connection = openConnection({
      stream,
      clock: createRealClock(),
      limits: WIRE,
      side,
      onMessage: (message) => onMessage(message, connection!),
      onClosed: resolve,
    });
  });
  return { connection: connection!, ended: over };
}

test("two connections over real sockets exchange thousands of messages in order, and the reason of the end arrives", async () => {
  const server = await listen();
  const near = talk(await dialed(server.address), "dialed", (message, connection) => {
    if (message.type === "helloAnswer") {
      for (let frameId = 1; frameId <= 5_000; frameId++) connection.send({ type: "ping", frameId });
      connection.flush();
    } else if (message.type === "pong") pongs.push(message.frameId);
  });
  const pongs: number[] = [];
  const far = talk(await server.next(), "accepted", (message, connection) => {
    if (message.type === "hello") connection.send(HELLO_ANSWER);
    if (message.type === "ping") connection.send({ type: "pong", frameId: message.frameId });
    connection.flush();
    if (message.type === "ping" && message.frameId === 5_000) {
      connection.close({ code: "STARTING", applied: "no", message: "enough" });
    }
  });
  near.connection.send(hello);
  near.connection.flush();
  expect(await near.ended).toEqual({ code: "STARTING", applied: "no", message: "enough" });
  expect(await far.ended).toEqual({ code: "STARTING", applied: "no", message: "enough" });
  expect(pongs).toEqual(Array.from({ length: 5_000 }, (_, at) => at + 1));
});

test("who ends its own direction after asking may be answered, as long as this side wants", async () => {
  const server = await listen();
  const far = await dialHalf(server.listener.port);
  const near = await server.next();
  const received: string[] = [];
  near.onData = (data) => void received.push(new TextDecoder().decode(data));
  near.onEnd = () => {
    setTimeout(() => {
      near.write(new TextEncoder().encode("late"));
      near.close();
    }, 50);
    return true;
  };
  const answers: string[] = [];
  far.on("data", (data: Buffer) => answers.push(data.toString()));
  const ended = new Promise<void>((resolve) => far.on("end", () => resolve()));
  far.end("asked");
  await ended;
  expect([received.join(""), answers.join("")]).toEqual(["asked", "late"]);
});

function dialHalf(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connectSocket({ host: "127.0.0.1", port, allowHalfOpen: true }, () => resolve(socket));
    toClose.push(() => socket.destroy());
  });
}

test("an HTTP client on the port gets an answer in its own language, and the node goes on", async () => {
  const server = await listen();
  const asked = fetch(`http://127.0.0.1:${server.listener.port}/metrics`);
  const far = talk(await server.next(), "accepted", () => {});
  expect(await far.ended).toMatchObject({ code: "BAD_REQUEST", message: "the other side speaks HTTP, not raftq" });
  const answer = await asked;
  expect(answer.status).toBe(400);
  expect(await answer.text()).toBe("This port speaks the raftq protocol, not HTTP.\n");
});
