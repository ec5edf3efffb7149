// On what does a real client run? A machine of its own, with a clock and a network, on which one process lives until it is ended.
import type { Clock } from "../../src/lib/clock.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Network } from "../../src/wire/network.ts";
import { createSimProcess, enterClock, enterNetwork } from "../kit/simulated-process.ts";
import type { SimNetwork } from "../kit/simulated-network.ts";
import type { Scheduler } from "../kit/scheduler.ts";
import { createSimClock, createSimTime } from "../kit/simulated-clock.ts";

export interface ClientMachine {
  readonly network: Network;
  readonly clock: Clock;
  /** Into the process, unless it was ended; what it throws is a failure. A suspended one gets it later. */
  enter(run: () => void): void;
  /** Suspends it for so long; all its connections break meanwhile. */
  suspend(ms: number): void;
  isSuspended(): boolean;
  /** Its process is killed: it is called no more, and the nodes learn of it. */
  end(): void;
}

export interface ClientMachinePorts {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly random: Random;
  readonly clockRate: number;
  readonly roundMs: number;
  readonly received: (data: Uint8Array) => void;
  /** By their names in the network. */
  readonly nodes: () => readonly string[];
  readonly fail: (what: string) => void;
}

export function createClientMachine(ports: ClientMachinePorts): ClientMachine {
  const { name, scheduler, network, random, roundMs } = ports;
  const process = createSimProcess({
    afterEach: () => {},
    threw: (error) => ports.fail(`${name} threw: ${error instanceof Error ? error.stack : String(error)}`),
  });
  const time = createSimTime(scheduler, random.fork(), ports.clockRate);
  return {
    network: enterNetwork(network.hostOf(name), process, ports.received),
    clock: enterClock(createSimClock(scheduler, time, random.fork(), roundMs), process),
    enter: process.enter,
    suspend: (ms) => {
      if (!process.alive() || process.paused()) return;
      process.pause();
      network.pause(name);
      for (const node of ports.nodes()) network.reset(name, node);
      scheduler.after(ms, () => {
        if (!process.alive()) return;
        process.resume();
        network.resume(name);
      });
    },
    isSuspended: process.paused,
    end: () => {
      if (!process.alive()) return;
      process.end();
      network.kill(name);
    },
  };
}
