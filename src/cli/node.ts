// `raftq node`: from its flags to its last line. A node runs until a signal, its supervisor's end, or an error that it cannot survive.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { SUPERVISED } from "../cluster/program.ts";
import { SERVER, WIRE } from "../config.ts";
import { BrokenInvariant } from "../lib/assert.ts";
import { EXIT, type ExitCode, RaftqError } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { startNode } from "../server/node.ts";
import { connectionLimitsWithin } from "../server/connection-limits.ts";
import { createLogThrottle } from "../server/log-throttle.ts";
import { createRealClock } from "../lib/real-clock.ts";
import type { LogEvent, RunningNode } from "../server/types.ts";
import { readOwner } from "../storage/owner.ts";
import { createRealDisk } from "../storage/real-disk.ts";
import { createTcpNetwork } from "../wire/tcp.ts";
import { runWith } from "./arguments.ts";
import { openCredentials, type OpenedCredentials } from "./credentials.ts";
import { createNodeLog } from "./log.ts";
import { NODE_ARGUMENTS, type NodeStart, nodeStart } from "./node-settings.ts";
import { onStopSignals } from "./signals.ts";

type Log = (event: LogEvent) => void;

export const runNodeCommand = runWith(NODE_ARGUMENTS, (values) =>
  runNode(nodeStart(values, (directory) => readOwner(createRealDisk(directory)))),
);

function runNode(start: NodeStart): Promise<ExitCode> {
  const { dataDirectory, allowNetworkDisk } = start;
  const log = createNodeLog(start.logLevel, start.logFormat);
  const { maxConnections, maxSockets } = connectionLimitsWithin(openFiles());
  const settings = { ...start.settings, maxConnections };
  if (maxConnections.maxClients < SERVER.maxConnections.maxClients)
    log({ level: "warn", event: "few-files", text: fewFiles(maxConnections.maxClients) });
  const { promise, resolve, reject } = Promise.withResolvers<ExitCode>();
  stopOnFault(log);
  const clock = createRealClock();
  const opened = start.credentials === null ? null : openCredentials(start.credentials);
  const refused = createLogThrottle(clock, log);
  const ports = {
    disk: createRealDisk(dataDirectory, allowNetworkDisk),
    network: createTcpNetwork({ ...WIRE, maxSockets }, opened?.credentials ?? null, (remote, why) =>
      refused(`${remote}: ${why}`),
    ),
    clock,
    random: seededRandom(systemSeed()),
    log,
    residentBytes: () => process.memoryUsage.rss(),
  };
  const node = startNode(
    ports,
    settings,
    (started) => {
      const { id, address, clusterId, role } = started;
      const cluster = clusterId ?? "none yet";
      log({
        level: "info",
        event: "started",
        text: `node ${id} at ${address}, data in ${dataDirectory}, cluster ${cluster}, ${role}`,
        fields: { node: id, address, data: dataDirectory, cluster: clusterId, role },
      });
    },
    (error) => {
      // Text for people comes from main.ts, like every refusal; a reader of JSON lines gets this one as JSON too.
      if (error !== null && start.logFormat === "text") return reject(error);
      if (error !== null) {
        log({ level: "error", event: error.code, text: `${error.message} ${error.next}` });
        return resolve(error.exitCode);
      }
      log({ level: "info", event: "stopped", text: `node ${settings.id} has stopped` });
      resolve(EXIT.ok);
    },
  );
  stopWhenTold(node, log, opened);
  return promise;
}

/** How many files this process may open; the runtime has raised the limit as far as it may. Unknown: enough. */
function openFiles(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return line === null ? Number.MAX_SAFE_INTEGER : Number(line[1]);
  } catch {
    return Number.MAX_SAFE_INTEGER;
  }
}

const fewFiles = (clients: number): string =>
  `this process may open few files (ulimit -Hn), so it takes ${clients} clients instead of ${SERVER.maxConnections.maxClients}`;

function stopWhenTold(node: RunningNode, log: Log, opened: OpenedCredentials | null): void {
  const stop = (why: string): void => {
    log({ level: "info", event: "stopping", text: `${why}: stopping gracefully` });
    node.stop();
  };
  onStopSignals(
    stop,
    (signal) => {
      log({ level: "warn", event: "stopping", text: `${signal} again: ending now` });
      process.exit(EXIT.failed);
    },
    opened === null ? null : () => renew(opened, log),
  );
  if (process.env[SUPERVISED.name] !== SUPERVISED.value) return;
  process.stdin.once("end", () => stop("the supervisor has ended"));
  process.stdin.resume();
}

/** New certificates or secrets count for connections that begin from now on; the open ones stay. */
function renew(opened: OpenedCredentials, log: Log): void {
  try {
    opened.reload();
    log({ level: "info", event: "renewed", text: "SIGHUP: the credentials were read again" });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    log({ level: "error", event: "renewed", text: `SIGHUP: the credentials stay as they were: ${why}` });
  }
}

/** An unexpected fault: the state in memory cannot be trusted any more, what is on the disk can. */
function stopOnFault(log: Log): void {
  const fault = (error: unknown): void => {
    const what = error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error);
    log({ level: "error", event: "fault", text: `stopped by a fault of its own (please report it): ${what}` });
    process.exit(
      error instanceof BrokenInvariant ? EXIT.unhealthy : error instanceof RaftqError ? error.exitCode : EXIT.failed,
    );
  };
  process.on("uncaughtException", fault);
  process.on("unhandledRejection", fault);
}

/** 53 bits of the system's randomness. */
const systemSeed = (): number => Number(randomBytes(8).readBigUInt64BE() >> 11n);
