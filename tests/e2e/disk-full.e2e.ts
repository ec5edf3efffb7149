// What does a full disk do to real nodes? Each has a small file system of its own: filled by the queue itself, then by somebody else.
import { expect } from "bun:test";
import { spawnSync } from "node:child_process";
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { createRealDisk } from "../../src/storage/real-disk.ts";
import { isNoSpace } from "../../src/storage/disk.ts";
import { freePorts } from "../kit/free-ports.ts";
import { inWorld, type NodeProcess, waitFor, type World } from "./harness.ts";

const MiB = 1024 * 1024;
/** The segment in use, the one made ahead, a reserve of two, and room for a queue of about a segment and its snapshot. */
const DISK_BYTES = 64 * MiB;
const FILLER = "x".repeat(256 * 1024);
/** The client gives its final word after this. */
const PATIENCE = "2s";

interface SmallDisks {
  readonly nodes: readonly NodeProcess[];
  readonly addresses: string;
}

const LEFT_OUT = "LEFT OUT: full disks of real nodes; this machine lets nobody mount a tmpfs here";

function mount(directory: string, bytes = DISK_BYTES): boolean {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", directory]).status === 0;
}

/** Three founders, each on a file system of its own; null where this machine does not let us mount any. */
async function onSmallDisks(world: World, work: (cluster: SmallDisks) => Promise<void>): Promise<boolean> {
  const ports = freePorts(3);
  const names = ports.map((port, at) => ({ id: `n${at + 1}`, port, flags: [] }));
  const mounted: string[] = [];
  const nodes: NodeProcess[] = [];
  try {
    for (const { id, port } of names) {
      const directory = join(world.directory, "data", `${id}-${port}`);
      if (!mount(directory)) return false;
      mounted.push(directory);
    }
    const addresses = ports.map((port) => `127.0.0.1:${port}`);
    for (const name of names) nodes.push(world.node({ ...name, join: addresses, expect: 3 }));
    await work({ nodes, addresses: addresses.join(",") });
    return true;
  } finally {
    await Promise.all(nodes.map((node) => node.kill()));
    for (const directory of mounted) spawnSync("umount", [directory]);
  }
}

/** One command after the other in one session, each with its answer. */
function createTalk(world: World, addresses: string) {
  const answers: string[] = [];
  const pipe = world.pipe(["client", "--id", "c1", "--addr", addresses, "--timeout", PATIENCE], (line) => {
    answers.push(line);
  });
  return {
    run: async (command: string): Promise<string> => {
      const before = answers.length;
      pipe.write(command);
      return waitFor(`an answer to ${command.slice(0, 20)}; ${pipe.stderr()}`, 30_000, () => answers[before]);
    },
    end: () => pipe.end(),
  };
}

const isFull = (answer: string): boolean => answer.startsWith("error DISK_FULL");

/** Leaves no more than so much free, whatever lies there. */
function fillWithBallast(node: NodeProcess, freeBytes: number): void {
  const { bavail, bsize } = statfsSync(node.data);
  appendFileSync(join(node.data, "ballast"), new Uint8Array(Math.max(0, bavail * bsize - freeBytes)));
}

async function lowNodes(world: World, addresses: string): Promise<readonly string[]> {
  const { stdout } = await world.raftq(["cluster", "status", "--addr", addresses, "--json"]);
  const status = JSON.parse(stdout) as { nodes: { id: string; diskLow: boolean | null }[] };
  return status.nodes.filter(({ diskLow }) => diskLow === true).map(({ id }) => id);
}

inWorld(
  "full disks refuse enqueues, let dequeues pass, and serve again in the same processes when there is space",
  async (world) => {
    const couldMount = await onSmallDisks(world, async ({ nodes, addresses }) => {
      const pids = nodes.map((node) => node.pid());
      const talk = createTalk(world, addresses);
      const waiting: string[] = [];
      let next = 0;
      const enqueue = async (filler = ""): Promise<string> => {
        const value = JSON.stringify(`${next++}${filler}`);
        const answer = await talk.run(`enqueue(${value})`);
        if (!isFull(answer)) {
          expect(answer).toStartWith("ok ");
          waiting.push(value);
        }
        return answer;
      };
      const dequeue = async (): Promise<void> => {
        const answer = await talk.run("dequeue");
        expect(answer.slice(0, 20)).toBe((waiting.shift() ?? "(empty)").slice(0, 20));
      };
      const enqueueAgain = (): Promise<string> =>
        waitFor("enqueues to pass again", 30_000, async () => {
          const answer = await enqueue();
          return isFull(answer) ? undefined : answer;
        });

      // The queue itself fills the disks.
      let answer = "";
      while (!isFull(answer)) {
        answer = await enqueue(FILLER);
        expect(waiting.length * FILLER.length).toBeLessThan(DISK_BYTES);
      }
      expect(answer).toContain("of 3 voters have disk space: enqueues are refused");
      const filled = waiting.length;
      expect(filled).toBeGreaterThan(8);
      expect((await lowNodes(world, addresses)).length).toBeGreaterThanOrEqual(2);
      const stranger = await world.raftq(["client", "enqueue", "1", "--addr", addresses, "--timeout", PATIENCE]);
      expect(stranger.code).toBe(6);
      expect(`${stranger.stdout}${stranger.stderr}`).toContain("no new client is let in");
      await dequeue();
      while (waiting.length > 0) await dequeue();
      await enqueueAgain();

      // Somebody else fills two of them.
      await waitFor("room everywhere", 30_000, async () =>
        (await lowNodes(world, addresses)).length === 0 ? true : undefined,
      );
      const victims = nodes.slice(0, 2);
      await waitFor("a refusal", 30_000, async () => {
        // What compaction gives back meanwhile is taken as well.
        for (const node of victims) fillWithBallast(node, 4 * MiB);
        return isFull(await enqueue()) ? true : undefined;
      });
      expect(await lowNodes(world, addresses)).toEqual(["n1", "n2"]);
      await dequeue();
      for (const node of victims) rmSync(join(node.data, "ballast"));
      await enqueueAgain();
      while (waiting.length > 0) await dequeue();
      await dequeue();
      expect(await talk.end()).toBe(6);

      expect(nodes.map((node) => node.pid())).toEqual(pids);
      expect(nodes.map((node) => node.running())).toEqual([true, true, true]);
      for (const node of victims) {
        expect(node.log()).toMatch(/disk low: [\d.]+ MiB free, [\d.]+ MiB needed; enqueues are refused while/);
        expect(node.log()).toMatch(/the disk has space again: [\d.]+ MiB free, [\d.]+ MiB needed/);
      }
      console.log(`three disks of ${DISK_BYTES / MiB} MiB were full with ${filled} jobs of 256 KiB`);
    });
    if (!couldMount) console.log(LEFT_OUT);
  },
  180_000,
);

inWorld("a file for which there is no space leaves none of it taken", async ({ directory }) => {
  const small = join(directory, "small");
  if (!mount(small, MiB)) return console.log(LEFT_OUT);
  try {
    const disk = createRealDisk(small);
    const free = (): Promise<number> => new Promise((done) => disk.freeBytes(done));
    const before = await free();
    expect(before).toBe(MiB);
    const error = await new Promise<Error | null>((done) => disk.create("large", 2 * MiB, done));
    expect(error !== null && isNoSpace(error)).toBe(true);
    expect(existsSync(join(small, "large"))).toBe(false);
    expect(await free()).toBe(before);
  } finally {
    spawnSync("umount", [small]);
  }
});

inWorld(
  "a node that is started without space for a segment reports what it needs, and starts when it has it",
  async (world) => {
    const [port = 0] = freePorts(1);
    const data = join(world.directory, "data", `n1-${port}`);
    if (!mount(data, 24 * MiB)) return console.log(LEFT_OUT);
    const ballast = join(data, "ballast");
    fillUp(ballast);
    const node = world.node({ id: "n1", port });
    try {
      expect(await node.ended()).toBe(6);
      expect(node.log()).toMatch(/too full to open the data directory: no space: \d+ bytes are free, \d+ are needed/);
      rmSync(ballast);
      node.start();
      await waitFor("the node to answer", 30_000, async () => {
        const { code } = await world.raftq(["client", "status", "--addr", node.address, "--timeout", PATIENCE]);
        return code === 0 ? true : undefined;
      });
    } finally {
      await node.kill();
      spawnSync("umount", [data]);
    }
  },
);

/** Writes until nothing more fits. */
function fillUp(path: string): void {
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, new Uint8Array(4096));
  } catch (error) {
    expect(error).toMatchObject({ code: "ENOSPC" });
  } finally {
    closeSync(file);
  }
}
