// `raftq client` on a terminal: a prompt that shows client, node, leader and term; history, completion, one command at a time.
import { clearLine, createInterface, cursorTo, type Interface } from "node:readline";
import type { Client, ClientEvent, Done, Outcome } from "../client/client.ts";
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
  readonly listen: (listener: (event: ClientEvent) => void) => void;
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

/** Who comes back after an unknown outcome reads from it what became of the request: a later number was never executed, nor will be. */
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
  const shell = createShell(client, ask, settings);
  settings.listen(shell.onEvent);
  const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
  if (refused !== null) {
    shell.fail(refused);
    return ERRORS[refused.code].exit;
  }
  const failed = await shell.showEarlier();
  return failed ?? shell.run();
}

function createShell(client: Client, ask: AskText, { clientId, style, output }: ShellSettings) {
  let explains = false;
  /** Nodes that sent us on since the last answer. */
  let route: string[] = [];
  let last: NumberedCommand | null = null;
  let reader: Interface | null = null;
  let isPrompting = false;
  let isOver = false;
  /** Ctrl-C: nothing is waited for any more. */
  let isAbandoned = false;
  /** -1: what was typed behind it is not done. */
  let wantsOut = false;
  let exit: ExitCode = EXIT.ok;

  const isLeft = (): boolean => isOver || isAbandoned || wantsOut;

  /** Above the prompt, if there is one. */
  function print(text: string): void {
    void printed(text);
  }

  /** A shell whose output is lost ends: nobody sees what it does. */
  async function printed(text: string): Promise<boolean> {
    if (isPrompting) {
      cursorTo(process.stdout, 0);
      clearLine(process.stdout, 0);
    }
    const writing = output.write(`${text}\n`);
    if (isPrompting) reader?.prompt(true);
    if ((await writing) === null) return true;
    wantsOut = true;
    reader?.close();
    return false;
  }

  /** What an earlier process left comes first: only then are the answers behind it acknowledged. */
  async function showEarlier(): Promise<ExitCode | null> {
    const left = client.unacknowledgedAtOpen();
    if (left === null) return null;
    const { first: from, last: to } = left;
    print(`${clientId} has not acknowledged ${from === to ? `request ${to}` : `requests ${from} to ${to}`} before:`);
    const fetched = await printUnacknowledged(client, style, printed);
    if (fetched.type === "all") {
      last = fetched.last;
      return null;
    }
    if (fetched.type === "failed") fail(fetched.failure);
    return fetched.type === "failed" ? ERRORS[fetched.failure.code].exit : EXIT.failed;
  }

  async function late(outcome: Outcome, taken: () => void): Promise<void> {
    if (!outcome.ok) return;
    const { reply, number } = outcome;
    const asked: NumberedCommand =
      reply.type === "dequeued"
        ? { type: "dequeue", max: reply.jobs.length > 1 ? reply.jobs.length : null }
        : { type: "enqueue", values: [] };
    if (await printed(`request ${number} was executed after all: ${formatOutcome(asked, outcome, style)}`)) taken();
  }

  function fail(why: Failure, verb = last?.type ?? null): void {
    if (isAbandoned) return;
    print(style.json || why.code === "NOT_LEADER" ? formatFailure(verb, why, style) : notifyPerson(why));
  }

  function onEvent(event: ClientEvent): void {
    switch (event.type) {
      case "redirected":
        route.push(event.from);
        print(escapeText(`Redirect: ${event.from} is not the leader, going to ${event.to} ${event.address}`));
        return;
      case "sessionOver": {
        print(escapeText(sessionOver(clientId, event.failure)));
        isOver = true;
        exit = ERRORS[event.failure.code].exit;
        reader?.close();
        return;
      }
      case "answeredLate":
        return void late(event.outcome, event.taken);
      case "connected":
      case "disconnected":
        reader?.setPrompt(promptText(clientId, client.node()));
        return;
    }
  }

  async function numbered(command: NumberedCommand, start: (done: Done) => void, isRetry: boolean): Promise<void> {
    last = command;
    const { outcome, taken } = await new Promise<{ readonly outcome: Outcome; readonly taken: () => void }>((resolve) =>
      start((answered, take) => resolve({ outcome: answered, taken: take })),
    );
    if (!outcome.ok) {
      taken();
      return (isOver || isAbandoned) && !style.json ? showLast(command.type, outcome.failure) : fail(outcome.failure);
    }
    const { reply, number } = outcome;
    const already = isRetry && outcome.duplicate && !style.json;
    const lines: string[] = [];
    if (already) lines.push(`request ${number} was already executed: same answer, ${idsOf(reply)}index ${reply.index}`);
    if (!already || command.type === "dequeue") lines.push(formatOutcome(command, outcome, style));
    if (!(await printed(lines.join("\n")))) return;
    taken();
    const hops = route;
    route = [];
    if (explains) await explain(hops, reply.index);
  }

  /** Why there is no answer is known: what is left to show is what became of the command. */
  function showLast(verb: NumberedCommand["type"], { applied }: Failure): void {
    if (applied === "no") return print(`This ${verb} was not executed.`);
    // What may still be asked for is named when this client has left.
    if (isOver) print(`This ${verb} may have been executed: look for it in \`log\`.`);
  }

  async function explain(hops: readonly string[], index: number): Promise<void> {
    const answer = await new Promise<Parameters<Parameters<Client["ask"]>[1]>[0]>((resolve) =>
      client.ask({ type: "trace", index }, resolve),
    );
    if (!("type" in answer)) return fail(answer);
    if (answer.type === "traceAnswer") print(formatTrace(hops, answer.trace));
    else if (answer.type === "failure") fail(answer.failure);
  }

  async function execute(command: LineCommand): Promise<void> {
    switch (command.type) {
      case "nothing":
        return;
      case "leave":
        wantsOut = true;
        return reader?.close();
      case "help":
        return print(HELP);
      case "bad":
        return print(escapeText(command.message));
      case "explain":
        explains = command.on;
        return print(`explain is ${command.on ? "on" : "off"}`);
      case "enqueue":
      case "dequeue": {
        const problem = tooLarge(command);
        if (problem !== null) return fail(problem, command.type);
        return numbered(command, (done) => client.submit(requestOf(command), done), false);
      }
      case "retry":
        return retry();
      case "peek":
      case "log":
      case "status": {
        const answer = await ask(command);
        if (answer.ok) print(answer.text);
        else fail(answer.failure);
        return;
      }
    }
  }

  async function retry(): Promise<void> {
    if (last === null) return print(escapeText(nothingToRetry(clientId, client.numberAtOpen())));
    await numbered(last, (done) => void client.again(done), true);
  }

  function run(): Promise<ExitCode> {
    const { promise, resolve } = Promise.withResolvers<ExitCode>();
    const lines: string[] = [];
    let isBusy = false;
    const shown = createInterface({
      input: process.stdin,
      output: process.stdout,
      completer: completions,
      terminal: true,
    });
    reader = shown;
    const prompt = (): void => {
      shown.setPrompt(promptText(clientId, client.node()));
      isPrompting = true;
      shown.prompt();
    };
    const work = async (): Promise<void> => {
      if (isBusy) return;
      isBusy = true;
      isPrompting = false;
      for (let line = lines.shift(); line !== undefined && !isLeft(); line = lines.shift())
        await execute(parseLine(line));
      isBusy = false;
      if (reader === null) resolve(exit);
      else prompt();
    };
    shown.on("line", (line) => {
      lines.push(line);
      work().catch((error: unknown) => {
        throw error;
      });
    });
    shown.on("SIGINT", () => {
      if (shown.line !== "") return shown.write(null, { ctrl: true, name: "u" });
      isAbandoned = true;
      shown.close();
    });
    shown.on("close", () => {
      if (isPrompting && exit === EXIT.ok) process.stdout.write("\n");
      isPrompting = false;
      reader = null;
      // Ctrl-D: what was typed before it is still done.
      if (!isBusy || isAbandoned) resolve(exit);
    });
    prompt();
    return promise;
  }

  return { run, onEvent, fail, showEarlier };
}
