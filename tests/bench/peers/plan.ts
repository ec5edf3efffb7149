// What is measured, and for how long? The full comparison, and a quick one.
import { type Task, type Work, WORKS } from "./closed-loop.ts";

export interface Plan {
  readonly tasks: readonly Task[];
  /** How often a cluster is started cold and its leader killed. */
  readonly kills: number;
}

function tasks(sizes: readonly number[], inFlight: Readonly<Record<Work, readonly number[]>>, seconds: number): Task[] {
  const steps = [...new Set(Object.values(inFlight).flat())];
  return sizes.flatMap((size) =>
    steps.flatMap((step) =>
      WORKS.filter((work) => inFlight[work].includes(step)).map((work) => ({ work, inFlight: step, size, seconds })),
    ),
  );
}

const USUAL = [1, 64, 256];

export const FULL: Plan = {
  tasks: tasks([16, 1_024], { enqueue: [...USUAL, 1_024], dequeue: USUAL, pairs: USUAL }, 4),
  kills: 3,
};

export const QUICK: Plan = { tasks: tasks([16], { enqueue: USUAL, dequeue: USUAL, pairs: USUAL }, 2), kills: 1 };
