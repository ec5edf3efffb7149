// What if nobody can, or does, read stderr? Whatever becomes of the lines, a node serves and keeps what it acknowledged, and a
// command ends with the code that it would have ended with.
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../kit/free-ports.ts";
import { BINARY } from "../scripts/project.ts";
import { inWorld, type Output, waitFor, type World } from "./harness.ts";

/** A redirection of bash for each. `full` is a pipe that holds all that it can, and that nobody reads. */
const UNREAD = [
  ["that is closed", "2>&-"],
  ["whose reader has gone", "2> >(exec true)"],
  ["that is a full pipe which nobody reads", "2> full"],
  ["on a full device", "2> /dev/full"],
] as const;

/** A script of bash in which `raftq` is the binary; whatever it left running ends with it. */
function bash(world: World, script: string): Promise<Output> {
  const full = "mkfifo full; exec 9<>full; timeout 0.3 head -c 200000 /dev/zero > full";
  const prelude = `raftq() { timeout -k 1 40 ${BINARY} "$@"; }; trap 'kill $(jobs -p) 2>/dev/null' EXIT; ${full}`;
  return world.raftq(["-c", `${prelude}\n${script}`], { program: "bash" });
}

for (const [which, redirection] of UNREAD) {
  inWorld(
    `with a stderr ${which} a client works, a node serves, keeps what it acknowledged and stops cleanly`,
    async (world) => {
      const [port = 0] = freePorts(1);
      const address = `127.0.0.1:${port}`;
      const ran = await bash(
        world,
        `timeout 40 ${BINARY} node --port ${port} --data data/n${port}-${port} --log-level debug ${redirection} & node=$!
      seq 1 500 | sed 's/.*/enqueue(&)/' | raftq client --id c1 --addr ${address} --timeout 20s | grep -c ^ok
      (sleep 0.1; echo dequeue) | raftq client --addr ${address} ${redirection}
      kill $node; wait $node; echo "exit $?"`,
      );
      expect(ran.stdout).toBe("500\n1\nexit 0\n");
      const node = world.node({ id: `n${port}`, port });
      await waitFor("the node to serve again", 5_000, () => (node.log().includes("leader in term") ? true : undefined));
      const rest = await world.raftq(["client", "--addr", node.address, "dequeue", "1000"]);
      expect((JSON.parse(rest.stdout) as number[]).length).toBe(499);
    },
  );
}

inWorld("a command whose stderr is not read ends with its own exit code, and soon", async (world) => {
  await Promise.all(
    UNREAD.map(async ([, redirection]) => {
      const ran = await bash(
        world,
        `raftq client enqueue 1 --addr 127.0.0.1:1 ${redirection}; echo $?
        raftq cluster nonsense ${redirection}; echo $?; echo $SECONDS`,
      );
      const [unreachable, usage, seconds] = ran.stdout.trim().split("\n").map(Number);
      expect([redirection, unreachable, usage]).toEqual([redirection, 3, 2]);
      expect(seconds).toBeLessThan(12);
    }),
  );
});

inWorld("a slow reader gets the whole of a long message, also when the command has ended", async (world) => {
  const ran = await bash(world, `raftq cluster $(head -c 120000 /dev/zero | tr '\\0' x) 2>&1 | (sleep 0.4; wc -c)`);
  expect(Number(ran.stdout)).toBeGreaterThan(120_000);
});

inWorld("with --log-format json every line of a node's stderr is one JSON object", async (world) => {
  const [port = 0] = freePorts(1);
  const address = `127.0.0.1:${port}`;
  await bash(
    world,
    `timeout 40 ${BINARY} node --port ${port} --data data --log-level debug --log-format json 2> log & node=$!
    raftq client --addr ${address} --timeout 20s enqueue 1
    printf 'GET / HTTP/1.0\\r\\n\\033[31m%%s\\r\\n' > /dev/tcp/127.0.0.1/${port}
    sleep 0.3; kill $node; wait $node`,
  );
  const lines = readFileSync(join(world.directory, "log"), "utf8").trimEnd().split("\n");
  const events = lines.map((line) => JSON.parse(line) as { event: string });
  expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(["started", "stopping", "stopped"]));
  for (const line of events) {
    expect(line).toMatchObject({
      time: expect.stringMatching(/Z$/),
      level: expect.any(String),
      text: expect.any(String),
    });
  }
});
