// Is everything there in the end? All healed, nothing new asked: every request answered, every node at the same index with the same
// digest, the queue drained; then the history is checked.
import { isAnswered } from "./history.ts";
import { patience, until } from "./shell.ts";
import { violations } from "./verdict.ts";
import { bringUp, type World } from "./world.ts";

const ANSWERS_MS = 30_000;
const DRAIN_MS = 120_000;
const AGREE_MS = 20_000;
/** What a node writes when one of its own invariants is broken. */
const ASSERTION =
  /this must hold and does not|this must be there and is not|this case cannot occur|stopped by a fault of its own/;

export async function finale(world: World): Promise<void> {
  const { clients } = world;
  world.timeline.record("the end: everything is healed, and the queue is drained");
  await bringUp(world, world.nodes);
  clients.quiet("all");
  // When something is wrong already, only the check of the history is wanted.
  const limit = world.blamed.length === 0 ? patience(ANSWERS_MS) : ANSWERS_MS / 10;
  if (!(await until(limit, () => clients.waiting().length === 0))) {
    world.blame(
      `${clients.waiting().length} requests were not answered ${Math.round(limit / 1_000)} s after everything was healed`,
    );
  }
  if (!(await clients.drain(patience(DRAIN_MS))))
    world.blame(`the queue could not be drained within ${DRAIN_MS / 1_000} s`);
  // The drain asks ahead of the answer that ends it.
  await until(limit, () => clients.waiting().length === 0);
  if (!(await until(patience(AGREE_MS), () => disagreement(world) === null))) world.blame(disagreement(world) ?? "");
  for (const problem of [...violations(clients.history), ...clients.wrong]) world.blame(problem);
  const difference = diverged(world);
  if (difference !== null) world.blame(difference);
  for (const node of world.nodes) {
    const hit = node
      .log()
      .split("\n")
      .find((line) => ASSERTION.test(line));
    if (hit !== undefined) world.blame(`${node.id} hit an assertion: ${hit}`);
  }
}

/** The nodes are not yet where they all must come; null: they are. */
function disagreement(world: World): string | null {
  const states = world.nodes.map(({ id, status }) => ({
    id,
    state: status === null ? "silent" : `applied ${status.appliedIndex}`,
  }));
  const wanted = states[0]?.state;
  if (wanted !== "silent" && states.every(({ state }) => state === wanted)) return null;
  return `the nodes do not agree: ${states.map(({ id, state }) => `${id} ${state}`).join(", ")}`;
}

/** Two nodes whose newest checkpoints of the state are at one index and differ, where the version at hand shows checkpoints. */
function diverged(world: World): string | null {
  const seen = new Map<number, string>();
  for (const { id, status } of world.nodes) {
    const checkpoint = status !== null && "checkpoint" in status ? status.checkpoint : null;
    if (typeof checkpoint !== "object" || checkpoint === null || !("index" in checkpoint)) continue;
    const [index, shown] = [Number(checkpoint.index), JSON.stringify(checkpoint)];
    const other = seen.get(index);
    if (other !== undefined && other !== shown)
      return `${id} has another state at index ${index}: ${shown}, not ${other}`;
    seen.set(index, shown);
  }
  return null;
}

/** For the record of a failure. */
export function historyText(world: World): string {
  const line = (operation: World["clients"]["history"][number]): string =>
    JSON.stringify({ ...operation, returned: isAnswered(operation) ? operation.returned : null });
  return world.clients.history.map((operation) => `${line(operation)}\n`).join("");
}
