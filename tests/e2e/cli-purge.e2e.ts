// Is a cluster's data deleted only when somebody means it? The binary, on a pseudo-terminal and without one.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterLayout } from "../../src/cluster/layout.ts";
import { createClusterDirectory, writeClusterState } from "../../src/cluster/state.ts";
import { openTerminal } from "./pty.ts";
import { raftq } from "./run-command.ts";

let directory: string;
const data = (): string => join(directory, ".raftq/default/n1/data");

/** A cluster that was stopped: its data is all there is of it. */
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "raftq-purge-"));
  const layout = clusterLayout(join(directory, ".raftq"), "default");
  createClusterDirectory(layout);
  const stopped = { pid: null, startTime: null };
  writeClusterState(layout, {
    ...stopped,
    name: "default",
    founders: [],
    nextNumber: 3,
    purging: false,
    nodes: [
      { id: "n1", address: "127.0.0.1:1", ...stopped },
      { id: "n2", address: "127.0.0.1:2", ...stopped },
    ],
  });
  mkdirSync(join(data(), ".."), { recursive: true });
  writeFileSync(data(), "jobs");
});
afterEach(() => rmSync(directory, { recursive: true }));

const PURGE = ["cluster", "down", "--purge"];
const QUESTION = "Delete the data of n1, n2 in .raftq/default for good? [y/N] ";

test.each([
  ["yes\r", 0],
  ["Y\r", 0],
  ["\r", 1],
  ["no\r", 1],
  ["yes please\r", 1],
  ["\u0003", 1],
  ["\u0004", 1],
])("on a terminal it asks, and %j is answered by exit code %i: only yes deletes", async (keys, exit) => {
  const terminal = openTerminal(PURGE, { directory });
  expect(await terminal.until(QUESTION)).toBe(QUESTION);
  expect(existsSync(data())).toBe(true);
  terminal.press(keys);
  expect(await terminal.exited).toBe(exit);
  expect(await terminal.rest()).toContain(
    exit === 0 ? "its data is deleted." : "\r\nNothing was stopped or deleted.\r\n",
  );
  expect(existsSync(data())).toBe(exit !== 0);
});

test("the question is not part of the output", async () => {
  const terminal = openTerminal([...PURGE, "--json"], { directory, shell: '"$@" > out' });
  await terminal.until(QUESTION);
  terminal.press("y\r");
  expect(await terminal.exited).toBe(0);
  expect(readFileSync(join(directory, "out"), "utf8")).toBe('{"name":"default","stopped":false,"purged":true}\n');
});

test.each([
  ["a pipe that answers yes and stays open", '(echo yes; sleep 5) | { "$@"; echo "exit $?"; }'],
  ["no input", '"$@" < /dev/null; echo "exit $?"'],
  ["nobody who sees the question", '"$@" 2> error; echo "exit $?"'],
])("with %s it is refused at once", async (_, shell) => {
  const terminal = openTerminal(PURGE, { directory, shell, environment: { NO_COLOR: "1" } });
  const seen = await terminal.until("exit 2");
  const error = existsSync(join(directory, "error")) ? readFileSync(join(directory, "error"), "utf8") : seen;
  expect(error).toContain(
    "raftq: --purge deletes the data for good, and nobody can be asked here: give --yes as well.",
  );
  expect(existsSync(data())).toBe(true);
});

test.each(["--yes", "-y"])("%s is the answer of a script: nothing is asked", async (flag) => {
  expect(await raftq([...PURGE, flag], { directory })).toEqual({
    exit: 0,
    out: ['Cluster "default" was not running; its data is deleted.'],
    error: "",
  });
  expect(existsSync(data())).toBe(false);
});

test("a cluster that is not there is not asked about", async () => {
  const terminal = openTerminal([...PURGE, "--name", "other"], { directory });
  expect(await terminal.exited).toBe(3);
  expect(await terminal.rest()).toContain('there is no cluster "other"');
});

test.each([
  [{}, "\u001b[31mraftq:\u001b[39m there is no cluster"],
  [{ NO_COLOR: "1" }, "raftq: there is no cluster"],
  [{ TERM: "dumb" }, "raftq: there is no cluster"],
])("with %j an error begins with %j on a terminal", async (environment: Record<string, string>, beginning) => {
  const terminal = openTerminal(["cluster", "status", "--name", "other"], { directory, environment });
  expect(await terminal.rest()).toStartWith(beginning);
});
