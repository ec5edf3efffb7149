// Formats a log and a node's state: a table for people, one JSON object for programs.
import { CLIENT } from "../config.ts";
import { Malformed } from "../lib/messagepack.ts";
import type { Checkpoint } from "../raft/messages.ts";
import { decodeCommand, decodeOpen } from "../queue/commands.ts";
import type { NewJob } from "../queue/types.ts";
import type { LogLine, LogPage, NodeStatus, Peeked, StageTimes, Trace } from "../wire/protocol.ts";
import type { LogRange } from "./commands.ts";
import { escapeText } from "./escape.ts";
import { EMPTY, jsonObject, type OutputStyle, type Raw, raw, shownValue, valueMember, valueText } from "./output.ts";
import { LOGGED_COMMAND_LIMITS } from "./requests.ts";
import { table } from "./table.ts";

/** What a logged entry did, as `log` shows it. */
interface DescribedEntry {
  /** command | noop | config | session | … */
  readonly kind: string;
  readonly command?: string;
  /** What was enqueued. */
  readonly jobs: readonly NewJob[];
  /** Of a dequeue that may give more than one job. */
  readonly max?: number;
  /** When the record itself names the client. */
  readonly client?: string;
}

function describe(line: LogLine): DescribedEntry {
  try {
    switch (line.kind) {
      case "open":
        return { kind: "session", command: "open", jobs: [], client: decodeOpen(line.body).clientId };
      case "close":
        return { kind: "session", command: "close", jobs: [] };
      case "command": {
        const command = decodeCommand(line.body, LOGGED_COMMAND_LIMITS);
        const described = { kind: "command", command: command.type, jobs: [] };
        if (command.type === "enqueue") return { ...described, jobs: command.jobs };
        return command.type === "dequeue" && command.max > 1 ? { ...described, max: command.max } : described;
      }
      default:
        return { kind: line.kind, jobs: [] };
    }
  } catch (error) {
    // Written by another version: what the node reports about it is shown all the same.
    if (error instanceof Malformed) return { kind: line.kind, jobs: [] };
    throw error;
  }
}

/** The founders' first entry has no time: it must be the same for all of them. */
const timeOf = (line: LogLine): string | undefined => (line.wall === 0 ? undefined : new Date(line.wall).toISOString());

function entryJson(line: LogLine): string {
  const described = describe(line);
  const client = described.client ?? line.client;
  return jsonObject([
    ["index", line.index],
    ["term", line.term],
    ["kind", described.kind],
    ["time", timeOf(line)],
    ["client", client === "" ? undefined : client],
    ["requestNumber", line.requestNumber === 0 ? undefined : line.requestNumber],
    ["command", described.command],
    ...enqueued(described.jobs),
    ["max", described.max],
  ]);
}

/** One by itself, several values as a list; where bytes are among several, each is an object. */
function enqueued(jobs: readonly NewJob[]): readonly (readonly [string, string | Raw])[] {
  const shown = jobs.map(valueMember);
  if (shown.length < 2) return shown;
  if (shown.every(([name]) => name === "value")) return [["values", raw(`[${jobs.map(valueText).join(",")}]`)]];
  return [["jobs", raw(`[${shown.map((member) => jsonObject([member])).join(",")}]`)]];
}

export function formatLog(page: LogPage, range: LogRange, style: OutputStyle): string {
  if (!style.json) return logTable(page, range, style.terminal ? CLIENT.logCommandColumns : Infinity);
  const text = jsonObject([
    ["command", "log"],
    ["status", "ok"],
    ["node", page.node],
    ["term", page.term],
    ["snapshotIndex", page.snapshotIndex],
    ["commitIndex", page.commitIndex],
    ["appliedIndex", page.appliedIndex],
    ["firstIndex", page.firstIndex],
    ["lastIndex", page.lastIndex],
    ["more", page.more],
    ["entries", raw(`[${page.entries.map(entryJson).join(",")}]`)],
  ]);
  return style.terminal ? escapeText(text) : text;
}

/** Values are whole in a pipe, and with `--json`. */
function callOf({ command, jobs, max }: DescribedEntry, columns: number): string {
  if (command !== "enqueue") return max === undefined ? (command ?? "") : `${command}(${max})`;
  const call = `enqueue(${jobs.map(valueText).join(", ")})`;
  if (call.length <= columns) return call;
  return `${call.slice(0, columns)} …${jobs.length === 1 ? "" : ` (${jobs.length} values)`}`;
}

function logTable(page: LogPage, range: LogRange, columns: number): string {
  const rows = page.entries.map((line) => {
    const described = describe(line);
    const { kind, client } = described;
    const number = line.requestNumber === 0 ? "" : line.requestNumber;
    const state = line.index > page.commitIndex ? "not committed" : line.index > page.appliedIndex ? "committed" : "";
    return [
      line.index,
      line.term,
      timeOf(line) ?? null,
      kind,
      client ?? (line.client === "" && line.requestNumber !== 0 ? "(closed)" : line.client),
      number,
      callOf(described, columns),
      state,
    ];
  });
  const head = ["INDEX", "TERM", "TIME", "KIND", "CLIENT", "NUMBER", "COMMAND", ""];
  const { node, term, commitIndex, appliedIndex, snapshotIndex, firstIndex, lastIndex } = page;
  const foot = `${node}, term ${term}: entries ${firstIndex} to ${lastIndex}, committed ${commitIndex}, applied ${appliedIndex}, snapshot ${snapshotIndex}`;
  return [...(rows.length === 0 ? [] : [table([head, ...rows])]), ...notShown(page, range), foot].join("\n");
}

/** Why there is not everything that was asked for. */
function notShown({ entries, firstIndex, more }: LogPage, { from, to }: LogRange): string[] {
  const first = entries[0]?.index;
  if (first === undefined) return [`no entries from ${from ?? firstIndex} ${to === null ? "on" : `to ${to}`}`];
  if (more) return [`the newest ${entries.length}; those before: log --from ${firstIndex} --to ${first - 1}`];
  return (from ?? firstIndex) < first ? [`entries before ${first} are no longer in the log`] : [];
}

/** As `dequeue` would show the job. */
export function formatPeeked({ job, ready, appliedIndex }: Peeked, style: OutputStyle): string {
  if (!style.json) return job === null ? EMPTY : shownValue(job, style);
  const text = jsonObject([
    ["command", "peek"],
    ["status", job === null ? "empty" : "ok"],
    ["id", job?.id],
    ...(job === null ? [] : [valueMember(job)]),
    ["ready", ready],
    ["index", appliedIndex],
  ]);
  return style.terminal ? escapeText(text) : text;
}

export function formatStatus(status: NodeStatus, style: OutputStyle): string {
  return style.json ? escapeText(statusJson(status)) : statusText(status);
}

function statusJson(status: NodeStatus): string {
  const members = status.members.map((member) =>
    jsonObject([
      ["id", member.id],
      ["address", member.address],
      ["role", member.role],
      ["reachable", member.reachable],
      ["matchIndex", member.matchIndex],
      ["diskLow", member.diskLow],
    ]),
  );
  return jsonObject([
    ["command", "status"],
    ["status", "ok"],
    ["node", status.node.id],
    ["address", status.node.address],
    ["clusterId", status.clusterId],
    ["state", status.state],
    ["term", status.term],
    ["leader", status.leader],
    ["leaderAddress", status.leaderAddress],
    ["commitIndex", status.commitIndex],
    ["appliedIndex", status.appliedIndex],
    ["firstIndex", status.firstIndex],
    ["lastIndex", status.lastIndex],
    ["snapshotIndex", status.snapshotIndex],
    ["ready", status.ready],
    ["readyBytes", status.readyBytes],
    ["sessions", status.sessions],
    ["dormantSessions", status.dormantSessions],
    ["uptimeMs", status.uptimeMs],
    ["residentBytes", status.residentBytes],
    ["logBytes", status.logBytes],
    ["times", status.times === null ? undefined : raw(timesJson(status.times))],
    ["digest", status.checkpoint === null ? null : raw(digestJson(status.checkpoint))],
    ["members", raw(`[${members.join(",")}]`)],
  ]);
}

/** Nodes with the same index have the same value, or one of them stops. */
function digestJson({ index, digest }: Checkpoint): string {
  return jsonObject([
    ["index", index],
    ["value", digest.toString(16).padStart(8, "0")],
  ]);
}

function timesJson({ windowMs, stages }: StageTimes): string {
  const each = stages.map(({ name, count, microseconds, longestMicroseconds }): [string, Raw] => [
    name,
    raw(
      jsonObject([
        ["count", count],
        ["microseconds", microseconds],
        ["longestMicroseconds", longestMicroseconds],
      ]),
    ),
  ]);
  return jsonObject([["windowMs", windowMs], ...each]);
}

/** `last 14s: busy 43 % (decode 6, propose 9, …), longest turn 6.1ms, disk 0.31ms a write, majority 0.52ms` */
function timesText({ windowMs, stages }: StageTimes): string {
  const turn = stages.find(({ name }) => name === "turn");
  const percent = (microseconds: number): number => microseconds / 10 / Math.max(1, windowMs);
  const own = stages.filter(({ name }) => !WAITS.includes(name) && name !== "turn");
  const busy = own.reduce((sum, { microseconds }) => sum + microseconds, 0);
  const shares = own.map(({ name, microseconds }) => `${name} ${percent(microseconds).toFixed(0)}`);
  const waits = stages
    .filter(({ name, count }) => WAITS.includes(name) && count > 0)
    .map(
      (stage) =>
        `, ${stage.name} ${shownMs(stage.microseconds / stage.count)} (longest ${shownMs(stage.longestMicroseconds)})`,
    );
  const longest = turn === undefined ? "" : `, longest turn ${shownMs(turn.longestMicroseconds)}`;
  return `last ${Math.round(windowMs / 1_000)}s: busy ${percent(busy).toFixed(0)} % (${shares.join(", ")})${longest}${waits.join("")}`;
}

/** What a node waits for, as opposed to what it does. */
const WAITS: readonly string[] = ["disk", "majority"];

const shownMs = (microseconds: number): string => `${(microseconds / 1_000).toFixed(2)}ms`;

const sessionsText = ({ sessions, dormantSessions }: NodeStatus): string =>
  `${sessions} sessions${dormantSessions === 0 ? "" : ` (${dormantSessions} dormant)`}`;

function statusText(status: NodeStatus): string {
  const leader =
    status.leader === null ? "no leader" : `leader ${status.leader} ${status.leaderAddress ?? ""}`.trimEnd();
  const rows = status.members.map((member) => {
    const role = member.id === status.leader ? "leader" : member.role;
    return [
      member.id,
      member.address,
      role,
      member.matchIndex,
      `${member.reachable ? "reachable" : "not reachable"}${member.diskLow ? ", disk low" : ""}`,
    ];
  });
  return [
    `cluster ${status.clusterId ?? "none yet"}, ${leader}, term ${status.term}`,
    `${status.ready} waiting (${status.readyBytes} bytes), ${sessionsText(status)}, committed ${status.commitIndex}, applied ${status.appliedIndex}, snapshot ${status.snapshotIndex}`,
    ...(status.times === null ? [] : [timesText(status.times)]),
    table([["NODE", "ADDRESS", "ROLE", "MATCH", ""], ...rows]),
  ]
    .map((text, at, all) => (at < all.length - 1 ? escapeText(text) : text))
    .join("\n");
}

/** `n1 redirect → n3 · index 12 term 2 · durable n3 1.8ms n1 2.1ms n5 2.2ms → committed 3/5 → applied` */
export function formatTrace(route: readonly string[], trace: Trace): string {
  const durable = trace.durable
    .filter(({ microseconds }) => microseconds <= trace.committedMicroseconds)
    .map(({ id, microseconds }) => `${id} ${(microseconds / 1_000).toFixed(1)}ms`);
  const path = [...route.map((id) => `${id} redirect`), trace.leader].join(" → ");
  return escapeText(
    `${path} · index ${trace.index} term ${trace.term} · durable ${durable.join(" ")} → committed ${durable.length}/${trace.voters} → applied`,
  );
}
