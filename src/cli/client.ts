// Runs `raftq client`: a shell on a terminal, a pipe otherwise, or the one command that was given as words.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { CLIENT, WIRE } from "../config.ts";
import { EXIT, type ExitCode, RaftqError } from "../lib/errors.ts";
import { seededRandom } from "../lib/random.ts";
import { isClientId, SESSION_NONCE_BYTES } from "../queue/commands.ts";
import { createRealClock } from "../lib/real-clock.ts";
import { createTcpNetwork } from "../wire/tcp.ts";
import {
  type Acknowledge,
  type Client,
  type ClientEvent,
  type ClientSettings,
  createClient,
  type Numbers,
} from "../client/client.ts";
import { ROOT } from "../cluster/layout.ts";
import { shownProgram } from "../cluster/program.ts";
import { resolveAddresses } from "./addresses.ts";
import { createAnswers } from "./answers.ts";
import type { ClientValues } from "./client-arguments.ts";
import { parseEnqueue } from "./commands.ts";
import { credentialFiles, localCredentials, openCredentials } from "./credentials.ts";
import { shellWord } from "./escape.ts";
import { createLines } from "./lines.ts";
import { messages, namedMessages } from "./log.ts";
import { type OneCommand, type OneShotEnds, runOnce } from "./one-shot.ts";
import type { OutputStyle } from "./output.ts";
import { type AskText, runPipe } from "./pipe.ts";
import { createQuestions } from "./questions.ts";
import { runShell } from "./shell.ts";
import { createOutput, type Output, ownStdoutErrors, shellStdout, stdout } from "./stdout.ts";

/** `command`: the one that was given as words; null: a shell, or a pipe. */
export async function runClient(values: ClientValues, command: OneCommand | null): Promise<ExitCode> {
  const interactive = command === null && process.stdin.isTTY;
  const notify = (text: string): void => messages.info(text);
  const { addresses, local } = resolveAddresses(values, join(process.cwd(), ROOT), (text) => namedMessages.info(text));
  const clientId = values.id ?? `c-${randomBytes(4).toString("hex")}`;
  if (!isClientId(clientId)) throw new RaftqError("USAGE", "--id is 1 to 64 bytes of printable text.");
  if (values.numbered === true && (values.id === undefined || interactive)) {
    throw new RaftqError("USAGE", "--numbered needs a pipe and --id: the numbers belong to that id.");
  }
  if (values.resume === true && values.numbered !== true)
    throw new RaftqError("USAGE", "--resume belongs to --numbered: a numbered file goes on where it stopped.");
  if (values.id === undefined && (command === null || command.type === "enqueue" || command.type === "dequeue")) {
    notify(`client id ${clientId} (choose one with --id)`);
  }
  const files = credentialFiles(values) ?? (local === null ? null : localCredentials(local, "client"));
  const style: OutputStyle = { json: values.json, terminal: process.stdout.isTTY };
  let onEvent = (event: ClientEvent): void => notifyRedirect(event, notify);
  const ports = {
    network: createTcpNetwork(WIRE, files === null ? null : openCredentials(files).credentials),
    clock: createRealClock(),
    random: seededRandom(randomBytes(4).readUInt32BE()),
  };
  ownStdoutErrors();
  const output = createOutput(interactive ? shellStdout : stdout, ports.clock);
  const acknowledge = acknowledgeOf(values, command, interactive);
  const client = createClient(ports, { ...clientSettings(values, addresses, clientId), acknowledge }, (event) =>
    onEvent(event),
  );
  const entries = style.terminal && !style.json ? CLIENT.logLines : CLIENT.logEntries;
  const ask = createQuestions(client, ports, style, { entries, timeoutMs: values.timeout });
  const run = (): Promise<ExitCode> => {
    if (command !== null) return runOnce(client, ask, command, style, { output, notify });
    if (!interactive) return pipe(client, ask, { ...values, clientId }, style, { output, notify });
    return runShell(client, ask, { clientId, style, output, subscribe: (listener) => (onEvent = listener) });
  };
  try {
    const exit = await run();
    await new Promise<void>((resolve) => client.close(resolve));
    const left = client.untaken();
    if (interactive && left !== null && output.problem() === null) return reportUnclear(exit, left, values, clientId);
    return notifyUnwritten(exit, left, output, { ...values, clientId }, notify);
  } finally {
    client.close(() => {});
  }
}

/** What was asked for and is not on stdout can be fetched again, and is no success. A reader that has closed its end is no failure. */
function notifyUnwritten(
  exit: ExitCode,
  left: Numbers | null,
  output: Output,
  values: ClientValues & { readonly clientId: string },
  notify: (text: string) => void,
): ExitCode {
  const problem = output.problem();
  const isFailure = problem !== null && (left !== null || !problem.isReaderGone);
  if (isFailure) namedMessages.error(`stdout cannot be written: ${problem.message}`);
  if (left !== null) {
    const { first, last } = left;
    const what = first === last ? `answer to request ${last}` : `answers to requests ${first} to ${last}`;
    const were = first === last ? "was" : "were";
    notify(`the ${what} of client ${values.clientId} ${were} not written: ${retryCommand(values)}`);
  }
  return isFailure ? EXIT.failed : exit;
}

/** A person left before the answer came. The next shell of this id shows it. */
function reportUnclear(exit: ExitCode, { first, last }: Numbers, values: ClientValues, clientId: string): ExitCode {
  const what = first === last ? `request ${last}` : `requests ${first} to ${last}`;
  namedMessages.error(`${what} may have been executed: ${clientCommand({ ...values, clientId })}, then retry`);
  return exit === EXIT.ok ? EXIT.unknown : exit;
}

const retryCommand = (values: ClientValues & { readonly clientId: string }): string => `${clientCommand(values)} retry`;

/** Asks the same nodes, with the same credentials. */
function clientCommand(values: ClientValues & { readonly clientId: string }): string {
  const words = ["client", "--id", values.clientId];
  if (values.addr !== undefined) words.push("--addr", values.addr.join(","));
  if (values.name !== undefined) words.push("--name", values.name);
  for (const name of ["tls-cert", "tls-key", "tls-ca", "secret-file"] as const) {
    const value = values[name];
    if (value !== undefined) words.push(`--${name}`, value);
  }
  if (values.json) words.push("--json");
  return [shownProgram(), ...words.map(shellWord)].join(" ");
}

function acknowledgeOf(values: ClientValues, command: OneCommand | null, interactive: boolean): Acknowledge {
  // A file that is sent again, and a shell's retry, ask for numbers that were answered.
  if (values.numbered === true || interactive) return { when: "taken", earlier: "fetched", whenIdle: false };
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
    nonce: randomBytes(SESSION_NONCE_BYTES),
    timeoutMs: values.timeout,
    follow: values.follow,
    numbered: values.numbered === true,
    batch: false,
    generated: values.id === undefined,
    // A file that is sent again is compared with the answers that its last run left.
    closeOnLeave: values.numbered !== true,
    limits: CLIENT.limits,
  };
}

function notifyRedirect(event: ClientEvent, notify: (text: string) => void): void {
  if (event.type === "redirected")
    notify(`Redirect: ${event.from} is not the leader, going to ${event.to} ${event.address}`);
}

/** The word after `enqueue` is the whole value: a shell has already taken its quotes and kept its spaces. */
export function enqueueOf(value: string): OneCommand {
  const command = parseEnqueue(value.trim());
  if (command.type !== "bad") return command;
  const { message, unquoted } = command;
  if (unquoted === undefined) throw new RaftqError("USAGE", message);
  // What a person must type so that the quotes of a JSON text come through the shell.
  const quoted = shellWord(JSON.stringify(unquoted));
  throw new RaftqError("USAGE", `not an integer or JSON; did you mean raftq client enqueue ${quoted}?`);
}

function pipe(
  client: Client,
  ask: AskText,
  values: ClientValues & { readonly clientId: string },
  style: OutputStyle,
  { output, notify }: OneShotEnds,
): Promise<ExitCode> {
  const clock = createRealClock();
  const reader = Bun.stdin.stream().getReader();
  const ends = {
    input: chunksOf(reader),
    endInput: () => void clock.after(CLIENT.countRestMs, () => void reader.cancel()),
    lines: createLines(CLIENT.maxLineBytes),
    answers: createAnswers(output.write, clock.soon),
    notify,
  };
  const settings = {
    clientId: values.clientId,
    style,
    numbered: values.numbered === true,
    resume: values.resume === true,
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
