// Who may send what? The least role for each message of a client; a member's messages need a member (`wire/handshake.ts`).
import { type Failure, failure } from "../lib/errors.ts";
import type { Identity } from "../wire/network.ts";
import type { ClientMessage, Role } from "../wire/protocol.ts";
import { allows } from "../wire/secret.ts";

const LEAST_ROLE: Readonly<Record<ClientMessage["type"], Role>> = {
  ping: "read-only",
  status: "read-only",
  log: "read-only",
  trace: "read-only",
  open: "client",
  request: "client",
  close: "client",
  join: "admin",
  remove: "admin",
  transfer: "admin",
};

export function isClientMessage(message: { readonly type: string }): message is ClientMessage {
  return Object.hasOwn(LEAST_ROLE, message.type);
}

/** Why `who` may not send this; null: it may. */
export function refusalOf(message: ClientMessage, who: Identity): Failure | null {
  const needed = LEAST_ROLE[message.type];
  if (!allows(who.role, needed)) {
    return failure("UNAUTHORISED", `"${message.type}" needs the role ${needed}; yours is ${who.role}`);
  }
  // A node's certificate lets it join as itself; as another node only an administrator may let it in.
  if (message.type === "join" && who.node !== null && message.member.id !== who.node) {
    return failure("UNAUTHORISED", `the certificate names ${who.node}, the request ${message.member.id}`);
  }
  return null;
}
