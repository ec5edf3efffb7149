// How does raftq work in a pipe? One command a line, one answer a line in the order of the lines, and a window of those that are
// asked and not written yet: an answer that nobody reads stops the commands behind it.
// Commands execute in that order too; `peek`, `log` and `status` wait until every earlier line is answered.
import type { Client, Outcome } from "../client/client.ts";
import { ERRORS, type ErrorCode, EXIT, type ExitCode, type Failure, failure } from "../lib/errors.ts";
import type { Answers, AnswerSlot } from "./answers.ts";
import { type BadLine, type LineCommand, type NumberedCommand, parseLine } from "./commands.ts";
import type { Line, Lines } from "./lines.ts";
import { createNumberedLines, type NumberedLines } from "./numbered.ts";
import { formatFailure, formatOutcome, formatSkipped, type OutputStyle } from "./output.ts";
import { requestOf, TOO_LARGE, tooLarge } from "./requests.ts";

/** What has no number: asked when every earlier line has its answer. */
export type Question = Extract<LineCommand, { readonly type: "peek" | "log" | "status" }>;
export type AskText = (question: Question) => Promise<AnswerText>;
export type AnswerText =
  /** `isEmpty`: it shows that no job waits, where one was asked for. */
  | { readonly ok: true; readonly text: string; readonly isEmpty: boolean }
  | { readonly ok: false; readonly failure: Failure };

export interface PipeSettings {
  readonly clientId: string;
  readonly style: OutputStyle;
  /** The number of a line is the number of its request. */
  readonly numbered: boolean;
  /** A numbered file is to go on where it stopped: nothing is sent under an id that is not known. */
  readonly resume: boolean;
  /** Commands that are sent and whose answers are not written. */
  readonly inFlight: number;
}

export interface PipeEnds {
  readonly input: AsyncIterable<Uint8Array>;
  /** The rest is only counted: an input without end must not keep a stopped pipe from reporting that. */
  readonly endInput: () => void;
  readonly lines: Lines;
  readonly answers: Answers;
  /** For stderr. */
  readonly notify: (text: string) => void;
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
  let isOutputOver = false;
  let notSent = 0;
  const errors: { first: ErrorCode | null; stopping: ErrorCode | null } = { first: null, stopping: null };
  /** With `--numbered`, once the session is open; or why it could not be opened. */
  let earlier: NumberedLines | null = null;
  let unopened: Failure | null = null;
  let wake: (() => void) | null = null;

  const nextAnswer = (): Promise<void> => new Promise((resolve) => (wake = resolve));
  function landed(): void {
    inFlight--;
    wake?.();
    wake = null;
  }
  function note(why: Failure): void {
    errors.first ??= why.code;
    if (stopsPipe(why.code)) stop(why.code);
  }
  function stop(code: ErrorCode): void {
    if (errors.stopping !== null) return;
    errors.stopping = code;
    ends.endInput();
  }
  const isStopped = (): boolean => errors.stopping !== null || isOutputOver;

  /** No answer can be written from now on. */
  function onWritten(isWritten: boolean): void {
    if (isWritten || isOutputOver) return;
    isOutputOver = true;
    ends.endInput();
  }

  /** Only then is it known which numbers earlier runs have used. */
  async function openNumbered(): Promise<void> {
    unopened = await new Promise<Failure | null>((resolve) => client.open(resolve));
    if (unopened === null && settings.resume && client.numberAtOpen() === 0) unopened = notKnown(settings.clientId);
    if (unopened !== null) return;
    earlier = createNumberedLines(settings.clientId, client.numberAtOpen());
    ends.notify(earlier.beginning());
  }

  /** The numbers that were used before are behind us: nothing new is sent for a file that is another one. */
  async function passUsedNumbers(lines: NumberedLines): Promise<void> {
    while (inFlight > 0) await nextAnswer();
    const problem = lines.problem();
    if (problem !== null) stop(problem.code);
  }

  function outcomeText(command: NumberedCommand, outcome: Outcome, line: number): string {
    earlier?.answered(line, outcome, true);
    if (outcome.ok) {
      if (outcome.reply.type === "void") errors.first ??= "CONFLICT";
      return formatOutcome(command, outcome, style);
    }
    const isForgotten = earlier !== null && outcome.failure.code === "FORGOTTEN" && outcome.number !== null;
    if (isForgotten && command.type === "enqueue") return formatSkipped(outcome.number, style);
    note(outcome.failure);
    const shown = isForgotten ? { ...outcome, failure: { ...outcome.failure, message: ANSWER_GONE } } : outcome;
    return formatOutcome(command, shown, style);
  }

  function submit(command: NumberedCommand, line: number, slot: AnswerSlot): void {
    inFlight++;
    client.submit(
      requestOf(command),
      (outcome, taken) => {
        answers.answer(slot, outcomeText(command, outcome, line), (isWritten) => {
          onWritten(isWritten);
          if (isWritten) taken();
          landed();
        });
      },
      numbered ? line : undefined,
    );
  }

  /** With `--numbered` every line uses up its number; one that is no request voids it. */
  function voidNumber(line: number): void {
    if (!numbered) return;
    inFlight++;
    client.submit(
      { type: "resolve" },
      (outcome, taken) => {
        taken();
        earlier?.answered(line, outcome, false);
        if (!outcome.ok && outcome.failure.code !== "FORGOTTEN") note(outcome.failure);
        landed();
      },
      line,
    );
  }

  function refuse(verb: string | null, why: Failure, line: number, slot: AnswerSlot): void {
    note(why);
    answers.answer(slot, formatFailure(verb, why, style, { line }), onWritten);
    earlier?.refused(line);
    voidNumber(line);
  }

  /** Without a session no number is given: the first command has the reason for all. */
  function failAll(command: LineCommand | UnreadableLine, why: Failure): void {
    errors.first ??= why.code;
    stop(why.code);
    const verb = command.type === "bad" || command.type === "too long" ? null : command.type;
    answers.answer(answers.slot(), formatFailure(verb, why, style), onWritten);
  }

  function reportEnd(lines: NumberedLines): void {
    for (const text of lines.end()) ends.notify(text);
    const problem = lines.problem();
    if (problem === null || (errors.stopping !== null && errors.stopping !== problem.code)) return;
    errors.first ??= problem.code;
    ends.notify(problem.message);
  }

  async function askInOrder(question: Question, slot: AnswerSlot): Promise<void> {
    while (inFlight > 0) await nextAnswer();
    if (isStopped()) {
      notSent++;
      return;
    }
    const answer = await ask(question);
    if (!answer.ok) note(answer.failure);
    answers.answer(slot, answer.ok ? answer.text : formatFailure(question.type, answer.failure, style), onWritten);
  }

  /** A promise only when the lines behind must wait. */
  function take(text: Line): Promise<void> | null {
    lineNumber++;
    const line = lineNumber;
    const command = typeof text === "string" ? parseLine(text) : unreadable(text.unreadable);
    if (unopened !== null && command.type !== "leave") {
      if (command.type !== "nothing") failAll(command, unopened);
      return null;
    }
    if (command.type === "nothing") {
      voidNumber(line);
      return null;
    }
    if (command.type === "leave") {
      isLeft = true;
      return null;
    }
    const slot = answers.slot();
    switch (command.type) {
      case "enqueue":
      case "dequeue": {
        const problem = tooLarge(command);
        if (problem === null) submit(command, line, slot);
        else refuse(command.type, problem, line, slot);
        return null;
      }
      case "peek":
      case "log":
      case "status":
        voidNumber(line);
        return askInOrder(command, slot);
      case "too long":
        refuse(null, TOO_LARGE, line, slot);
        return null;
      case "bad":
        refuse(command.verb, failure("BAD_REQUEST", command.message), line, slot);
        return null;
      case "retry":
      case "explain":
      case "help":
        refuse(command.type, failure("BAD_REQUEST", `${command.type} belongs to the shell, not to a pipe`), line, slot);
        return null;
    }
  }

  async function takeAll(batch: readonly Line[]): Promise<void> {
    if (numbered && earlier === null && unopened === null && batch.length > 0) await openNumbered();
    for (const text of batch) {
      if (isLeft) return;
      if (earlier !== null && lineNumber > 0 && lineNumber === earlier.lastUsed) await passUsedNumbers(earlier);
      if (isStopped()) {
        if (typeof text !== "string" || isCommand(text)) notSent++;
        continue;
      }
      const turn = take(text) ?? answers.drained();
      if (turn !== null) await turn;
      while (inFlight >= settings.inFlight && !isStopped()) await nextAnswer();
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
  if (notSent > 0) ends.notify(`${notSent} ${notSent === 1 ? "line" : "lines"} not sent`);
  if (earlier !== null) reportEnd(earlier);
  const cause = errors.stopping ?? errors.first;
  return cause === null ? EXIT.ok : ERRORS[cause].exit;
}

const ANSWER_GONE =
  "an earlier run had the answer to this number, and it is no longer kept: if a job was taken, only that run's output has it";

/** It never used a number, or so long ago that nobody knows: what its file asked for would be done once more. */
const notKnown = (clientId: string): Failure =>
  failure(
    "SESSION_EXPIRED",
    `client id ${clientId} is new, or was not used for so long that it was forgotten: without --resume, all lines are sent`,
  );

type UnreadableLine = { readonly type: "too long" } | BadLine;

/** The longest line is a little longer than the values of one command may be, so a line that is too long holds too much. */
function unreadable(why: "too long" | "not UTF-8"): UnreadableLine {
  return why === "too long" ? { type: why } : { type: "bad", verb: null, message: `the line is ${why}` };
}

function isCommand(text: string): boolean {
  const { type } = parseLine(text);
  return type !== "nothing" && type !== "leave";
}
