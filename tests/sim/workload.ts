// What do the clients do all day? Several client ids, each with a process (sometimes two at once), that enqueue, dequeue, read,
// repeat themselves, die and are taken over; and at the end one that drains the queue.
import { type Command, ENCODING } from "../../src/queue/types.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Call, History } from "./history.ts";
import { type ClientPorts, type ClientProcess, createIdentity, type Identity } from "./client-process.ts";
import type { ClientHabits } from "./plan.ts";
import { startRealClient } from "./real-client.ts";
import { startClient } from "./sim-client.ts";

const QUEUE_NAME = "default";
const MAX_BYTES = 1 << 20;

export interface Workload {
  /** From now on no new operations: what is pending is brought to a definite answer. */
  finish(): void;
  /** Nothing is pending any more. */
  finished(): boolean;
  /** Operations without a definite answer, for the report. */
  pending(): readonly string[];
  /** Closes every session, then dequeues until the queue is empty. */
  drain(): void;
  drained(): boolean;
}

interface Drawn {
  readonly call: Call;
  readonly command: Command;
}

interface Station {
  readonly identity: Identity;
  /** The youngest process; older ones may still run until they are fenced. */
  process: ClientProcess;
}

export interface WorkloadPorts {
  /** A new process on a machine of its own. */
  readonly clientPorts: () => ClientPorts;
  readonly random: Random;
  readonly history: History;
  readonly after: (ms: number, run: () => void) => void;
  /** Client ids of this world may be forgotten. */
  readonly sessionsExpire: boolean;
}

export function startWorkload(habits: ClientHabits, ports: WorkloadPorts): Workload {
  const { random, history, after } = ports;
  const stations: Station[] = [];
  let finishing = false;
  let drain: ClientProcess | null = null;
  let drainEnded = false;

  const start = (identity: Identity): ClientProcess =>
    (identity.isReal ? startRealClient : startClient)(identity, habits, ports.clientPorts());
  const think = (): number => 1 + random.below(habits.thinkMaxMs * 10) / 10;

  function work(station: Station): void {
    const { process } = station;
    if (process.over()) {
      if (finishing && !unfinished(station)) return;
      station.process = start(station.identity);
    } else if (finishing) {
      // What is unfinished and not its own was left by a process that opened later and is dead: somebody must take over again.
      // And who is only waiting for a session, with nothing left to ask in it, would ask for ever where there are few.
      const isIdle = process.pending() === 0;
      if (isIdle && !unfinished(station)) process.close();
      else if (isIdle && process.ready()) process.kill();
    } else if (process.ready()) {
      const isIdle = process.pending() === 0;
      if (isIdle && random.chance(habits.leavePercent)) process.close();
      else if (isIdle && random.chance(habits.sleepPercent)) {
        const ms = random.between(300, 9_000);
        process.sleep(ms);
        return after(ms, () => work(station));
      } else if (isIdle && random.chance(habits.silentPercent)) {
        return after(random.between(300, habits.silentMaxMs), () => work(station));
      } else act(process);
    }
    after(think(), () => work(station));
  }

  const unfinished = ({ identity }: Station): boolean => identity.operations.some(({ fate }) => fate === "pending");

  function act(process: ClientProcess): void {
    if (random.chance(habits.readPercent)) process.read();
    if (random.chance(habits.oldRetryPercent)) process.repeatOld();
    for (let count = random.between(1, habits.burst); count > 0; count--) {
      if (process.pending() >= habits.window) return;
      const { call, command } = drawCall();
      process.submit(call, command);
    }
  }

  function drawCall(): Drawn {
    if (!random.chance(habits.enqueuePercent)) return dequeue(random.between(1, habits.maxJobs));
    const made = Array.from({ length: random.between(1, habits.maxJobs) }, () =>
      history.newPayload(random.below(habits.maxPadding + 1)),
    );
    const jobs = made.map(({ payload }) => ({ encoding: ENCODING.bytes, payload }));
    const values = made.map(({ value }) => value);
    return { call: { type: "enqueue", values }, command: { type: "enqueue", queue: QUEUE_NAME, jobs } };
  }

  function dequeue(max: number): Drawn {
    const command = { queues: [QUEUE_NAME], max, maxBytes: MAX_BYTES, leaseMs: 0, waitMs: 0 };
    return { call: { type: "dequeue", max }, command: { type: "dequeue", ...command } };
  }

  function takeOverLater(): void {
    after(random.below(2 * habits.takeoverEveryMs) + 1, () => {
      const station = stations[random.below(stations.length)];
      if (finishing || station === undefined) return;
      // Half of the earlier processes live on and learn only from the cluster that they were fenced.
      const leftAlone = station.process;
      if (random.chance(50)) leftAlone.kill();
      else workOn(leftAlone);
      station.process = start(station.identity);
      takeOverLater();
    });
  }

  function workOn(process: ClientProcess): void {
    if (process.over() || finishing) return process.kill();
    if (process.ready() && process.pending() === 0 && random.chance(habits.sleepPercent)) {
      const ms = random.between(300, 4_000);
      process.sleep(ms);
      return after(ms, () => workOn(process));
    }
    if (process.ready()) act(process);
    after(think(), () => workOn(process));
  }

  function drainOn(): void {
    if (drain === null) return;
    const last = drain.identity.operations.at(-1);
    if (last?.fate === "answered" && last.reply?.type === "dequeued" && last.reply.jobs.length === 0) {
      drainEnded = true;
      return;
    }
    if (drain.over()) drain = start(drain.identity);
    if (drain.ready() && drain.pending() === 0) {
      const { call, command } = dequeue(Math.max(20, habits.maxJobs));
      drain.submit(call, command);
    }
    after(1, drainOn);
  }

  for (let count = 1; count <= habits.processes; count++) {
    const generated = habits.generatedPercent > 0 && random.chance(habits.generatedPercent);
    const isReal = random.chance(habits.realPercent);
    // Who sends a file again relies on that its numbers are still known.
    const hasFile = isReal && !generated && !ports.sessionsExpire && random.chance(habits.filePercent);
    const identity = createIdentity(`c${count}`, { generated, isReal, hasFile });
    const station = { identity, process: start(identity) };
    stations.push(station);
    after(think(), () => work(station));
  }
  if (habits.takeoverEveryMs > 0) takeOverLater();

  return {
    finish: () => {
      finishing = true;
    },
    finished: () => stations.every((station) => !unfinished(station)),
    pending: () =>
      stations.flatMap(({ identity }) =>
        identity.operations
          .filter(({ fate }) => fate === "pending")
          .map(({ number, session }) => `${identity.id} session ${session} #${number}`),
      ),
    drain: () => {
      drain = start(createIdentity("drain"));
      after(1, drainOn);
    },
    drained: () => drainEnded,
  };
}
