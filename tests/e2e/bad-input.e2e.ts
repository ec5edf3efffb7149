// What does raftq answer to wrong commands, damaged directories and hostile bytes? One clear line and the right exit code; and a
// node that is spoken to in nonsense goes on serving, no larger than before.
import { expect } from "bun:test";
import { STORAGE } from "../../src/config.ts";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
  closeSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { freePorts } from "../kit/free-ports.ts";
import { BINARY } from "../scripts/project.ts";
import { type NodeProcess, type Output, waitFor, type World, inWorld } from "./harness.ts";

/** A container as far as process ids go: those inside mean nothing outside. */
const CONTAINER = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"] as const;
const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, empty: 4, refused: 6, unhealthy: 8 };

async function founded(world: World, id = "n1"): Promise<NodeProcess> {
  const [port = 0] = freePorts(1);
  const node = world.node({ id, port });
  await waitFor(`${id} to found a cluster`, 5_000, () =>
    node.log().includes("FOUNDED new cluster") ? true : undefined,
  );
  return node;
}

/** An error of the command line: nothing on stdout, one line on stderr that names what was wrong. */
function expectRefusal(output: Output, code: number, reason: RegExp): void {
  expect({ code: output.code, stdout: output.stdout }).toEqual({ code, stdout: "" });
  expect(output.stderr).toMatch(reason);
  expect(output.stderr).not.toMatch(/^\s+at /m);
}

inWorld(
  "unknown words, unknown flags and flags without a value are refused with the nearest right one",
  async (world) => {
    const refusals: readonly (readonly [readonly string[], RegExp])[] = [
      [["clutser", "up"], /unknown command "clutser".*cluster/],
      [["cluster", "upp"], /unknown command "upp".*up/],
      [["node", "--prot", "3000"], /unknown flag --prot.*--port/],
      [["client", "--id"], /--id needs a value/],
      [["node", "--port", "--id", "n1"], /--port needs a value/],
      [["node", "--port", "99999"], /--port.*65535.*99999/],
      [["node", "--heartbeat", "quickly"], /--heartbeat.*duration.*quickly/],
      [["node", "--heartbeat", "500ms"], /--election.*--heartbeat/],
      [["node", "--host", "0.0.0.0"], /--insecure/],
      [["client", "enqueue"], /enqueue/],
      [["client", "enqueue", "1", "2"], /2/],
      [["cluster", "up", "5", "stray"], /stray/],
      [["cluster", "up", "10"], /10/],
    ];
    for (const [args, reason] of refusals) expectRefusal(await world.raftq(args), EXIT.usage, reason);
  },
);

inWorld("the course project's forms are answered with the exact line to type instead", async (world) => {
  expectRefusal(
    await world.raftq(["client", "localhost", "3000", "client01"]),
    EXIT.usage,
    /raftq client --addr localhost:3000 --id client01/,
  );
  expectRefusal(
    await world.raftq(["node", "localhost", "3001", "localhost", "3000"]),
    EXIT.usage,
    /raftq node --port 3001 .*--join localhost:3000/,
  );
});

inWorld("a negative number is a value, not a flag", async (world) => {
  const node = await founded(world);
  const addr = ["--addr", node.address];
  expect(await world.raftq(["client", "enqueue", "-5", ...addr])).toMatchObject({ code: EXIT.ok });
  expect(await world.raftq(["client", "dequeue", ...addr])).toMatchObject({ code: EXIT.ok, stdout: "-5\n" });
  expect(await world.raftq(["client", "dequeue", ...addr])).toMatchObject({ code: EXIT.empty });
});

inWorld("nobody listens: the address is named", async (world) => {
  const [port = 0] = freePorts(1);
  expectRefusal(
    await world.raftq(["client", "enqueue", "1", "--addr", `127.0.0.1:${port}`]),
    EXIT.unreachable,
    /cannot reach/,
  );
});

inWorld("bad lines of a pipe are answered in their place, and the pipe goes on", async (world) => {
  const node = await founded(world);
  const huge = `enqueue("${"x".repeat(2 * 1024 * 1024)}")`;
  const large = `enqueue("${"x".repeat(1024 * 1024)}")`;
  const input = ["enqueue(1)", "enqueue()", "enqueue(abc)", "jump", huge, large, "dequeue", "dequeue"].join("\n");
  const output = await world.raftq(["client", "--addr", node.address], { input });
  const lines = output.stdout.trim().split("\n");
  expect(lines).toEqual([
    expect.stringMatching(/^ok id=1 index=\d+$/),
    expect.stringMatching(/^error BAD_REQUEST: .*line 2/),
    expect.stringMatching(/^error BAD_REQUEST: .*line 3.*did you mean enqueue\("abc"\)\?/),
    expect.stringMatching(/^error BAD_REQUEST: .*line 4/),
    expect.stringMatching(/^error TOO_LARGE: line 5: /),
    expect.stringMatching(/^error TOO_LARGE: line 6: /),
    "1",
    "(empty)",
  ]);
  // The first error decides.
  expect(output.code).toBe(EXIT.usage);
});

inWorld("a port in use is named", async (world) => {
  const node = await founded(world);
  const output = await world.raftq(["node", "--id", "n2", "--port", String(node.port), "--data", "other"]);
  expectRefusal(output, EXIT.failed, new RegExp(`${node.port}`));
});

inWorld("two processes never share a directory, nor do two containers, and the first one serves on", async (world) => {
  const node = await founded(world);
  const [port = 0, another = 0] = freePorts(2);
  const second = (id: string): readonly string[] => ["node", "--id", id, "--port", String(port), "--data", node.data];
  expectRefusal(await world.raftq(second("n1")), EXIT.refused, /in use by process \d+\. Another raftq node/);
  // Refused for its id as well: that must not take the lock from the first one.
  expectRefusal(await world.raftq(second("n9")), EXIT.refused, /in use by process \d+/);
  if (spawnSync("unshare", [...CONTAINER, "true"]).status === 0) {
    const program = { program: "unshare" };
    const contained = await world.raftq([...CONTAINER, BINARY, ...second("n1")], program);
    expectRefusal(contained, EXIT.refused, /in use by a process that cannot be seen from here/);
  } else
    console.log("LEFT OUT: a node in a container of its own; this machine lets nobody make a process namespace here");
  const client = ["client", "--addr", node.address];
  expect(await world.raftq([...client, "enqueue", "1"])).toMatchObject({ code: 0 });
  await node.kill();
  node.start({ port: another });
  expect((await world.raftq(["client", "--addr", `127.0.0.1:${another}`, "dequeue"])).stdout).toBe("1\n");
});

inWorld("a directory that cannot be written is named", async (world) => {
  const [port = 0] = freePorts(1);
  writeFileSync(join(world.directory, "a-file"), "");
  const output = await world.raftq(["node", "--id", "n1", "--port", String(port), "--data", "a-file/data"]);
  expectRefusal(output, EXIT.failed, /--data a-file\/data cannot be made, because a-file is a file, not a directory/);
  const file = await world.raftq(["node", "--port", String(port), "--data", "a-file"]);
  expectRefusal(file, EXIT.failed, /--data a-file is a file, not a directory\. Choose another --data\./);
});

inWorld(
  "a directory of another node is refused, and resumes without --id, whatever the other flags name",
  async (world) => {
    const node = await founded(world, "n1");
    await node.stop();
    const [port = 0] = freePorts(1);
    const foreign = await world.raftq(["node", "--id", "n9", "--port", String(port), "--data", node.data]);
    expectRefusal(foreign, EXIT.refused, /belongs to node n1, not to n9\. Leave out --id/);
    node.start({ named: false, port, expect: 3, join: ["127.0.0.1:9"] });
    const addr = ["--addr", `127.0.0.1:${port}`];
    expect(await world.raftq(["client", "enqueue", "1", ...addr])).toMatchObject({ code: EXIT.ok });
    expect(node.log()).toContain(`node n1 at 127.0.0.1:${port}`);
  },
);

inWorld("a directory of another cluster, under the id and at the address of a member, is refused", async (world) => {
  const { nodes, addresses } = await world.cluster(3);
  const member = nodes[2] as NodeProcess;
  const stranger = await founded(world, member.id);
  await stranger.stop();
  await member.kill();
  const args = ["node", "--id", member.id, "--port", String(member.port), "--data", stranger.data];
  expectRefusal(await world.raftq(args), EXIT.refused, /cluster/);
  expect(await world.raftq(["client", "enqueue", "1", "--addr", addresses])).toMatchObject({ code: EXIT.ok });
});

// --- damaged directories ---

const logDirectory = (data: string): string => join(data, "g0/log");

/** Segment files, oldest first. */
function segments(data: string): readonly string[] {
  return readdirSync(logDirectory(data))
    .filter((name) => name.endsWith(".seg"))
    .toSorted()
    .map((name) => join(logDirectory(data), name));
}

/** After so much quiet the log has been closed behind its last frame, so that damage to that frame is known for what it is. */
const QUIET_MS = 500;

/** A node with fifty jobs, ended by `kill -9`. */
async function withJobs(world: World): Promise<NodeProcess> {
  const node = await founded(world);
  const input = Array.from({ length: 50 }, (_, i) => `enqueue("job ${i}")`).join("\n");
  expect(await world.raftq(["client", "--id", "c1", "--addr", node.address], { input })).toMatchObject({
    code: EXIT.ok,
  });
  await Bun.sleep(QUIET_MS);
  await node.kill();
  return node;
}

async function expectCorrupt(world: World, node: NodeProcess, data: string): Promise<void> {
  const before = readTree(data);
  const output = await world.raftq(["node", "--id", node.id, "--port", String(node.port), "--data", data]);
  expectRefusal(output, EXIT.unhealthy, /damaged|corrupt|missing|checksum|short/i);
  // Damaged data is evidence: it stays as it was found.
  expect(readTree(data)).toEqual(before);
}

function readTree(directory: string): Record<string, unknown> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map((entry) => [
      join(entry.parentPath, entry.name),
      Bun.hash(readFileSync(join(entry.parentPath, entry.name))),
    ]),
  );
}

function overwrite(path: string, at: number, bytes: Uint8Array): void {
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

inWorld(
  "damage in the middle of the log, a shortened or deleted segment, two bad meta slots: alone, with nobody to ask, the node refuses",
  async (world) => {
    const node = await withJobs(world);
    const [first = ""] = segments(node.data);
    const damages: Readonly<Record<string, (data: string, segment: string) => void>> = {
      "a flipped bit": (_, segment) => {
        const bytes = readFileSync(segment);
        const at = bytes.indexOf('"job 25"');
        overwrite(segment, at, new Uint8Array([(bytes[at] ?? 0) ^ 1]));
      },
      "a shortened segment": (_, segment) => truncateSync(segment, 6000),
      "a deleted segment": (_, segment) => rmSync(segment),
      "two bad meta slots": (data) => writeFileSync(join(data, "meta"), new Uint8Array(8192)),
    };
    for (const [name, damage] of Object.entries(damages)) {
      const data = join(world.directory, name.replaceAll(" ", "-"));
      cpSync(node.data, data, { recursive: true });
      damage(data, first.replace(node.data, data));
      await expectCorrupt(world, node, data);
    }
  },
);

inWorld("one bad meta slot is repaired from the other", async (world) => {
  for (const slot of [0, 4096]) {
    const node = await withJobs(world);
    overwrite(join(node.data, "meta"), slot, new Uint8Array(4096));
    node.start();
    const answer = await world.raftq(["client", "dequeue", "--addr", node.address]);
    expect(answer).toMatchObject({ code: EXIT.ok, stdout: `"job 0"\n` });
    await node.kill();
  }
});

inWorld("garbage behind the last frame is a torn tail: it is cut, and nothing acknowledged is lost", async (world) => {
  const node = await withJobs(world);
  const newest = segments(node.data).at(-1) ?? "";
  const bytes = readFileSync(newest);
  const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
  const nextBlock = Math.ceil(used / 4096) * 4096;
  // The beginning of a frame that never got further: its magic number, then nonsense.
  const torn = new Uint8Array(600).fill(0xa5);
  torn.set(new TextEncoder().encode("rqF1"));
  overwrite(newest, nextBlock, torn);
  node.start();
  const dequeued = await world.raftq(["client", "--addr", node.address], { input: "dequeue\n".repeat(51) });
  expect(dequeued.stdout.trim().split("\n")).toEqual([
    ...Array.from({ length: 50 }, (_, i) => `"job ${i}"`),
    "(empty)",
  ]);
});

inWorld("a directory of a newer format is refused politely", async (world) => {
  const node = await withJobs(world);
  const path = join(node.data, "meta");
  const meta = readFileSync(path);
  for (const slot of [meta.subarray(0, 4096), meta.subarray(4096, 8192)]) {
    // As a later raftq would write it (FORMAT.md, meta): another version, and the checksum that belongs to it.
    slot.writeUInt32BE(99, 8);
    slot.writeUInt32BE(Bun.hash.crc32(slot.subarray(16), Bun.hash.crc32(slot.subarray(0, 12))), 12);
  }
  const [oldest = ""] = segments(node.data);
  const segment = readFileSync(oldest);
  segment.writeUInt32BE(99, 8);
  segment.writeUInt32BE(Bun.hash.crc32(segment.subarray(0, 28), Number.parseInt(oldest.slice(-12, -4), 16)), 28);
  for (const [file, newer] of [
    [path, meta],
    [oldest, segment],
  ] as const) {
    const whole = readFileSync(file);
    writeFileSync(file, newer);
    const before = readTree(node.data);
    const output = await world.raftq(["node", "--id", node.id, "--port", String(node.port), "--data", node.data]);
    expectRefusal(
      output,
      EXIT.refused,
      new RegExp(
        `has format version 99, and this raftq knows format version ${STORAGE.formatVersion}\\..* newer raftq`,
      ),
    );
    expect(readTree(node.data)).toEqual(before);
    writeFileSync(file, whole);
  }
});

// --- hostile bytes ---

/** Sends `bytes`, waits for the other side to close or for `patienceMs`. */
function send(port: number, bytes: Uint8Array, patienceMs: number): Promise<"closed" | "open"> {
  return new Promise((done) => {
    const socket = connect(port, "127.0.0.1");
    const timer = setTimeout(() => {
      socket.destroy();
      done("open");
    }, patienceMs);
    socket.on("error", () => undefined);
    socket.on("data", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      done("closed");
    });
    socket.write(bytes);
  });
}

const residentBytes = (node: NodeProcess): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${node.pid()}/status`, "utf8"))?.[1] ?? 0) * 1024;

inWorld(
  "hostile bytes on the port: the connection is closed, the node serves on, nothing grows and nothing is lost",
  async (world) => {
    const node = await founded(world);
    const client = ["client", "--id", "c1", "--addr", node.address];
    expect(await world.raftq(client, { input: "enqueue(1)\n" })).toMatchObject({ code: EXIT.ok });
    const text = (value: string): Uint8Array => new TextEncoder().encode(value);
    const hostile: Readonly<Record<string, Uint8Array>> = {
      "a frame of 4 GiB": new Uint8Array([0xff, 0xff, 0xff, 0xff]),
      "a frame above the limit": new Uint8Array([0x00, 0xff, 0xff, 0xff, 0x91]),
      "an empty frame": new Uint8Array([0, 0, 0, 0]),
      "an HTTP request": text("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
      "a TLS hello": new Uint8Array([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
      "a frame of a map": new Uint8Array([0, 0, 0, 1, 0x80]),
      "a frame of nested arrays": new Uint8Array([0, 0, 0, 64, ...new Uint8Array(64).fill(0x91)]),
    };
    for (const [name, bytes] of Object.entries(hostile)) {
      expect({ name, end: await send(node.port, bytes, 2_000) }).toEqual({ name, end: "closed" });
    }
    // Half a hello: closed at its deadline, later; here it must only do no harm.
    await send(node.port, new Uint8Array([0, 0, 0, 40, 0x96]), 100);
    const before = residentBytes(node);
    for (let i = 0; i < 300; i++) {
      const noise = new Uint8Array(2_000);
      crypto.getRandomValues(noise);
      await send(node.port, noise, 50);
    }
    expect(residentBytes(node) - before).toBeLessThan(64 * 1024 * 1024);
    expect(node.running()).toBe(true);
    expect(await world.raftq(client, { input: "dequeue\n" })).toMatchObject({ code: EXIT.ok, stdout: "1\n" });
  },
);
