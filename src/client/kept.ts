// Which answers outlive the call that brought them? The bytes of a message are views of the connection's buffer; these are copies.
import type { ServerMessage } from "../wire/protocol.ts";

export function kept<T extends ServerMessage>(message: T): T {
  if (message.type !== "logAnswer") return message;
  const entries = message.page.entries.map((entry) => ({ ...entry, body: entry.body.slice() }));
  return { ...message, page: { ...message.page, entries } };
}
