// What do real links between real nodes do? A program of its own, because it lives in namespaces of its own: three nodes and a client,
// each at a place with a network of its own; links.e2e.ts starts it and judges what it prints, one line of JSON for each step.
//
//   links-world.ts slow KBIT BYTES        a job of BYTES is enqueued where the leader is, over links of KBIT between the nodes
//   links-world.ts partition SECONDS…     nobody reaches anybody for so long, again and again; then only the client nobody
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SUPERVISED } from "../../src/cluster/program.ts";
import { BINARY } from "../scripts/project.ts";
import { probe } from "../torture/abilities.ts";
import { parseOptions } from "../torture/options.ts";
import { createNetwork, type Harm, PORT } from "../torture/network.ts";
import { enterRoom } from "../torture/namespaces.ts";
import { run, until } from "../torture/shell.ts";

const NODES = ["n1", "n2", "n3"];
const CLIENTS = "clients";
const FOUNDING_MS = 20_000;
const ANSWER_MS = 120_000;
/** So that the client has something under way at any time. */
const WRITE_EVERY_MS = 20;

const [scenario = "", ...given] = process.argv.slice(2);
const room = enterRoom([process.execPath, import.meta.path, ...process.argv.slice(2)]);
const abilities = probe(room, parseOptions([]));
const lacking = (["network", "firewall", "traffic"] as const).filter((ability) => !abilities.has.has(ability));
if (lacking.length > 0) {
  for (const line of abilities.missing) console.log(`LEFT OUT: ${line}`);
  room.leave();
  process.exit();
}

const network = createNetwork([...NODES, CLIENTS]);
const addressOf = (place: string): string => `${network.ip(place)}:${PORT}`;
const addresses = NODES.map(addressOf).join(",");
const logOf = (id: string): string => join(room.directory, "logs", id);
mkdirSync(join(room.directory, "logs"));

/** At a place, with its output where it is wanted. */
function start(place: string, args: readonly string[], stdio: "pipe" | number): ChildProcess {
  const [program = "", ...rest] = [...network.enter(place), BINARY, ...args];
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("RAFTQ_") && name !== SUPERVISED.name);
  const output = stdio === "pipe" ? (["pipe", "pipe", "inherit"] as const) : (["ignore", stdio, stdio] as const);
  return spawn(program, rest, { stdio: [...output], env: { ...Object.fromEntries(kept), NO_COLOR: "1" } });
}

const nodes = NODES.map((id) => {
  const log = openSync(logOf(id), "a");
  const data = join(room.directory, "data", id);
  const args = ["node", "--id", id, "--host", network.ip(id), "--port", String(PORT), "--data", data, "--insecure"];
  const node = start(id, [...args, "--join", addresses, "--expect", String(NODES.length)], log);
  closeSync(log);
  return node;
});

interface Status {
  readonly leader: string | null;
  readonly term: number;
}

/** Asked from outside of all places: no link of theirs is used. */
async function status(): Promise<Status | null> {
  const { text } = await run([BINARY, "cluster", "status", "--addr", addresses, "--json"], 10_000);
  try {
    return JSON.parse(text) as Status;
  } catch {
    return null;
  }
}

/** Lines of JSON in, lines of JSON out. */
function client(place: string, at: string, onLine: (line: string) => void): (line: string) => void {
  const args = ["client", "--id", "c1", "--addr", at, "--timeout", "600s", "--json"];
  const { stdin, stdout } = start(place, args, "pipe");
  if (stdin === null || stdout === null) throw new Error("the client has no pipes");
  createInterface({ input: stdout }).on("line", onLine);
  return (line) => void stdin.write(`${line}\n`);
}

const logged = (what: RegExp): readonly string[] =>
  NODES.flatMap((id) =>
    readFileSync(logOf(id), "utf8")
      .split("\n")
      .filter((line) => what.test(line)),
  );

async function slow(kbit: number, bytes: number, leader: string, term: number): Promise<void> {
  for (const id of NODES) network.slow(id, kbit);
  const began = performance.now();
  let answer: string | null = null;
  client(leader, addressOf(leader), (line) => (answer = line))(`enqueue(${JSON.stringify("x".repeat(bytes))})`);
  await until(ANSWER_MS, () => answer !== null, 5);
  const ms = performance.now() - began;
  const after = await status();
  const stalled = logged(/has not answered for/);
  console.log(
    JSON.stringify({
      answer: answer === null ? null : (JSON.parse(answer) as { status: string }).status,
      ms,
      terms: [term, after?.term],
      stalled,
    }),
  );
}

const cutAll = (places: readonly string[], others: readonly string[]): readonly Harm[] =>
  places.flatMap((from) =>
    others
      .filter((to) => to !== from)
      .flatMap((to): Harm[] => [
        { type: "drop", from, to },
        { type: "drop", from: to, to: from },
      ]),
  );

async function partition(seconds: readonly number[]): Promise<void> {
  const cuts = [
    ["all", cutAll(NODES, [...NODES, CLIENTS])],
    ["client", cutAll([CLIENTS], NODES)],
  ] as const;
  let answers = 0;
  const write = client(CLIENTS, addresses, () => answers++);
  let next = 1;
  const writing = setInterval(() => write(`enqueue(${next++})`), WRITE_EVERY_MS);
  for (const [who, harms] of cuts) {
    for (const length of seconds) {
      const before = answers;
      if (!(await until(10_000, () => answers > before + 20, 1)))
        throw new Error("nobody answers before the partition");
      const heal = network.harm(harms);
      await Bun.sleep(length * 1_000);
      const during = answers;
      heal();
      const healed = performance.now();
      await until(30_000, () => answers > during, 1);
      console.log(JSON.stringify({ who, seconds: length, backAfterMs: Math.round(performance.now() - healed) }));
    }
  }
  clearInterval(writing);
}

try {
  let first: Status | null = null;
  const isFounded = await until(FOUNDING_MS, async () => (first = await status())?.leader != null);
  if (!isFounded || first === null) throw new Error("three fresh nodes did not found a cluster");
  const { leader, term }: Status = first;
  if (leader === null) throw new Error("nobody leads");
  if (scenario === "slow") await slow(Number(given[0]), Number(given[1]), leader, term);
  else await partition(given.map(Number));
} catch (error) {
  console.error(error);
  for (const id of NODES) console.error(`--- ${id}\n${readFileSync(logOf(id), "utf8").slice(-3_000)}`);
  process.exitCode = 1;
} finally {
  for (const node of nodes) node.kill("SIGKILL");
  room.leave();
}
process.exit();
