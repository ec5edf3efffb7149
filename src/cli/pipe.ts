// How does raftq work in a pipe? One command a line, a window of them in flight, one answer a line in the order of the lines.
// Commands execute in that order too; `log` and `status` wait until every earlier line is answered.
import type { Client } from "../client/client.ts";
import type { Outcome } from "../client/line.ts";
import { ERRORS, type ErrorCode, EXIT, type ExitCode, type Failure, failure } from "../lib/errors.ts";
import type { Answers, Place } from "./answers.ts";
import { type LineCommand, parseLine } from "./commands.ts";
import type { Line, Lines } from "./lines.ts";
import { formatFailure, formatForgotten, formatOutcome, type NumberedVerb, type OutputStyle } from "./output.ts";
import { DEQUEUE_ONE, enqueueJson } from "./requests.ts";

/** What has no number: asked when every earlier line has its answer. */
export type Question = Extract<LineCommand, { readonly type: "log" | "status" }>;
export type AskText = (
  question: Question,
) => Promise<{ readonly ok: true; readonly text: string } | { readonly ok: false; readonly failure: Failure }>;

export interface PipeSettings {
  readonly style: OutputStyle;
  /** The number of a line is the number of its request. */
  readonly numbered: boolean;
  readonly inFlight: number;
  readonly maxPayloadBytes: number;
}

export interface PipeEnds {
  readonly input: AsyncIterable<Uint8Array>;
  /** The rest is only counted: an input without end must not keep a stopped pipe from telling so. */
  readonly endInput: () => void;
  readonly lines: Lines;
  readonly answers: Answers;
  /** For stderr. */
  readonly tell: (text: string) => void;
}

/** These end the pipe: what comes behind must not overtake what is unknown, and would fare no better. */
function stopsPipe(code: ErrorCode): boolean {
  switch (ERRORS[code].class) {
    case "redirect":
    case "unknown":
    case "fatal":
    case "local":
      return true;
    case "retry":
      return code !== "DISK_FULL";
    case "final":
      return code === "SESSION_EXPIRED" || code === "SESSION_FENCED";
  }
}

export async function runPipe(client: Client, ask: AskText, ends: PipeEnds, settings: PipeSettings): Promise<ExitCode> {
  const { answers } = ends;
  const { style, numbered } = settings;
  let lineNumber = 0;
  let inFlight = 0;
  let isLeft = false;
  let notSent = 0;
  const errors: { first: ErrorCode | null; stopping: ErrorCode | null } = { first: null, stopping: null };
  let wake: (() => void) | null = null;

  const nextAnswer = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  function landed(): void {
    inFlight--;
    wake?.();
    wake = null;
  }
  function note(why: Failure): void {
    errors.first ??= why.code;
    if (errors.stopping !== null || !stopsPipe(why.code)) return;
    errors.stopping = why.code;
    ends.endInput();
  }

  function outcomeText(verb: NumberedVerb, outcome: Outcome): string {
    if (outcome.ok) {
      if (outcome.reply.type === "void") errors.first ??= "CONFLICT";
    } else if (numbered && verb === "enqueue" && outcome.failure.code === "FORGOTTEN" && outcome.number !== null) {
      return formatForgotten(outcome.number, style);
    } else {
      note(outcome.failure);
    }
    return formatOutcome(verb, outcome, style);
  }

  function submit(verb: NumberedVerb, json: string | null, line: number, place: Place): void {
    inFlight++;
    client.submit(
      json === null ? DEQUEUE_ONE : enqueueJson(json),
      (outcome) => {
        answers.answer(place, outcomeText(verb, outcome));
        landed();
      },
      numbered ? line : undefined,
    );
  }

  /** With `--numbered` every line uses up its number; one that is no request voids it. */
  function voidNumber(line: number): void {
    if (!numbered) return;
    inFlight++;
    client.submit(
      { type: "settle" },
      (outcome) => {
        if (!outcome.ok && outcome.failure.code !== "FORGOTTEN") note(outcome.failure);
        landed();
      },
      line,
    );
  }

  function refuse(verb: string | null, why: Failure, line: number, place: Place): void {
    note(why);
    answers.answer(place, formatFailure(verb, why, style, { line }));
    voidNumber(line);
  }

  async function askInOrder(question: Question, place: Place): Promise<void> {
    while (inFlight > 0) await nextAnswer();
    if (errors.stopping !== null) {
      notSent++;
      return;
    }
    const answer = await ask(question);
    if (!answer.ok) note(answer.failure);
    answers.answer(place, answer.ok ? answer.text : formatFailure(question.type, answer.failure, style));
  }

  /** A promise only when the lines behind must wait. */
  function take(text: Line): Promise<void> | null {
    lineNumber++;
    const line = lineNumber;
    const command = typeof text === "string" ? parseLine(text) : unreadable(text.unreadable);
    if (command.type === "nothing") {
      voidNumber(line);
      return null;
    }
    if (command.type === "leave") {
      isLeft = true;
      return null;
    }
    const place = answers.place();
    switch (command.type) {
      case "enqueue":
        if (Buffer.byteLength(command.json) > settings.maxPayloadBytes)
          refuse("enqueue", tooLarge(settings), line, place);
        else submit("enqueue", command.json, line, place);
        return null;
      case "dequeue":
        submit("dequeue", null, line, place);
        return null;
      case "log":
      case "status":
        voidNumber(line);
        return askInOrder(command, place);
      case "too long":
        refuse(null, tooLarge(settings), line, place);
        return null;
      case "bad":
        refuse(command.verb, failure("BAD_REQUEST", command.message), line, place);
        return null;
      case "retry":
      case "explain":
      case "help":
        refuse(
          command.type,
          failure("BAD_REQUEST", `${command.type} belongs to the shell, not to a pipe`),
          line,
          place,
        );
        return null;
    }
  }

  async function takeAll(batch: readonly Line[]): Promise<void> {
    for (const text of batch) {
      if (isLeft) return;
      if (errors.stopping !== null) {
        if (typeof text !== "string" || isCommand(text)) notSent++;
        continue;
      }
      const turn = take(text) ?? answers.drained();
      if (turn !== null) await turn;
      while (inFlight >= settings.inFlight && errors.stopping === null) await nextAnswer();
    }
  }

  for await (const chunk of ends.input) {
    const batch: Line[] = [];
    ends.lines.push(chunk, (line) => batch.push(line));
    await takeAll(batch);
    if (isLeft) break;
  }
  if (!isLeft) {
    const last: Line[] = [];
    ends.lines.end((line) => last.push(line));
    await takeAll(last);
  }
  while (inFlight > 0) await nextAnswer();
  await answers.written();
  if (notSent > 0) ends.tell(`${notSent} ${notSent === 1 ? "line" : "lines"} not sent`);
  const cause = errors.stopping ?? errors.first;
  return cause === null ? EXIT.ok : ERRORS[cause].exit;
}

type UnreadableLine = { readonly type: "too long" } | Extract<LineCommand, { type: "bad" }>;

/** The longest line is a little longer than the largest value, so a line that is too long holds one that is too large. */
function unreadable(why: "too long" | "not UTF-8"): UnreadableLine {
  return why === "too long" ? { type: why } : { type: "bad", verb: null, message: `the line is ${why}` };
}

const tooLarge = (settings: PipeSettings): Failure =>
  failure("TOO_LARGE", `a value has at most ${settings.maxPayloadBytes} bytes`);

function isCommand(text: string): boolean {
  const { type } = parseLine(text);
  return type !== "nothing" && type !== "leave";
}
