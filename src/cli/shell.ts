// `raftq client` on a terminal: a prompt that shows client, node, leader and term; history, completion, one command at a time.
import { clearLine, createInterface, cursorTo, type Interface } from "node:readline";
import type { Client, ClientEvent } from "../client/client.ts";
import type { Outcome } from "../client/line.ts";
import { ERRORS, EXIT, type ExitCode, type Failure } from "../lib/errors.ts";
import type { HelloAnswer } from "../wire/protocol.ts";
import { type LineCommand, parseLine } from "./commands.ts";
import { escapeText } from "./escape.ts";
import { formatFailure, formatOutcome, type NumberedVerb, type OutputStyle, tellPerson } from "./output.ts";
import type { AskText } from "./pipe.ts";
import { DEQUEUE_ONE, enqueueJson } from "./requests.ts";
import { formatTrace } from "./show.ts";

export interface ShellSettings {
  readonly clientId: string;
  readonly style: OutputStyle;
  /** Takes the client's events from now on. */
  readonly listen: (listener: (event: ClientEvent) => void) => void;
}

const HELP = `enqueue(42)             put a value in: an integer or any JSON, such as enqueue({"job":1})
dequeue                 take the oldest value out
log                     the leader's log; log --from 3 --to 9; log --node n2
status                  the cluster as its leader sees it
retry                   send the last request again, with the same number, through another node
explain on|off          tell the way of each answer
-1                      leave (Ctrl-D too)`;

const COMPLETIONS = [
  "enqueue(",
  "dequeue",
  "log",
  "log --from ",
  "log --to ",
  "log --node ",
  "status",
  "retry",
  "explain on",
  "explain off",
  "help",
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

export async function runShell(client: Client, ask: AskText, settings: ShellSettings): Promise<ExitCode> {
  const shell = createShell(client, ask, settings);
  settings.listen(shell.heard);
  const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
  if (refused !== null) {
    shell.fail(refused);
    return ERRORS[refused.code].exit;
  }
  return shell.run();
}

function createShell(client: Client, ask: AskText, { clientId, style }: ShellSettings) {
  let explains = false;
  /** Nodes that sent us on since the last answer. */
  let route: string[] = [];
  let last: NumberedVerb | null = null;
  let reader: Interface | null = null;
  let isPrompting = false;
  let isOver = false;
  let exit: ExitCode = EXIT.ok;

  /** Above the prompt, if there is one. */
  function print(text: string): void {
    if (isPrompting) {
      cursorTo(process.stdout, 0);
      clearLine(process.stdout, 0);
    }
    process.stdout.write(`${text}\n`);
    if (isPrompting) reader?.prompt(true);
  }

  function fail(why: Failure): void {
    // Told when the session ended.
    if (isOver) return;
    print(style.json || why.code === "NOT_LEADER" ? formatFailure(last, why, style) : tellPerson(why));
  }

  function heard(event: ClientEvent): void {
    switch (event.type) {
      case "redirected":
        route.push(event.from);
        print(escapeText(`Redirect: ${event.from} is not the leader, going to ${event.to} ${event.address}`));
        return;
      case "sessionOver": {
        const fenced = event.failure.code === "SESSION_FENCED";
        print(
          escapeText(fenced ? `${clientId} was opened elsewhere; this shell is closed` : tellPerson(event.failure)),
        );
        isOver = true;
        exit = ERRORS[event.failure.code].exit;
        reader?.close();
        return;
      }
      case "connected":
      case "disconnected":
        reader?.setPrompt(promptText(clientId, client.node()));
        return;
    }
  }

  async function numbered(
    verb: NumberedVerb,
    start: (done: (outcome: Outcome) => void) => void,
    isRetry: boolean,
  ): Promise<void> {
    last = verb;
    const outcome = await new Promise<Outcome>(start);
    if (!outcome.ok) return fail(outcome.failure);
    const { reply, number } = outcome;
    const already = isRetry && outcome.duplicate && !style.json;
    const id = reply.type === "enqueued" ? reply.firstId : reply.type === "dequeued" ? reply.jobs[0]?.id : undefined;
    const which = id === undefined ? "" : `id ${id}, `;
    if (already) print(`request ${number} was already executed: same answer, ${which}index ${reply.index}`);
    if (!already || verb === "dequeue") print(formatOutcome(verb, outcome, style));
    const hops = route;
    route = [];
    if (explains) await explain(hops, reply.index);
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
        return reader?.close();
      case "help":
        return print(HELP);
      case "bad":
        return print(escapeText(command.message));
      case "explain":
        explains = command.on;
        return print(`explain is ${command.on ? "on" : "off"}`);
      case "enqueue":
        return numbered("enqueue", (done) => client.submit(enqueueJson(command.json), done), false);
      case "dequeue":
        return numbered("dequeue", (done) => client.submit(DEQUEUE_ONE, done), false);
      case "retry":
        return retry();
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
    const verb = last;
    if (verb === null) return print("nothing to retry yet: enqueue or dequeue first");
    await numbered(verb, (done) => void client.again(done), true);
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
      for (let line = lines.shift(); line !== undefined; line = lines.shift()) await execute(parseLine(line));
      isBusy = false;
      if (reader !== null) prompt();
    };
    shown.on("line", (line) => {
      lines.push(line);
      work().catch((error: unknown) => {
        throw error;
      });
    });
    shown.on("SIGINT", () => {
      if (shown.line === "") shown.close();
      else shown.write(null, { ctrl: true, name: "u" });
    });
    shown.on("close", () => {
      if (isPrompting && exit === EXIT.ok) process.stdout.write("\n");
      isPrompting = false;
      reader = null;
      resolve(exit);
    });
    prompt();
    return promise;
  }

  return { run, heard, fail };
}
