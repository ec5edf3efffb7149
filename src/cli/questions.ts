// Asks `peek`, `log` and `status`: the leader, or with --node one node itself; a long log comes in pages.
import type { Client, Query, QueryAnswer } from "../client/client.ts";
import type { ClientPorts } from "../client/types.ts";
import { CLIENT, WIRE } from "../config.ts";
import { type Failure, failure } from "../lib/errors.ts";
import { fatalFor } from "../wire/node-connection.ts";
import type { LogPage, NodeStatus } from "../wire/protocol.ts";
import { callNode } from "../wire/rpc.ts";
import type { LogRange } from "./commands.ts";
import type { OutputStyle } from "./output.ts";
import type { AskText, AnswerText } from "./pipe.ts";
import { formatLog, formatPeeked, formatStatus } from "./show.ts";

type Answered<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failure: Failure };
type Ask = (query: Query) => Promise<QueryAnswer | Failure>;

export interface QuestionSettings {
  /** How many entries a log shows when no range is given. */
  readonly entries: number;
  /** How long one node that is asked for itself may take; 0: as long as one attempt may. */
  readonly timeoutMs: number;
}

export function createQuestions(
  client: Client,
  ports: ClientPorts,
  style: OutputStyle,
  { entries, timeoutMs }: QuestionSettings,
): AskText {
  const askLeader: Ask = (query) => new Promise((resolve) => client.ask(query, resolve));
  const askAt = (address: string, query: Query): Promise<QueryAnswer | Failure> =>
    queryNode(ports, address, query, timeoutMs === 0 ? CLIENT.limits.onceMs : timeoutMs);

  async function askLog(range: LogRange): Promise<Answered<LogPage>> {
    if (range.node === null) return collectLog(askLeader, range, false, entries);
    const address = await addressOf(range.node, client.addresses(), askAt);
    if (!address.ok) return address;
    return collectLog((query) => askAt(address.value, query), range, true, entries);
  }

  return async (question) => {
    if (question.type === "log") {
      const log = await askLog(question.range);
      return log.ok ? answerText(formatLog(log.value, question.range, style)) : log;
    }
    const query: Query = question.type === "peek" ? { type: "peek" } : { type: "status", linearizable: true };
    const answer = await askLeader(query);
    if (!("type" in answer)) return { ok: false, failure: answer };
    if (answer.type === "peekAnswer") return answerText(formatPeeked(answer.peeked, style), answer.peeked.job === null);
    if (answer.type === "statusAnswer") return answerText(formatStatus(answer.status, style));
    return { ok: false, failure: surprise(answer) };
  };
}

/** One given node, whether it leads or not, within `timeoutMs`. */
export function queryNode(
  ports: ClientPorts,
  address: string,
  query: Query,
  timeoutMs: number,
): Promise<QueryAnswer | Failure> {
  const target = {
    address,
    role: ports.role ?? "client",
    clusterId: null,
    dialTimeoutMs: timeoutMs,
    timeoutMs,
  } as const;
  return new Promise((resolve) =>
    callNode({ ...ports, limits: WIRE }, target, { ...query, frameId: 1 }, (result) => {
      switch (result.type) {
        case "answer":
          return resolve(result.message);
        case "refused":
          return resolve(result.why);
        case "unanswered":
          return resolve({ ...result.why, message: `${address}: ${result.why.message}` });
        case "unreachable": {
          const cannot = failure("UNREACHABLE", `cannot reach ${address}: ${result.why.message}`);
          return resolve(fatalFor(result.why, address) ?? cannot);
        }
      }
    }),
  );
}

const answerText = (text: string, isEmpty = false): AnswerText => ({ ok: true, text, isEmpty });

const surprise = (answer: QueryAnswer): Failure =>
  answer.type === "failure" ? answer.failure : failure("VERSION", `the node answered with "${answer.type}"`);

/** The newest page first, then the ones before it, until the range is complete. */
async function collectLog(ask: Ask, range: LogRange, local: boolean, entries: number): Promise<Answered<LogPage>> {
  const wanted = range.from === null && range.to === null ? entries : Infinity;
  let to = range.to ?? 0;
  let log: LogPage | null = null;
  for (;;) {
    const answer = await ask({ type: "log", from: range.from ?? 1, to, local });
    if (!("type" in answer)) return { ok: false, failure: answer };
    if (answer.type !== "logAnswer") return { ok: false, failure: surprise(answer) };
    const { page } = answer;
    const later: LogPage = log ?? { ...page, entries: [] };
    log = { ...later, more: page.more, entries: [...page.entries, ...later.entries] };
    const first = page.entries[0];
    if (!page.more || first === undefined || log.entries.length >= wanted) break;
    to = first.index - 1;
  }
  const surplus = log.entries.length - Math.min(wanted, log.entries.length);
  return { ok: true, value: { ...log, more: log.more || surplus > 0, entries: log.entries.slice(surplus) } };
}

/** Every node knows the other members, leader or not: the first answer gives the address of `node`. */
async function addressOf(
  node: string,
  addresses: readonly string[],
  askAt: (address: string, query: Query) => Promise<QueryAnswer | Failure>,
): Promise<Answered<string>> {
  const ask = async (address: string): Promise<NodeStatus> => {
    const answer = await askAt(address, { type: "status", linearizable: false });
    if ("type" in answer && answer.type === "statusAnswer") return answer.status;
    throw new Error(("type" in answer ? surprise(answer) : answer).message);
  };
  try {
    const { members } = await Promise.any(addresses.map(ask));
    const member = members.find(({ id }) => id === node);
    if (member !== undefined) return { ok: true, value: member.address };
    const known = members.map(({ id }) => id).join(", ");
    return {
      ok: false,
      failure: failure("UNKNOWN_NODE", `${node} is no member of this cluster; its members are ${known}`),
    };
  } catch (error) {
    if (!(error instanceof AggregateError)) throw error;
    const why = error.errors.map((one) => (one instanceof Error ? one.message : String(one)));
    return { ok: false, failure: failure("UNREACHABLE", why.join("; "), { applied: "no" }) };
  }
}
