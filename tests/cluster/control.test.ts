// What do the two ends of the control socket take from each other, and what do they answer to anything else?
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askSupervisor, type ControlAnswer, type ControlRequest, listenControl } from "../../src/cluster/control.ts";

const ANSWER: ControlAnswer = {
  cluster: {
    name: "default",
    pid: 7,
    nodes: [
      { id: "n1", address: "127.0.0.1:3000", pid: 8, process: "running", ended: null },
      {
        id: "n2",
        address: "127.0.0.1:3001",
        pid: null,
        process: "down",
        ended: { code: null, signal: "SIGKILL", at: 1, lastLines: ["x"] },
      },
    ],
  },
  node: null,
  changed: true,
};

async function atSocket<T>(work: (path: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "raftq-control-"));
  try {
    return await work(join(directory, "control.sock"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What the supervisor's end answers to `line`, and which requests it passed on. */
function answerTo(line: string): Promise<{ readonly text: string; readonly received: readonly ControlRequest[] }> {
  return atSocket(async (path) => {
    const received: ControlRequest[] = [];
    const listener = await listenControl(path, (request) => {
      received.push(request);
      return Promise.resolve(ANSWER);
    });
    const text = await new Promise<string>((resolve, reject) => {
      let got = "";
      const socket = connect(path, () => socket.write(`${line}\n`));
      socket.on("data", (bytes: Uint8Array) => (got += Buffer.from(bytes).toString()));
      socket.on("error", reject);
      socket.on("close", () => resolve(got));
    });
    await listener.close();
    return { text, received };
  });
}

/** What an asker makes of a supervisor that answers with `line`. */
function askedOf(line: string): Promise<ControlAnswer> {
  return atSocket(async (path) => {
    const server = createServer((socket) => socket.end(`${line}\n`));
    await new Promise<void>((ready) => server.listen(path, ready));
    try {
      return await askSupervisor(path, { command: "describe" }, 5_000);
    } finally {
      server.close();
    }
  });
}

const thrownBy = (attempt: Promise<unknown>): Promise<unknown> => attempt.catch((error: unknown) => error);

test.each([
  { command: "describe" },
  { command: "add" },
  { command: "down" },
  { command: "retire", node: "n1" },
] as const)("%p is passed on, and its answer arrives", async (request) => {
  const { text, received } = await answerTo(JSON.stringify(request));
  expect(received).toEqual([request]);
  expect(JSON.parse(text)).toEqual({ ok: true, ...ANSWER });
  expect(await askedOf(text.trimEnd())).toEqual(ANSWER);
});

test.each([
  ["down", "it is no JSON"],
  ["null", "the whole should be Object"],
  ["[]", "command should be "],
  ['{"command":"explode"}', "command should be "],
  ['{"command":"kill"}', "node is missing"],
  ['{"command":"kill","node":3}', "node should be string"],
  ['{"command":"describe","node":"n1"}', "the whole has a field that is not known here"],
  ['{"command":"describe","\\u001b[2J":1}', "the whole has a field that is not known here"],
])("the request %p is refused, with the reason", async (line, why) => {
  const { text, received } = await answerTo(line);
  expect(received).toEqual([]);
  expect(JSON.parse(text)).toEqual({
    ok: false,
    code: "BAD_REQUEST",
    message: expect.stringContaining(`this is no request to a supervisor (${why}`),
  });
});

const good = JSON.stringify({ ok: true, ...ANSWER });
test.each([
  ["hello", "it is no JSON"],
  ["{}", "ok should be "],
  [good.replace('"process":"down"', '"process":"asleep"'), "cluster.nodes.1.process should be "],
  [good.replace('"lastLines":["x"]', '"lastLines":[1]'), "cluster.nodes.1.ended.lastLines.0 should be string"],
  [good.replace('"changed":true', '"changed":1'), "changed should be boolean"],
  [good.replace('"pid":8,', ""), "cluster.nodes.0.pid is missing"],
  [good.replace('"pid":8,', '"pid":8,"\\u001b[2J":1,'), "cluster.nodes.0 has a field that is not known here"],
])("the answer %p is another version's", async (line, why) => {
  const message: unknown = expect.stringContaining(`another raftq (${why}`);
  expect(await thrownBy(askedOf(line))).toMatchObject({ code: "VERSION", message });
});

test("what the supervisor refuses keeps its code, and one that is not known here is a BAD_REQUEST", async () => {
  const refused = (code: string): string => JSON.stringify({ ok: false, code, message: "n9 is not there" });
  expect(await thrownBy(askedOf(refused("UNKNOWN_NODE")))).toMatchObject({
    code: "UNKNOWN_NODE",
    message: "n9 is not there",
  });
  expect(await thrownBy(askedOf(refused("constructor")))).toMatchObject({ code: "BAD_REQUEST" });
});
