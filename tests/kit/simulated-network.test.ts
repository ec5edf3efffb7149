// Does the simulated network behave as TCP does, faults included, and always the same from the same seed?
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import type { ByteStream, DialResult } from "../../src/wire/network.ts";
import { createSimNetwork, type SimNetwork, type SimNetworkSettings } from "./simulated-network.ts";
import { createScheduler, pass, type Scheduler } from "./scheduler.ts";

const CALM: SimNetworkSettings = { delayMinMs: 1, delayMaxMs: 5, dialLossPercent: 0 };
const ADDRESS = "127.0.0.1:3000";

interface World {
  readonly network: SimNetwork;
  readonly scheduler: Scheduler;
  run(ms: number): void;
}

function createWorld(settings: Partial<SimNetworkSettings> = {}, seed = 1): World {
  const scheduler = createScheduler();
  const network = createSimNetwork(scheduler, seededRandom(seed), { ...CALM, ...settings });
  return { network, scheduler, run: (ms) => pass(scheduler, ms) };
}

/** What a process saw of one stream. */
interface Seen {
  readonly stream: ByteStream;
  readonly bytes: number[];
  readonly pieces: number[];
  end: string | null;
  drains: number;
}

function watch(stream: ByteStream): Seen {
  const seen: Seen = { stream, bytes: [], pieces: [], end: null, drains: 0 };
  stream.onData = (data) => {
    seen.bytes.push(...data);
    seen.pieces.push(data.length);
  };
  stream.onClose = (why) => {
    expect(seen.end).toBe(null);
    seen.end = why;
  };
  stream.onDrain = () => seen.drains++;
  return seen;
}

function listen({ network }: World, name = "n1", address = ADDRESS): Seen[] {
  const accepted: Seen[] = [];
  const [host, port] = address.split(":") as [string, string];
  network.hostOf(name).listen(
    host,
    Number(port),
    (stream) => accepted.push(watch(stream)),
    (error) => expect(error).toBe(null),
  );
  return accepted;
}

function dial(
  world: World,
  name = "n2",
  timeoutMs = 1_000,
): { readonly result: DialResult | null; readonly seen: Seen | null } {
  let result: DialResult | null = null;
  let seen: Seen | null = null;
  world.network.hostOf(name).dial(ADDRESS, timeoutMs, (given) => {
    result = given;
    if (given.ok) seen = watch(given.stream);
  });
  world.run(timeoutMs + 10);
  return { result, seen };
}

/** A connection from n2 (near) to n1 (far), standing. */
function connected(world: World): { readonly near: Seen; readonly far: Seen } {
  const accepted = listen(world);
  world.run(1);
  const { seen } = dial(world);
  const far = accepted[0];
  if (seen === null || far === undefined) throw new Error("there is no connection");
  return { near: seen, far };
}

const counted = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, at) => at % 256);

test("bytes arrive whole and in order in both directions, cut anew, whatever is lost on the way", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const world = createWorld({ lossPercent: 10, delayMaxMs: 60 }, seed);
    const { near, far } = connected(world);
    const sent = counted(50_000);
    for (let at = 0; at < sent.length; at += 977) near.stream.write(sent.slice(at, at + 977));
    far.stream.write(sent.slice(0, 3_000));
    world.run(60_000);
    expect(far.bytes).toEqual([...sent]);
    expect(near.bytes).toEqual(Array.from(sent.subarray(0, 3_000)));
    expect(new Set(far.pieces).size).toBeGreaterThan(1);
  }
});

test("the same seed gives the same run, another seed another one", () => {
  const story = (seed: number): string => {
    const world = createWorld({ lossPercent: 5 }, seed);
    const { near, far } = connected(world);
    const lines: string[] = [];
    far.stream.onData = (data) => lines.push(`${world.scheduler.now()} ${data.length}`);
    near.stream.write(counted(20_000));
    world.run(500);
    world.network.reset("n1", "n2");
    far.stream.onClose = () => lines.push(`${world.scheduler.now()} end`);
    world.run(500);
    return lines.join("\n");
  };
  expect(story(3)).toBe(story(3));
  expect(story(3)).not.toBe(story(4));
});

test("data is overwritten after onData, so that keeping a view shows", () => {
  const world = createWorld();
  const { near, far } = connected(world);
  const kept: Uint8Array[] = [];
  far.stream.onData = (data) => kept.push(data);
  near.stream.write(Uint8Array.of(1, 2, 3));
  world.run(50);
  expect(kept.flatMap((view) => [...view])).toEqual([0xdb, 0xdb, 0xdb]);
});

test("a dial to a process that does not live is refused at once, one over a cut link or to a dead machine times out", () => {
  const world = createWorld();
  expect(dial(world).result).toMatchObject({ ok: false, refused: true });
  listen(world);
  world.run(1);
  const heals = [
    world.network.cut((from, to) => from === "n2" && to === "n1", false),
    world.network.cut((from, to) => from === "n1" && to === "n2", false),
  ];
  for (const heal of heals) {
    expect(dial(world).result).toMatchObject({ ok: false, refused: false });
    heal();
  }
  expect(dial(world).result).toMatchObject({ ok: true });
  world.network.kill("n1");
  expect(dial(world).result).toMatchObject({ ok: false, refused: true });
  listen(world);
  world.network.powerCut("n1");
  expect(dial(world).result).toMatchObject({ ok: false, refused: false });
  listen(world);
  expect(dial(world).result).toMatchObject({ ok: true });
});

test("lost dials are not answered at all", () => {
  const world = createWorld({ dialLossPercent: 100 });
  listen(world);
  expect(dial(world).result).toMatchObject({ ok: false, refused: false });
});

test("an address is taken by one process at a time", () => {
  const world = createWorld();
  listen(world);
  let failure: unknown = null;
  const again = (): void =>
    world.network.hostOf("n9").listen(
      "127.0.0.1",
      3000,
      () => {},
      (error) => (failure = error),
    );
  again();
  world.run(1);
  expect(failure).toMatchObject({ code: "PORT_IN_USE" });
  world.network.kill("n1");
  again();
  world.run(1);
  expect(failure).toBe(null);
});

test("over a one-way cut, bytes pass in one direction and wait in the other until it is healed", () => {
  const world = createWorld();
  const { near, far } = connected(world);
  const heal = world.network.cut((from, to) => from === "n2" && to === "n1", false);
  near.stream.write(Uint8Array.of(1));
  far.stream.write(Uint8Array.of(2));
  world.run(5_000);
  expect([near.bytes, far.bytes]).toEqual([[2], []]);
  heal();
  world.run(5_000);
  expect(far.bytes).toEqual([1]);
  expect([near.end, far.end]).toEqual([null, null]);
});

test("without acknowledgements the window fills and pending grows", () => {
  const world = createWorld({ windowBytes: 10_000 });
  const { near, far } = connected(world);
  const heal = world.network.cut((from, to) => from === "n1" && to === "n2", false);
  near.stream.write(counted(9_000));
  world.run(1_000);
  expect(far.bytes.length).toBe(9_000);
  near.stream.write(counted(9_000));
  expect(near.stream.unsentBytes()).toBe(8_000);
  heal();
  world.run(5_000);
  expect([near.stream.unsentBytes(), far.bytes.length, near.drains]).toEqual([0, 18_000, 1]);
});

test("a paused process is connected to and written to up to the window, and receives everything in order when it goes on", () => {
  const world = createWorld({ windowBytes: 10_000 });
  const { near, far } = connected(world);
  world.network.pause("n1");
  near.stream.write(counted(30_000));
  world.run(2_000);
  expect([near.stream.unsentBytes(), far.bytes.length]).toEqual([20_000, 0]);
  expect(dial(world, "n3").result).toMatchObject({ ok: true });
  near.stream.close();
  world.run(2_000);
  expect(far.end).toBe(null);
  world.network.resume("n1");
  world.run(5_000);
  expect(far.bytes).toEqual([...counted(30_000)]);
  expect(far.end).toBe("the other side closed the connection");
});

test("what was written before a close arrives before the end", () => {
  const world = createWorld({ windowBytes: 5_000 });
  const { near, far } = connected(world);
  near.stream.write(counted(20_000));
  near.stream.close();
  world.run(5_000);
  expect([far.bytes.length, far.end, near.end]).toEqual([
    20_000,
    "the other side closed the connection",
    "closed by this side",
  ]);
  expect(world.network.connections()).toBe(0);
});

test("a killed process calls nothing back; the others learn of it, and its bytes under way arrive in order or not at all", () => {
  const got = new Set<number>();
  for (let seed = 1; seed <= 40; seed++) {
    const world = createWorld({}, seed);
    const { near, far } = connected(world);
    near.stream.write(counted(100));
    world.network.kill("n2");
    world.run(1_000);
    expect(near.end).toBe(null);
    expect(far.end).not.toBe(null);
    expect(far.bytes).toEqual([...counted(100)].slice(0, far.bytes.length));
    expect(world.network.connections()).toBe(0);
    got.add(far.bytes.length);
  }
  expect([...got]).toContain(0);
  expect([...got]).toContain(100);
});

test("after a power cut there is silence until the machine runs again and answers old bytes with a reset", () => {
  const world = createWorld();
  const { near, far } = connected(world);
  world.network.powerCut("n1");
  near.stream.write(counted(10));
  world.run(20_000);
  expect([near.end, far.bytes.length]).toEqual([null, 0]);
  listen(world);
  world.run(20_000);
  expect(near.end).toBe("connection reset by peer");
});

test("a reset is learned by both sides, sometimes so late that old bytes come after those of a new connection", () => {
  let overtaken = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const world = createWorld({ delayMaxMs: 40 }, seed);
    const { near, far } = connected(world);
    let fresh = false;
    const accepted = listen2(world);
    near.stream.write(counted(3_000));
    near.stream.onClose = () => {
      near.end = "reset";
      world.network.hostOf("n2").dial("127.0.0.1:3009", 1_000, (result) => {
        if (result.ok) result.stream.write(Uint8Array.of(1));
      });
    };
    far.stream.onData = () => {
      if (accepted.some((seen) => seen.bytes.length > 0)) fresh = true;
    };
    world.network.reset("n1", "n2");
    world.run(1_000);
    expect(near.end).not.toBe(null);
    expect(far.end).not.toBe(null);
    if (fresh) overtaken++;
  }
  expect(overtaken).toBeGreaterThan(0);
});

const listen2 = (world: World): Seen[] => listen(world, "n1", "127.0.0.1:3009");

test("links have delays of their own within the settings", () => {
  const world = createWorld({ delayMinMs: 10, delayMaxMs: 100 });
  const { near, far } = connected(world);
  const times: number[] = [];
  for (let round = 0; round < 50; round++) {
    const sentAt = world.scheduler.now();
    far.stream.onData = () => times.push(world.scheduler.now() - sentAt);
    near.stream.write(Uint8Array.of(1));
    world.run(200);
  }
  expect(Math.min(...times)).toBeGreaterThanOrEqual(10);
  expect(Math.max(...times)).toBeLessThanOrEqual(100);
  expect(new Set(times).size).toBeGreaterThan(10);
});

test("a cut that loses what is on its way lets it arrive after the healing, in order and once", () => {
  const arrivedWhileCut = (losesFlight: boolean): readonly number[] => {
    const world = createWorld();
    const { near, far } = connected(world);
    near.stream.write(Uint8Array.of(1, 2));
    near.stream.write(Uint8Array.of(3));
    const heal = world.network.cut(() => true, losesFlight);
    world.run(1_000);
    const early = [...far.bytes];
    heal();
    world.run(5_000);
    expect(far.bytes).toEqual([1, 2, 3]);
    return early;
  };
  expect(arrivedWhileCut(false)).toEqual([1, 2, 3]);
  expect(arrivedWhileCut(true)).toEqual([]);
});

test("a slow link carries no more than its bytes per millisecond, over all its connections, until it is calm", () => {
  const world = createWorld();
  const { near, far } = connected(world);
  const end = world.network.slow("n2", "n1", 10);
  near.stream.write(counted(10_000));
  world.run(500);
  expect(far.bytes.length).toBeLessThan(10 * 500);
  world.run(700);
  expect(far.bytes.length).toBe(10_000);
  near.stream.write(counted(1_000));
  far.stream.write(counted(1_000));
  world.run(20);
  expect(near.bytes.length).toBe(1_000);
  world.run(200);
  end();
  near.stream.write(counted(10_000));
  world.run(20);
  expect(far.bytes.length).toBe(21_000);
});

test("a link that comes later and later keeps its order and its connections, and the way back is as quick as ever", () => {
  const world = createWorld();
  const { near, far } = connected(world);
  const { now } = world.scheduler;
  const arrivals: number[] = [];
  far.stream.onData = (data) => {
    for (const byte of data) arrivals[byte] = now();
  };
  const end = world.network.delay("n2", "n1", 400, 400);
  const sent = Array.from({ length: 10 }, (_, at) => {
    near.stream.write(Uint8Array.of(at));
    world.run(100);
    return now() - 100;
  });
  const lateness = sent.map((at, byte) => Math.round(((arrivals[byte] ?? Infinity) - at) / 100) * 100);
  expect(lateness.slice(0, 6)).toEqual([0, 100, 200, 300, 400, 400]);
  far.stream.write(counted(10));
  world.run(10);
  expect(near.bytes.length).toBe(10);
  end();
  near.stream.write(Uint8Array.of(10));
  world.run(450);
  // Not before what was sent earlier, and later than a link that is not late.
  expect(arrivals.length).toBe(11);
  expect(arrivals).toEqual([...arrivals].sort((a, b) => a - b));
  expect([near.end, far.end]).toEqual([null, null]);
});
