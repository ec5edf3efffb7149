// Which request numbers are proposed: retries wait for the same entry, and after a refusal the numbers go on where the log does.
import { expect, test } from "bun:test";
import { encodeCommand } from "../../src/queue/commands.ts";
import type { ClientRequest } from "../../src/server/clients.ts";
import {
  admit,
  type ProposedRequest,
  type ProposedRequests,
  removeProposed,
} from "../../src/server/proposed-requests.ts";
import type { Connection } from "../../src/wire/connection.ts";
import type { Request } from "../../src/wire/protocol.ts";

const SESSION = 7;
const COMMAND = encodeCommand({ type: "enqueue", queue: "default", jobs: [] });

function requestOf(number: number): ClientRequest & { readonly message: Request } {
  const message: Request = {
    type: "request",
    frameId: number,
    group: 0,
    session: SESSION,
    number,
    acknowledgedThrough: 0,
    command: COMMAND,
  };
  const client = {
    connection: {} as Connection,
    sessions: new Set<number>(),
    pending: { requests: 1, bytes: 0 },
    isEnded: false,
    isClosed: false,
  };
  return { client, arrivedAt: 0, message, bytes: COMMAND.length };
}

function createSession() {
  const proposed: ProposedRequests = new Map();
  const ask = (number: number, executed = 0) => {
    const request = requestOf(number);
    return admit(proposed, request, request.message, executed);
  };
  const propose = (number: number): ProposedRequest => {
    const admission = ask(number);
    if (admission.type !== "propose") throw new Error(`${number} was not to be proposed: ${admission.type}`);
    return admission.proposed;
  };
  return { proposed, ask, propose };
}

test("after several numbers of one turn were refused, in their order, they begin again with the first of them", () => {
  const { proposed, ask, propose } = createSession();
  const [first, ...refused] = [1, 2, 3, 4].map(propose);
  for (const request of refused) removeProposed(proposed, request, false);
  expect([4, 3].map((number) => ask(number).type)).toEqual(["refused", "refused"]);
  expect([2, 3, 4].map((number) => ask(number).type)).toEqual(["propose", "propose", "propose"]);
  if (first !== undefined) removeProposed(proposed, first, true);
  expect(ask(5, 1).type).toBe("propose");
});

test("a retry waits for the entry of its number, a number with a gap before it is refused", () => {
  const { ask, propose } = createSession();
  const first = propose(1);
  expect(ask(1).type).toBe("wait");
  expect(first.retries).toHaveLength(1);
  expect(ask(3)).toMatchObject({ type: "refused", failure: { code: "OUT_OF_ORDER" } });
});
