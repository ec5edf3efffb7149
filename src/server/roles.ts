// Which role may send which message. The least role of each request stands in its layout; a member's messages need a member (`wire/handshake.ts`).
import { type Failure, failure } from "../lib/errors.ts";
import type { Identity } from "../wire/network.ts";
import { FRAMES } from "../wire/layouts.ts";
import type { ClientMessage } from "../wire/protocol.ts";
import { allows } from "../wire/secret.ts";

const QUESTIONS: ReadonlySet<string> = new Set(
  Object.values(FRAMES).flatMap(({ from, leastRole, type }) => (from === "dialer" && leastRole !== null ? [type] : [])),
);

export function isClientMessage(message: { readonly type: string }): message is ClientMessage {
  return QUESTIONS.has(message.type);
}

/** Why `who` may not send this; null: it may. */
export function refusalOf(message: ClientMessage, who: Identity): Failure | null {
  const needed = FRAMES[message.type].leastRole;
  if (!allows(who.role, needed)) {
    return failure("UNAUTHORISED", `"${message.type}" needs the role ${needed}; yours is ${who.role}`);
  }
  return who.node === null ? null : nodeProblem(message, who.node);
}

/**
 * A node's certificate is for members. Outside of their frames it lets the node ask to be let in, as itself: so the certificate of
 * a node that was removed, or stolen from it, takes no jobs and changes no members.
 */
function nodeProblem(message: ClientMessage, node: string): Failure | null {
  if (message.type === "ping") return null;
  if (message.type !== "join")
    return failure(
      "UNAUTHORISED",
      `"${message.type}" needs the certificate of a role; yours is that of the node ${node}`,
    );
  if (message.member.id === node) return null;
  return failure("UNAUTHORISED", `the certificate names ${node}, the request ${message.member.id}`);
}

/** What enters the log, or may be answered by what once entered it. */
const WRITES: Readonly<Record<ClientMessage["type"], boolean>> = {
  request: true,
  open: true,
  close: true,
  join: false,
  remove: false,
  readmit: false,
  transfer: false,
  status: false,
  peek: false,
  log: false,
  trace: false,
  ping: false,
};

export function isWrite({ type }: ClientMessage): boolean {
  return WRITES[type];
}
