// `raftq client` on a terminal: a prompt that shows client, node, leader and term; history, completion, one command at a time.
import { clearLine, createInterface, cursorTo, type Interface } from "node:readline";
import type { Client, ClientEvent, Done, Outcome, QueryAnswer } from "../client/client.ts";
import { ERRORS, EXIT, type ExitCode, type Failure } from "../lib/errors.ts";
import type { Reply } from "../queue/types.ts";
import { shownProgram } from "../cluster/program.ts";
import type { HelloAnswer } from "../wire/protocol.ts";
import { type LineCommand, type NumberedCommand, parseLine } from "./commands.ts";
import { escapeText } from "./escape.ts";
import { printUnacknowledged } from "./unacknowledged.ts";
import { formatFailure, formatOutcome, idRange, type OutputStyle, notifyPerson } from "./output.ts";
import type { AskText } from "./pipe.ts";
import { requestOf, tooLarge } from "./requests.ts";
import { formatTrace } from "./show.ts";
import type { Output } from "./stdout.ts";

export interface ShellSettings {
  readonly clientId: string;
  readonly style: OutputStyle;
  readonly output: Output;
  /** Takes the client's events from now on. */
  readonly subscribe: (onEvent: (event: ClientEvent) => void) => void;
}

interface Shell {
  readonly client: Client;
  readonly ask: AskText;
  readonly clientId: string;
  readonly style: OutputStyle;
  readonly output: Output;
  /** null: not open yet, or closed: nothing more is read. */
  reader: Interface | null;
  /** "none": before the first prompt, or behind the last one. */
  activity: "none" | "prompting" | "executing";
  /** Each answer comes with its path. */
  explains: boolean;
  /** Nodes that redirected the client since the last answer. */
  redirectedBy: string[];
  /** What `retry` sends again. */
  last: NumberedCommand | null;
  isSessionOver: boolean;
  /** Ctrl-C: nothing is waited for any more. */
  isAbandoned: boolean;
  /** -1, or no output any more: what was typed behind it is not done. */
  wantsOut: boolean;
  exit: ExitCode;
}

const HELP = `enqueue(42)             put a value in: an integer or any JSON: enqueue({"a":1})
enqueue(1, 2, "three")  put several in: all or none, one behind the other
dequeue                 take the oldest value out
dequeue(10)             take up to 10 of the oldest out at once
log                     the leader's log; log --from 3 --to 9; log --node n2
peek                    look at the oldest value, and leave it there
status                  the cluster as its leader sees it
retry                   send the last request again: same number, another node
explain on|off          show the path of each answer
help, ?                 this list
exit, quit, -1          leave (Ctrl-D too)`;

const COMPLETIONS = [
  "enqueue(",
  "dequeue",
  "dequeue(",
  "peek",
  "log",
  "log --from ",
  "log --to ",
  "log --node ",
  "status",
  "retry",
  "explain on",
  "explain off",
  "help",
  "exit",
  "quit",
  "-1",
];

export function completions(typed: string): [string[], string] {
  const hits = COMPLETIONS.filter((text) => text.startsWith(typed.trimStart().toLowerCase()));
  return [hits, typed];
}

export function promptText(clientId: string, node: HelloAnswer | null): string {
  if (node === null) return `${clientId}@?> `;
  const leads = node.leader === node.node.address ? "*" : "";
  return escapeText(`${clientId}@${node.node.id}${leads} t${node.term}> `);
}

/** What ended the session, and how to go on. */
function sessionOver(clientId: string, { code, message }: Failure): string {
  const again = `${shownProgram()} client --id ${clientId}`;
  if (code !== "SESSION_FENCED") return `${message}; this shell is closed. Start another one: ${again}`;
  return `${clientId} was opened elsewhere; this shell is closed. Use another --id, or take this one back: ${again}`;
}

/** After an unknown outcome this shows what became of the request: a later number was never executed, and will not be. */
function nothingToRetry(clientId: string, lastNumber: number): string {
  const used =
    lastNumber === 0 ? "has used no number" : `used number ${lastNumber} last, and its answer was shown before`;
  return `nothing to retry yet: ${clientId} ${used}`;
}

/** `id 7, ` or `ids 7-9, `. */
function idsOf(reply: Reply): string {
  if (reply.type === "enqueued") return `${reply.count === 1 ? "id" : "ids"} ${idRange(reply.firstId, reply.count)}, `;
  const first = reply.type === "dequeued" ? reply.jobs[0] : undefined;
  if (reply.type !== "dequeued" || first === undefined) return "";
  return `${reply.jobs.length === 1 ? "id" : "ids"} ${idRange(first.id, reply.jobs.length)}, `;
}

export async function runShell(client: Client, ask: AskText, settings: ShellSettings): Promise<ExitCode> {
  const { clientId, style, output } = settings;
  const shell: Shell = {
    client,
    ask,
    clientId,
    style,
    output,
    reader: null,
    activity: "none",
    explains: false,
    redirectedBy: [],
    last: null,
    isSessionOver: false,
    isAbandoned: false,
    wantsOut: false,
    exit: EXIT.ok,
  };
  settings.subscribe((event) => onEvent(shell, event));
  const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
  if (refused !== null) {
    fail(shell, refused);
    return ERRORS[refused.code].exit;
  }
  const failed = await showUnacknowledged(shell);
  return failed ?? readCommands(shell);
}

/** What an earlier process left comes first: only then are the answers behind it acknowledged. */
async function showUnacknowledged(shell: Shell): Promise<ExitCode | null> {
  const { client, clientId, style } = shell;
  const left = client.unacknowledgedAtOpen();
  if (left === null) return null;
  const { first: from, last: to } = left;
  print(
    shell,
    `${clientId} has not acknowledged ${from === to ? `request ${to}` : `requests ${from} to ${to}`} before:`,
  );
  const result = await printUnacknowledged(client, style, (text) => printed(shell, text));
  switch (result.type) {
    case "all":
      shell.last = result.last;
      return null;
    case "failed":
      fail(shell, result.failure);
      return ERRORS[result.failure.code].exit;
    case "unwritten":
      return EXIT.failed;
  }
}

// ---- Commands

/** Resolves with the exit code when the shell is left. */
function readCommands(shell: Shell): Promise<ExitCode> {
  const { promise, resolve } = Promise.withResolvers<ExitCode>();
  const lines: string[] = [];
  const reader = createInterface({
    input: process.stdin,
    output: process.stdout,
    completer: completions,
    terminal: true,
  });
  shell.reader = reader;
  const prompt = (): void => {
    reader.setPrompt(promptText(shell.clientId, shell.client.node()));
    shell.activity = "prompting";
    reader.prompt();
  };
  const work = async (): Promise<void> => {
    if (shell.activity === "executing") return;
    shell.activity = "executing";
    for (let line = lines.shift(); line !== undefined && !isLeft(shell); line = lines.shift())
      await execute(shell, parseLine(line));
    shell.activity = "none";
    if (shell.reader === null) resolve(shell.exit);
    else prompt();
  };
  reader.on("line", (line) => {
    lines.push(line);
    work().catch((error: unknown) => {
      throw error;
    });
  });
  reader.on("SIGINT", () => {
    if (reader.line !== "") return reader.write(null, { ctrl: true, name: "u" });
    shell.isAbandoned = true;
    reader.close();
  });
  reader.on("close", () => {
    if (shell.activity === "prompting") {
      if (shell.exit === EXIT.ok) process.stdout.write("\n");
      shell.activity = "none";
    }
    shell.reader = null;
    // Ctrl-D: what was typed before it is still done.
    if (shell.activity !== "executing" || shell.isAbandoned) resolve(shell.exit);
  });
  prompt();
  return promise;
}

const isLeft = ({ isSessionOver, isAbandoned, wantsOut }: Shell): boolean => isSessionOver || isAbandoned || wantsOut;

async function execute(shell: Shell, command: LineCommand): Promise<void> {
  switch (command.type) {
    case "nothing":
      return;
    case "leave":
      shell.wantsOut = true;
      return shell.reader?.close();
    case "help":
      return print(shell, HELP);
    case "bad":
      return print(shell, escapeText(command.message));
    case "explain":
      shell.explains = command.on;
      return print(shell, `explain is ${command.on ? "on" : "off"}`);
    case "enqueue":
    case "dequeue": {
      const problem = tooLarge(command);
      if (problem !== null) return fail(shell, problem, command.type);
      return request(shell, command, (done) => shell.client.submit(requestOf(command), done), false);
    }
    case "retry":
      return retry(shell);
    case "peek":
    case "log":
    case "status": {
      const answer = await shell.ask(command);
      if (answer.ok) print(shell, answer.text);
      else fail(shell, answer.failure);
      return;
    }
  }
}

async function retry(shell: Shell): Promise<void> {
  const { client, clientId, last } = shell;
  if (last === null) return print(shell, escapeText(nothingToRetry(clientId, client.numberAtOpen())));
  await request(shell, last, (done) => void client.again(done), true);
}

async function request(
  shell: Shell,
  command: NumberedCommand,
  start: (done: Done) => void,
  isRetry: boolean,
): Promise<void> {
  const { style } = shell;
  shell.last = command;
  const { outcome, taken } = await new Promise<{ readonly outcome: Outcome; readonly taken: () => void }>((resolve) =>
    start((answered, take) => resolve({ outcome: answered, taken: take })),
  );
  if (!outcome.ok) {
    taken();
    const isLast = (shell.isSessionOver || shell.isAbandoned) && !style.json;
    return isLast ? showLast(shell, command.type, outcome.failure) : fail(shell, outcome.failure);
  }
  const { reply, number } = outcome;
  const already = isRetry && outcome.duplicate && !style.json;
  const lines: string[] = [];
  if (already) lines.push(`request ${number} was already executed: same answer, ${idsOf(reply)}index ${reply.index}`);
  if (!already || command.type === "dequeue") lines.push(formatOutcome(command, outcome, style));
  if (!(await printed(shell, lines.join("\n")))) return;
  taken();
  const { redirectedBy } = shell;
  shell.redirectedBy = [];
  if (shell.explains) await explain(shell, redirectedBy, reply.index);
}

/** Why there is no answer is known: what is left to show is what became of the command. */
function showLast(shell: Shell, verb: NumberedCommand["type"], { applied }: Failure): void {
  if (applied === "no") return print(shell, `This ${verb} was not executed.`);
  // What may still be asked for is named when this client has left.
  if (shell.isSessionOver) print(shell, `This ${verb} may have been executed: look for it in \`log\`.`);
}

async function explain(shell: Shell, redirectedBy: readonly string[], index: number): Promise<void> {
  const answer = await new Promise<QueryAnswer | Failure>((resolve) =>
    shell.client.ask({ type: "trace", index }, resolve),
  );
  if (!("type" in answer)) return fail(shell, answer);
  if (answer.type === "traceAnswer") print(shell, formatTrace(redirectedBy, answer.trace));
  else if (answer.type === "failure") fail(shell, answer.failure);
}

// ---- Events

function onEvent(shell: Shell, event: ClientEvent): void {
  switch (event.type) {
    case "redirected":
      shell.redirectedBy.push(event.from);
      print(shell, escapeText(`Redirect: ${event.from} is not the leader, going to ${event.to} ${event.address}`));
      return;
    case "sessionOver": {
      print(shell, escapeText(sessionOver(shell.clientId, event.failure)));
      shell.isSessionOver = true;
      shell.exit = ERRORS[event.failure.code].exit;
      shell.reader?.close();
      return;
    }
    case "answeredLate":
      return void showLate(shell, event.outcome, event.taken);
    case "connected":
    case "disconnected":
      shell.reader?.setPrompt(promptText(shell.clientId, shell.client.node()));
      return;
  }
}

async function showLate(shell: Shell, outcome: Outcome, taken: () => void): Promise<void> {
  if (!outcome.ok) return;
  const { reply, number } = outcome;
  const asked: NumberedCommand =
    reply.type === "dequeued"
      ? { type: "dequeue", max: reply.jobs.length > 1 ? reply.jobs.length : null }
      : { type: "enqueue", values: [] };
  const text = `request ${number} was executed after all: ${formatOutcome(asked, outcome, shell.style)}`;
  if (await printed(shell, text)) taken();
}

// ---- Output, above the prompt if there is one

function fail(shell: Shell, why: Failure, verb = shell.last?.type ?? null): void {
  const { style } = shell;
  if (shell.isAbandoned) return;
  print(shell, style.json || why.code === "NOT_LEADER" ? formatFailure(verb, why, style) : notifyPerson(why));
}

function print(shell: Shell, text: string): void {
  void printed(shell, text);
}

/** A shell whose output is lost ends: its user does not see what it does. */
async function printed(shell: Shell, text: string): Promise<boolean> {
  const isPrompting = shell.activity === "prompting";
  if (isPrompting) {
    cursorTo(process.stdout, 0);
    clearLine(process.stdout, 0);
  }
  const writing = shell.output.write(`${text}\n`);
  if (isPrompting) shell.reader?.prompt(true);
  if ((await writing) === null) return true;
  shell.wantsOut = true;
  shell.reader?.close();
  return false;
}
