// Whom does a node ask to be let in, and how often? Two that send it to each other must not keep it busy.
import { expect, test } from "bun:test";
import { SERVER, WIRE } from "../../src/config.ts";
import { failure } from "../../src/lib/errors.ts";
import { openConnection } from "../../src/wire/connection.ts";
import { HELLO_ANSWER, member } from "../wire/messages.ts";
import { createTown } from "./town.ts";

test("two nodes that each name the other as the leader are asked once a round, both of them", () => {
  const town = createTown();
  const [first, second] = [3008, 3009];
  const asked: number[] = [];
  for (const [port, other] of [
    [first, second],
    [second, first],
  ] as const) {
    town.network.hostOf(`guest${port}`).listen(
      "127.0.0.1",
      port,
      (stream) => {
        const connection = openConnection({
          stream,
          clock: town.clock,
          limits: WIRE,
          side: "accepted",
          onMessage: (message) => {
            if (message.type === "hello") connection.send({ ...HELLO_ANSWER, node: member(2) });
            if (message.type === "join") {
              asked.push(port);
              const why = failure("NOT_LEADER", "another one leads", { leader: `127.0.0.1:${other}` });
              connection.send({ type: "failure", frameId: message.frameId, failure: why });
            }
            connection.flush();
          },
          onClosed: () => {},
        });
      },
      () => {},
    );
  }
  const node = town.start(3000, [first]);
  const rounds = 20;
  town.pass(rounds * SERVER.joinRetryMs);
  expect(asked.length).toBeGreaterThan(rounds);
  expect(asked.length).toBeLessThanOrEqual(2 * rounds);
  expect(asked.slice(0, 4)).toEqual([first, second, first, second]);
  expect(node.stopped()).toBeUndefined();
});
