// Brings a local cluster up, once, even if several try: what an ended supervisor left is ended first, then its data is
// resumed, or a new cluster is founded.
import { setTimeout as sleep } from "node:timers/promises";
import { CLUSTER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { ensureAuthority } from "./authority.ts";
import { askSupervisor, type ClusterFacts } from "./control.ts";
import type { Layout } from "./layout.ts";
import { endLeftovers, isSupervised, type Leftover } from "./leftovers.ts";
import type { DirectoryLock } from "../storage/lock.ts";
import { lockCluster } from "./lock.ts";
import type { NodeEnd } from "./node-process.ts";
import { movable, planUp, type UpPlan, type UpRequest } from "./plan.ts";
import { type MovedNode, movedNodes, onFreePort, requireFreePorts } from "./ports.ts";
import {
  type ClusterState,
  createClusterDirectory,
  type NodeRecord,
  purgeCluster,
  readClusterState,
  removeCreated,
  writeClusterState,
} from "./state.ts";
import { startSupervisor, type Supervisor } from "./supervisor.ts";

export interface UpSettings {
  readonly layout: Layout;
  readonly request: UpRequest;
  readonly program: readonly string[];
  readonly nodeFlags: readonly string[];
  /** Make a certificate authority, if there is none yet. One that exists is used in any case. */
  readonly tls: boolean;
  readonly onNodeDied: (id: string, end: NodeEnd) => void;
}

export type UpResult =
  | { readonly kind: "running"; readonly facts: ClusterFacts }
  | {
      readonly kind: "started";
      readonly founded: boolean;
      readonly supervisor: Supervisor;
      readonly leftovers: readonly Leftover[];
      readonly moved: readonly MovedNode[];
    };

/** Starts the nodes, or finds them running. Another terminal may do the same, or be about to stop them, at this moment. */
export async function bringUp(settings: UpSettings): Promise<UpResult> {
  const { layout, request } = settings;
  const deadline = performance.now() + CLUSTER.stopTimeoutMs + CLUSTER.controlTimeoutMs;
  let made: string | null = null;
  while (performance.now() < deadline) {
    const running = await findRunning(layout);
    if (running !== null) return alreadyRunning(request, running);
    requirePossible(settings);
    made ??= createClusterDirectory(layout);
    const lock = lockCluster(layout);
    if (lock !== null) return startLocked(settings, lock, made);
    await sleep(CLUSTER.pollMs);
  }
  throw new RaftqError(
    "LOCKED",
    `another \`raftq cluster\` command holds ${layout.directory} and no supervisor answers: wait until it has ended.`,
  );
}

/** `made`: by this `up`, the directory and those above it. */
async function startLocked(settings: UpSettings, lock: DirectoryLock, made: string | null): Promise<UpResult> {
  try {
    const { leftovers, plan, moved } = await prepare(settings, made);
    const supervisor = await startSupervisor({ ...settings, state: plan.state });
    const release = (): void => lock.release();
    void supervisor.stopped.then(release, release);
    return { kind: "started", founded: plan.kind === "bootstrap", supervisor, leftovers, moved };
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface Prepared {
  readonly leftovers: readonly Leftover[];
  readonly plan: UpPlan;
  readonly moved: readonly MovedNode[];
}

async function prepare(settings: UpSettings, made: string | null): Promise<Prepared> {
  const { layout } = settings;
  const state = readClusterState(layout);
  const leftovers = state === null ? [] : await endLeftovers(layout, state);
  let created = state === null ? made : null;
  if (state?.purging === true) {
    purgeCluster(layout, state);
    created = createClusterDirectory(layout);
  }
  try {
    return { leftovers, ...(await settle(settings, state)) };
  } catch (error) {
    if (created !== null) removeCreated(layout, created);
    throw error;
  }
}

async function settle(
  { layout, request, tls }: UpSettings,
  state: ClusterState | null,
): Promise<Omit<Prepared, "leftovers">> {
  const planned = planUp(request, state);
  const plan = await onFreePorts(planned, request);
  if (tls) await ensureAuthority(layout);
  writeClusterState(layout, { ...plan.state, pid: null, startTime: null });
  return { plan, moved: movedNodes(planned.state.nodes, plan.state.nodes) };
}

/**
 * Ports that were asked for must be free. A cluster that is resumed may have lost some meanwhile: those nodes get others, unless
 * so many moved that the members would not find each other.
 */
async function onFreePorts(plan: UpPlan, { basePort }: UpRequest): Promise<UpPlan> {
  const { nodes } = plan.state;
  if (plan.kind === "resume" && basePort === null) {
    const found: NodeRecord[] = [];
    for (const [at, node] of nodes.entries()) found.push(await onFreePort(node, [...found, ...nodes.slice(at + 1)]));
    if (movedNodes(nodes, found).length <= movable(nodes.length))
      return { ...plan, state: { ...plan.state, nodes: found } };
  }
  await requireFreePorts(nodes, plan.kind === "bootstrap");
  return plan;
}

/** The facts of the supervisor that owns this cluster now; null when none runs. */
export async function findRunning(layout: Layout): Promise<ClusterFacts | null> {
  const state = readClusterState(layout);
  if (state === null || !isSupervised(state)) return null;
  const { cluster } = await askSupervisor(layout.controlSocket, { command: "describe" }, CLUSTER.controlTimeoutMs);
  return cluster;
}

/** Another size or port than what runs is refused like another size than the data. */
export function alreadyRunning(request: UpRequest, facts: ClusterFacts): UpResult & { readonly kind: "running" } {
  const nodes = facts.nodes.map(({ id, address }) => ({ id, address, pid: null, startTime: null }));
  planUp(request, { name: facts.name, pid: null, startTime: null, founders: [], nextNumber: 1, purging: false, nodes });
  return { kind: "running", facts };
}

/** Refuses before anything is created. Ports are looked at under the lock: two terminals would take each other's look for a use. */
export function requirePossible({ layout, request }: UpSettings): void {
  planUp(request, readClusterState(layout));
}
