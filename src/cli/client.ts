// `raftq client`: the shell on a terminal, a pipe otherwise, one command if it is given as words.
import { randomBytes } from "node:crypto";
import type { CommandDef } from "citty";
import { CLIENT, DEFAULTS, WIRE } from "../config.ts";
import { EXIT, type ExitCode, RaftqError } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { isClientId } from "../queue/commands.ts";
import { createRealClock } from "../lib/real-clock.ts";
import { isAddress } from "../wire/address.ts";
import { createTcpNetwork } from "../wire/tcp.ts";
import {
  type Acknowledge,
  type Client,
  type ClientEvent,
  type ClientSettings,
  createClient,
} from "../client/client.ts";
import type { Numbers } from "../client/line.ts";
import { shownProgram } from "../cluster/program.ts";
import { resolveAddresses } from "./addresses.ts";
import { createAnswers } from "./answers.ts";
import { type Arguments, strictCommand, type Values } from "./arguments.ts";
import { type BadLine, type LogRange, parseEnqueue, parseLine } from "./commands.ts";
import { CREDENTIAL_ARGUMENTS, credentialFiles, localCredentials, openCredentials } from "./credentials.ts";
import { createLines } from "./lines.ts";
import { messages, namedMessages } from "./log.ts";
import { type OneCommand, type OneShotEnds, runOnce } from "./one-shot.ts";
import type { OutputStyle } from "./output.ts";
import { type AskText, runPipe } from "./pipe.ts";
import { createQuestions } from "./questions.ts";
import { runShell } from "./shell.ts";
import { createOutput, type Output, ownStdoutErrors, shellStdout, stdout } from "./stdout.ts";
import { nearest } from "./suggest.ts";

const CLIENT_ARGUMENTS = {
  verb: {
    type: "text",
    positional: true,
    description: "enqueue, dequeue, retry, peek, log or status; none: a shell, or a pipe",
  },
  value: {
    type: "text",
    positional: true,
    description: "enqueue: an integer or any JSON, or several between commas; dequeue: up to how many",
  },
  id: {
    type: "text",
    valueHint: "c1",
    environment: "RAFTQ_ID",
    description: "Who is asking; without it, a new name each time",
  },
  addr: {
    type: "list",
    valueHint: "host:port,…",
    alias: "a",
    environment: "RAFTQ_ADDR",
    description: "Nodes to ask; without it, the cluster that runs under .raftq/, else 127.0.0.1:3000",
  },
  ...CREDENTIAL_ARGUMENTS,
  timeout: {
    type: "duration",
    default: DEFAULTS.clientTimeoutMs,
    description: "How long to wait for a leader or an answer; 0: ask once",
  },
  json: { type: "boolean", alias: "j", description: "One JSON object for each answer" },
  "no-follow": { type: "boolean", description: "Print a redirect instead of following it" },
  numbered: {
    type: "boolean",
    description:
      "In a pipe: the line number is the request number, so the same file may be sent again; another needs another --id",
  },
  from: {
    type: "integer",
    min: 1,
    max: Number.MAX_SAFE_INTEGER,
    valueHint: "index",
    description: "log: the first entry",
  },
  to: { type: "integer", min: 1, max: Number.MAX_SAFE_INTEGER, valueHint: "index", description: "log: the last entry" },
  node: { type: "text", valueHint: "n2", description: "log: this node's own log" },
} as const satisfies Arguments;
type ClientValues = Values<typeof CLIENT_ARGUMENTS>;

const strict = strictCommand({
  name: "client",
  description:
    "Enqueue and dequeue: a shell on a terminal, one command a line in a pipe, or one command given as words",
  arguments: CLIENT_ARGUMENTS,
  run: runClient,
});

export const clientCommand: CommandDef = {
  ...strict,
  run: (context) => {
    refuseCourseForm(context.rawArgs);
    return strict.run?.(context);
  },
};

const ONE_SHOT_VERBS = ["enqueue", "dequeue", "retry", "peek", "log", "status"];

/** `localhost 3000 client01`: the course project's way to start a client. */
function refuseCourseForm(argv: readonly string[]): void {
  const [host = "", port = "", id = "c1", ...more] = argv;
  if (more.length > 0 || !/^\d+$/.test(port) || id.startsWith("-") || !isAddress(`${host}:${port}`)) return;
  if (nearest(host, ONE_SHOT_VERBS) !== undefined) return;
  throw new RaftqError(
    "USAGE",
    `addresses and names are flags here. Type: raftq client --addr ${host}:${port} --id ${id}`,
  );
}

async function runClient(values: ClientValues): Promise<ExitCode> {
  const command = commandOf(values);
  const interactive = command === null && process.stdin.isTTY;
  const tell = (text: string): void => messages.info(text);
  const { addresses, local } = resolveAddresses(values.addr, (text) => namedMessages.info(text));
  const clientId = values.id ?? `c-${randomBytes(4).toString("hex")}`;
  if (!isClientId(clientId)) throw new RaftqError("USAGE", "--id is 1 to 64 bytes of printable text.");
  if (values.numbered && (values.id === undefined || command !== null || interactive)) {
    throw new RaftqError("USAGE", "--numbered needs a pipe and --id: the numbers belong to that id.");
  }
  if (command?.type === "retry" && values.id === undefined) {
    throw new RaftqError("USAGE", "retry prints the answers that another process left, and needs its --id.");
  }
  if (values.id === undefined && (command === null || command.type === "enqueue" || command.type === "dequeue")) {
    tell(`client id ${clientId} (choose one with --id)`);
  }
  const files = credentialFiles(values) ?? (local === null ? null : localCredentials(local, "client"));
  const style: OutputStyle = { json: values.json, terminal: process.stdout.isTTY };
  let listen = (event: ClientEvent): void => tellRedirect(event, tell);
  const ports = {
    network: createTcpNetwork(WIRE, files === null ? null : openCredentials(files).credentials),
    clock: createRealClock(),
    random: seededRandom(randomBytes(4).readUInt32BE()),
  };
  ownStdoutErrors();
  const output = createOutput(interactive ? shellStdout : stdout, ports.clock);
  const acknowledge = acknowledgeOf(values, command, interactive);
  const client = createClient(ports, { ...clientSettings(values, addresses, clientId), acknowledge }, (event) =>
    listen(event),
  );
  const ask = createQuestions(
    client,
    ports,
    style,
    style.terminal && !style.json ? CLIENT.logLines : CLIENT.logEntries,
  );
  const run = (): Promise<ExitCode> => {
    if (command !== null) return runOnce(client, ask, command, style, { output, tell });
    if (!interactive) return pipe(client, ask, { ...values, clientId }, style, { output, tell });
    return runShell(client, ask, { clientId, style, output, listen: (listener) => (listen = listener) });
  };
  try {
    const exit = await run();
    await new Promise<void>((resolve) => client.close(resolve));
    return tellUnwritten(exit, client.untaken(), output, { ...values, clientId }, tell);
  } finally {
    client.close(() => {});
  }
}

/** What was asked for and is not on stdout can be had again, and is no success. A reader who wanted no more is no failure. */
function tellUnwritten(
  exit: ExitCode,
  left: Numbers | null,
  output: Output,
  values: ClientValues & { readonly clientId: string },
  tell: (text: string) => void,
): ExitCode {
  const problem = output.problem();
  const isFailure = problem !== null && (left !== null || !problem.isReaderGone);
  if (isFailure) namedMessages.error(`stdout cannot be written: ${problem.message}`);
  if (left !== null) {
    const { first, last } = left;
    const what = first === last ? `answer to request ${last}` : `answers to requests ${first} to ${last}`;
    const were = first === last ? "was" : "were";
    tell(`the ${what} of client ${values.clientId} ${were} not written: ${retryCommand(values)}`);
  }
  return isFailure ? EXIT.failed : exit;
}

/** Asks the same nodes, with the same credentials. */
function retryCommand(values: ClientValues & { readonly clientId: string }): string {
  const words = ["client", "--id", values.clientId];
  if (values.addr !== undefined) words.push("--addr", values.addr.join(","));
  for (const name of ["tls-cert", "tls-key", "tls-ca", "secret-file"] as const) {
    const value = values[name];
    if (value !== undefined) words.push(`--${name}`, value);
  }
  if (values.json) words.push("--json");
  return [shownProgram(), ...words.map(shellWord), "retry"].join(" ");
}

const shellWord = (word: string): string =>
  /^[\w.,:/@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;

function acknowledgeOf(values: ClientValues, command: OneCommand | null, interactive: boolean): Acknowledge {
  // A file that is sent again, and a shell's retry, ask for numbers that were answered.
  if (values.numbered || interactive) return { when: "taken", earlier: "fetched", whenIdle: false };
  return { when: "taken", earlier: command?.type === "retry" ? "fetched" : "refused", whenIdle: true };
}

function clientSettings(
  values: ClientValues,
  addresses: readonly string[],
  clientId: string,
): Omit<ClientSettings, "acknowledge"> {
  return {
    addresses,
    clientId,
    nonce: randomBytes(16),
    timeoutMs: values.timeout,
    follow: !values["no-follow"],
    numbered: values.numbered,
    gather: false,
    closeOnLeave: values.id === undefined,
    limits: CLIENT.limits,
  };
}

function tellRedirect(event: ClientEvent, tell: (text: string) => void): void {
  if (event.type === "redirected")
    tell(`Redirect: ${event.from} is not the leader, going to ${event.to} ${event.address}`);
}

/** The one command given as words, or null. */
function commandOf(values: ClientValues): OneCommand | null {
  const { verb, value } = values;
  const range: LogRange = { from: values.from ?? null, to: values.to ?? null, node: values.node ?? null };
  const hasRange = range.from !== null || range.to !== null || range.node !== null;
  if (verb?.toLowerCase() === "log" && value === undefined) return { type: "log", range };
  if (hasRange) throw new RaftqError("USAGE", "--from, --to and --node belong to log: raftq client log --from 3.");
  if (verb === undefined) return null;
  if (verb.toLowerCase() === "retry" && value === undefined) return { type: "retry" };
  // The word after `enqueue` is the whole value: a shell has already taken its quotes and kept its spaces.
  const command =
    verb.toLowerCase() === "enqueue" ? parseEnqueue(value?.trim() ?? "") : parseLine(`${verb} ${value ?? ""}`);
  switch (command.type) {
    case "enqueue":
    case "dequeue":
    case "peek":
    case "log":
    case "status":
      return command;
    case "bad":
      throw new RaftqError("USAGE", usageOf(verb, command));
    case "nothing":
    case "leave":
    case "retry":
    case "explain":
    case "help":
      throw new RaftqError("USAGE", `"${verb}" is for the shell: start it with raftq client.`);
  }
}

function usageOf(verb: string, bad: BadLine): string {
  const near = bad.verb === null ? nearest(verb, ONE_SHOT_VERBS) : undefined;
  if (near !== undefined) return `unknown command "${verb}". Did you mean raftq client ${near}?`;
  const { unquoted } = bad;
  if (unquoted === undefined) return bad.message;
  // What a person must type so that the quotes of a JSON text come through the shell.
  const quoted = shellWord(JSON.stringify(unquoted));
  return `not an integer or JSON; did you mean raftq client enqueue ${quoted}?`;
}

function pipe(
  client: Client,
  ask: AskText,
  values: ClientValues & { readonly clientId: string },
  style: OutputStyle,
  { output, tell }: OneShotEnds,
): Promise<ExitCode> {
  const clock = createRealClock();
  const reader = Bun.stdin.stream().getReader();
  const ends = {
    input: chunksOf(reader),
    endInput: () => void clock.after(CLIENT.countRestMs, () => void reader.cancel()),
    lines: createLines(CLIENT.maxLineBytes),
    answers: createAnswers(output.write, clock.soon),
    tell,
  };
  const settings = {
    clientId: values.clientId,
    style,
    numbered: values.numbered,
    inFlight: CLIENT.pipeInFlight,
  };
  return runPipe(client, ask, ends, settings);
}

async function* chunksOf(reader: {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { value } = await reader.read();
    if (value === undefined) return;
    yield value;
  }
}
