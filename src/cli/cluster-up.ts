// `raftq cluster up`: starts a local cluster, or resumes it, and stays with it until it is stopped.
import { spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterFacts } from "../cluster/control.ts";
import { hasAuthority } from "../cluster/authority.ts";
import { clusterLayout, type Layout, ROOT, type TlsFiles, tlsFiles } from "../cluster/layout.ts";
import { localCredentials } from "./credentials.ts";
import { openNodeAccess } from "./node-access.ts";
import type { NodeEnd } from "../cluster/node-process.ts";
import { lockCluster } from "../cluster/lock.ts";
import { evenSizeHint, nameFlag, type UpRequest } from "../cluster/plan.ts";
import { movedNodes } from "../cluster/ports.ts";
import { watchAncestors } from "../cluster/processes.ts";
import { childEnvironment, ownProgram, shownProgram } from "../cluster/program.ts";
import { createClusterDirectory, readClusterState, removeCreated } from "../cluster/state.ts";
import { askStatus, type ClusterStatus, waitForLeader } from "../cluster/status.ts";
import type { Supervisor } from "../cluster/supervisor.ts";
import { alreadyRunning, bringUp, findRunning, requirePossible, type UpSettings } from "../cluster/up.ts";
import { CLUSTER, DEFAULTS, timingProblem } from "../config.ts";
import { formatDuration } from "../lib/durations.ts";
import { EXIT, type ExitCode, RaftqError } from "../lib/errors.ts";
import { type Arguments, command, type Values } from "./arguments.ts";
import { integer } from "./conversions.ts";
import { JSON_FLAG, leftoverNotices, movedNotices, NAME } from "./cluster-arguments.ts";
import { deathNotice, headline, nextSteps, processTable, statusTable } from "./cluster-view.ts";
import { type LiveTable, openLiveTable } from "./live-table.ts";
import { messages, namedMessages } from "./log.ts";
import { DISK_ARGUMENTS, parseElection, TIMING_ARGUMENTS } from "./node-settings.ts";
import { onStopSignals } from "./signals.ts";

const UP_ARGUMENTS = {
  size: {
    type: "positional",
    required: false,
    convert: integer(1, CLUSTER.maxNodes),
    description: `Number of nodes, 1 to ${CLUSTER.maxNodes} (default: those that exist, else ${DEFAULTS.clusterSize})`,
  },
  ...NAME,
  "base-port": {
    type: "string",
    convert: integer(1, 65_535),
    description: `Port of n1; n2 has the next one (default: ${DEFAULTS.port})`,
    valueHint: "port",
  },
  detach: { type: "boolean", alias: "d", description: "Return when a leader serves; `raftq cluster down` stops it" },
  tls: {
    type: "boolean",
    description: "Nodes and clients prove who they are: with an authority of this cluster's own, under its directory",
  },
  ...DISK_ARGUMENTS,
  ...TIMING_ARGUMENTS,
  ...JSON_FLAG,
} as const satisfies Arguments;
type UpValues = Values<typeof UP_ARGUMENTS>;

export const upCommand = command({
  name: "raftq cluster up",
  description: "Start a local cluster, or resume it",
  examples: ["raftq cluster up 5", "raftq cluster up --name test --base-port 4000 --detach"],
  args: UP_ARGUMENTS,
  run: (values) => {
    const { min, max } = parseElection(values.election);
    const problem = timingProblem(values.heartbeat, min, max);
    if (problem !== null) throw new RaftqError("USAGE", `${problem}.`);
    const layout = clusterLayout(ROOT, values.name);
    return values.detach ? upDetached(layout, values) : upForeground(layout, values);
  },
});

/** This process while it is the supervisor. */
interface Session {
  readonly live: LiveTable;
  supervisor: Supervisor | null;
  stopping: boolean;
}

async function upForeground(layout: Layout, values: UpValues): Promise<ExitCode> {
  const session = openSession();
  const result = await bringUp(upSettings(layout, values, (id, end) => session.live.note(deathNotice(id, end))));
  if (result.kind === "running") return reportRunning(layout, result.facts, values);
  const { supervisor, founded } = result;
  session.supervisor = supervisor;
  session.live.note([...leftoverNotices(result.leftovers), ...movedNotices(result.moved)]);
  const access = openNodeAccess(localCredentials(layout, "admin"));
  const ask = (): Promise<ClusterStatus> => askStatus(values.name, supervisor.facts().nodes, access);
  try {
    const status = await waitForLeader(ask, access, () => session.stopping || isHopeless(supervisor.facts(), founded));
    if (status !== null) reportUp(layout, status, values, session.live.isShown);
    else if (!session.stopping) await giveUpOrGoOn(supervisor, founded, values.name);
    await watchUntilStopped(session, supervisor, ask);
    session.live.show("");
    session.live.note([`All nodes of cluster "${values.name}" are stopped; their data is kept.`]);
  } finally {
    access.close();
    session.live.close();
  }
  return EXIT.ok;
}

function openSession(): Session {
  const session: Session = { live: openLiveTable(), supervisor: null, stopping: false };
  const stop = (why: string): void => {
    session.stopping = true;
    if (session.supervisor === null) process.exit(EXIT.ok);
    session.live.note([`${why}: stopping all nodes`]);
    void session.supervisor.stop();
  };
  const fault = (error: unknown): void => {
    const what = error instanceof Error ? error.message : String(error);
    namedMessages.error(`the supervisor stopped by a fault (${what}); its nodes stop gracefully by themselves.`);
    process.exit(EXIT.failed);
  };
  process.on("uncaughtException", fault);
  process.on("unhandledRejection", fault);
  onStopSignals(stop, (signal) => {
    session.live.note([`${signal} again: killing all nodes`]);
    void session.supervisor?.stopNow();
  });
  watchAncestors(CLUSTER.ancestorPollMs, (pid) => stop(`process ${pid}, which started this one, has ended`));
  return session;
}

/** A bootstrap needs every founder; data that exists needs a majority. */
function isHopeless(facts: ClusterFacts, founded: boolean): boolean {
  const alive = facts.nodes.filter((node) => node.process !== "down").length;
  return founded ? alive < facts.nodes.length : alive * 2 <= facts.nodes.length;
}

async function giveUpOrGoOn(supervisor: Supervisor, founded: boolean, name: string): Promise<void> {
  if (!isHopeless(supervisor.facts(), founded)) {
    const waited = formatDuration(CLUSTER.leaderTimeoutMs);
    messages.warn(`No leader within ${waited}; still waiting. See: ${shownProgram()} cluster logs${nameFlag(name)}`);
    return;
  }
  await supervisor.stop();
  await supervisor.stopped;
  throw new RaftqError(
    "NO_LEADER",
    `cluster "${name}" did not come up, because too few of its nodes stayed up; all are stopped.`,
  );
}

async function watchUntilStopped(
  session: Session,
  supervisor: Supervisor,
  ask: () => Promise<ClusterStatus>,
): Promise<void> {
  const stopped = supervisor.stopped.then(() => true);
  while (!(await Promise.race([stopped, sleep(CLUSTER.watchMs, false)]))) {
    if (session.live.isShown && !session.stopping) session.live.show(statusTable(await ask()));
  }
}

/** A background process of its own session does what `up` does in the foreground; its output goes to supervisor.log. */
async function upDetached(layout: Layout, values: UpValues): Promise<ExitCode> {
  const running = await findRunning(layout);
  if (running !== null) return reportRunning(layout, alreadyRunning(upRequest(values), running).facts, values);
  requirePossible(upSettings(layout, values, () => {}));
  const before = readClusterState(layout);
  const made = createClusterDirectory(layout);
  const log = openSync(layout.supervisorLog, "a", 0o600);
  const logStart = fstatSync(log).size;
  const [command = "", ...programArguments] = ownProgram();
  const child = spawn(command, [...programArguments, "cluster", "up", ...repeatedArguments(values)], {
    detached: true,
    stdio: ["ignore", log, log],
    env: childEnvironment(process.env),
  });
  closeSync(log);
  child.unref();
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  // Until then there may be no certificate to ask the nodes with.
  const deadline = performance.now() + CLUSTER.leaderTimeoutMs;
  while (!ended() && performance.now() < deadline && (await findRunning(layout)) === null) await sleep(CLUSTER.pollMs);
  const access = openNodeAccess(localCredentials(layout, "admin"));
  try {
    const ask = async (): Promise<ClusterStatus> =>
      askStatus(values.name, (await findRunning(layout))?.nodes ?? [], access);
    const status = await waitForLeader(ask, access, ended);
    if (status !== null) {
      if (before?.purging === false) messages.info(...movedNotices(movedNodes(before.nodes, status.nodes)));
      reportUp(layout, status, values);
      return EXIT.ok;
    }
  } finally {
    access.close();
  }
  if (!ended()) {
    const waited = formatDuration(CLUSTER.leaderTimeoutMs);
    throw new RaftqError("NO_LEADER", `cluster "${values.name}" runs, but no leader was elected within ${waited}.`);
  }
  // It has logged why: here is what it logged.
  const logged = readFileSync(layout.supervisorLog).subarray(logStart).toString().trimEnd();
  if (logged !== "") messages.info(...logged.split("\n"));
  if (made !== null) removeUnused(layout, made);
  return Object.values(EXIT).find((code) => code === child.exitCode) ?? EXIT.failed;
}

/** What was made for a cluster that was refused before it had a state. */
function removeUnused(layout: Layout, made: string): void {
  const lock = lockCluster(layout);
  if (lock === null) return;
  try {
    if (readClusterState(layout) === null) removeCreated(layout, made);
  } finally {
    lock.release();
  }
}

function upRequest(values: UpValues): UpRequest {
  return { name: values.name, size: values.size ?? null, basePort: values["base-port"] ?? null };
}

function upSettings(layout: Layout, values: UpValues, onNodeDied: (id: string, end: NodeEnd) => void): UpSettings {
  return {
    layout,
    request: upRequest(values),
    program: ownProgram(),
    nodeFlags: nodeFlags(values),
    tls: values.tls,
    onNodeDied,
  };
}

/** Given to every node, and by a detached `up` to the process that stays. */
function nodeFlags(values: UpValues): readonly string[] {
  const disk = values["allow-network-disk"] ? ["--allow-network-disk"] : [];
  return ["--heartbeat", `${values.heartbeat}ms`, "--election", values.election, ...disk];
}

function repeatedArguments(values: UpValues): readonly string[] {
  const size = values.size === undefined ? [] : [String(values.size)];
  const basePort = values["base-port"] === undefined ? [] : ["--base-port", String(values["base-port"])];
  const tls = values.tls ? ["--tls"] : [];
  return [...size, "--name", values.name, ...basePort, ...tls, ...nodeFlags(values)];
}

async function reportRunning(layout: Layout, facts: ClusterFacts, values: UpValues): Promise<ExitCode> {
  if (values.tls && !hasAuthority(layout)) {
    throw new RaftqError(
      "USAGE",
      `cluster "${values.name}" runs without TLS: stop it first, then \`raftq cluster up --tls${nameFlag(values.name)}\`.`,
    );
  }
  const access = openNodeAccess(localCredentials(layout, "admin"));
  try {
    const status = await askStatus(values.name, facts.nodes, access);
    if (!values.json) messages.info(`Already running (pid ${facts.pid}).`);
    reportUp(layout, status, values);
  } finally {
    access.close();
  }
  return EXIT.ok;
}

/** As another shell needs them, wherever it is. */
function clientFiles(layout: Layout): TlsFiles | null {
  if (!hasAuthority(layout)) return null;
  const { cert, key, ca } = tlsFiles(layout, "client");
  return { cert: resolve(cert), key: resolve(key), ca: resolve(ca) };
}

/** `live`: the nodes are shown below, and kept current. */
function reportUp(layout: Layout, status: ClusterStatus, values: UpValues, live = false): void {
  if (values.json) {
    process.stdout.write(`${JSON.stringify(status)}\n`);
    return;
  }
  const addresses = status.nodes.map((node) => node.address);
  const nodes = live ? "" : `${headline(status)}\n${processTable(status)}`;
  process.stdout.write(`${nodes}${nextSteps(shownProgram(), values.name, addresses, clientFiles(layout))}`);
  const hint = evenSizeHint(status.nodes.length);
  if (hint !== null) messages.info(hint);
}
