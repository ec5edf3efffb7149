// Who works while the nemeses strike? Producers with values of their own and consumers, in two processes that may be killed; an
// answer that did not come is asked for again, by the same number, until it is there.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import type { Random } from "../../src/lib/random.ts";
import type { Order, Report } from "./agent.ts";
import { invoke, type Operation } from "./history.ts";
import { createTide } from "./tide.ts";
import { valueOf } from "./payload.ts";

const PRODUCERS = 4;
const CONSUMERS = 3;
const AGENTS = 2;
/** Requests of one client under way at once: below the reply window, above one, so that order can go wrong. */
const WINDOW = { producer: 6, consumer: 2 } as const;
const BEAT_MS = 20;
/** Consumers change their mind this often: the queue runs full and empty. */
const MOOD_MS = 3_000;

export interface Clients {
  readonly history: readonly Operation[];
  readonly wrong: readonly string[];
  /** How often an outcome was unknown, or a session was opened anew. */
  counts(): { readonly unknown: number; readonly again: number };
  waiting(): readonly Operation[];
  acknowledged(): number;
  lastAnswerAt(): number;
  /** Called for each definite answer. */
  onAnswer(listen: (at: number) => void): void;
  /** SIGKILL to one of the processes, and a new one that goes on. */
  killAgent(which: number): void;
  /** No new requests from producers, or from anybody. */
  quiet(who: "producers" | "all"): void;
  /** Dequeues by a client of its own until the queue is empty. False: not within the time. */
  drain(timeoutMs: number): Promise<boolean>;
  end(): void;
}

interface Worker {
  readonly id: string;
  readonly agent: number;
  readonly producer: number | null;
  readonly waiting: Map<number, Operation>;
  lastNumber: number;
}

type Agent = ChildProcessByStdio<Writable, Readable, null>;

export function startClients(enter: readonly string[], addresses: readonly string[], random: Random): Clients {
  const history: Operation[] = [];
  const wrong: string[] = [];
  const listeners: ((at: number) => void)[] = [];
  const counts = { unknown: 0, again: 0 };
  let acknowledged = 0;
  let lastAnswerAt = performance.now();
  let ended = false;
  let quieted: "nobody" | "producers" | "all" = "nobody";
  let thirst = 50;
  const tide = createTide();
  const workers = new Map<string, Worker>();
  const agents: Agent[] = [];

  function launch(which: number): void {
    const command = [...enter, process.execPath, join(import.meta.dir, "agent.ts"), addresses.join(",")];
    const [program = "", ...args] = command;
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    // A write to a process that was just killed: its successor gets the same order.
    child.stdin.on("error", () => undefined);
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (agents[which] === child) receive(JSON.parse(line) as Report);
    });
    child.once("exit", (code) => {
      if (!ended && agents[which] === child) wrong.push(`a client process ended by itself, with exit code ${code}`);
    });
    agents[which] = child;
    for (const worker of workers.values()) {
      if (worker.agent === which) for (const operation of worker.waiting.values()) send(worker, operation);
    }
  }

  function send(worker: Worker, { client, number, type, value }: Operation): void {
    const order: Order = { client, number, value: type === "enqueue" ? value : null };
    agents[worker.agent]?.stdin.write(`${JSON.stringify(order)}\n`);
  }

  function ask(worker: Worker): void {
    const number = ++worker.lastNumber;
    const operation = invoke(worker.id, number, worker.producer === null ? null : valueOf(worker.producer, number));
    history.push(operation);
    worker.waiting.set(number, operation);
    send(worker, operation);
  }

  function receive(report: Report): void {
    const worker = workers.get(report.client);
    if (worker === undefined) return;
    switch (report.type) {
      case "wrong":
        wrong.push(`${report.client} #${report.number}: ${report.what}`);
        return;
      case "again":
        counts.again++;
        if (report.unknown) counts.unknown++;
        return;
      case "done": {
        const operation = worker.waiting.get(report.number);
        if (operation === undefined) return void wrong.push(`${report.client} #${report.number} was answered twice`);
        worker.waiting.delete(report.number);
        lastAnswerAt = performance.now();
        operation.returned = lastAnswerAt;
        operation.index = report.index;
        operation.jobId = report.jobId;
        if (operation.type === "dequeue") operation.value = report.value;
        tide.note(operation);
        acknowledged++;
        for (const listen of listeners) listen(lastAnswerAt);
      }
    }
  }

  function hire(id: string, agent: number, producer: number | null): Worker {
    const worker: Worker = { id, agent, producer, waiting: new Map(), lastNumber: 0 };
    workers.set(id, worker);
    return worker;
  }

  function beat(): void {
    for (const worker of workers.values()) {
      const isProducer = worker.producer !== null;
      if (quieted === "all" || (quieted === "producers" && isProducer) || worker.id === "drain") continue;
      if (worker.waiting.size >= (isProducer ? WINDOW.producer : WINDOW.consumer)) continue;
      if (isProducer ? !tide.isHigh() : tide.isHigh() || random.chance(thirst)) ask(worker);
    }
  }

  for (let i = 1; i <= PRODUCERS; i++) hire(`p${i}`, i % AGENTS, i);
  for (let i = 1; i <= CONSUMERS; i++) hire(`c${i}`, i % AGENTS, null);
  for (let i = 0; i < AGENTS; i++) launch(i);
  const heart = setInterval(beat, BEAT_MS);
  const moods = setInterval(() => (thirst = random.between(5, 180)), MOOD_MS);

  return {
    history,
    wrong,
    counts: () => counts,
    waiting: () => [...workers.values()].flatMap((worker) => [...worker.waiting.values()]),
    acknowledged: () => acknowledged,
    lastAnswerAt: () => lastAnswerAt,
    onAnswer: (listen) => void listeners.push(listen),
    killAgent: (which) => {
      const old = agents[which];
      launch(which);
      old?.kill("SIGKILL");
    },
    quiet: (who) => {
      quieted = who;
    },
    drain: async (timeoutMs) => {
      const worker = hire("drain", 0, null);
      const deadline = performance.now() + timeoutMs;
      const from = history.length;
      const isEmpty = (operation: Operation): boolean =>
        operation.client === worker.id && operation.returned !== Infinity && operation.value === null;
      for (let at = from; performance.now() < deadline;) {
        for (; at < history.length && history[at]?.returned !== Infinity; at++) {
          if (isEmpty(history[at]!)) return true;
        }
        while (worker.waiting.size < 32) ask(worker);
        await Bun.sleep(5);
      }
      return false;
    },
    end: () => {
      ended = true;
      clearInterval(heart);
      clearInterval(moods);
      for (const agent of agents) agent.kill("SIGKILL");
    },
  };
}
