// Runs raftq in a pipe: one command a line, one answer a line in the order of the lines, and a window of those that are asked and not
// written yet, so that an answer that is not read stops the commands behind it.
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

interface Pipe {
  readonly client: Client;
  readonly ask: AskText;
  readonly ends: PipeEnds;
  readonly settings: PipeSettings;
  /** Of the last line that was taken, from 1 on. */
  lineNumber: number;
  numbering: Numbering;
  /** Requests whose answers are neither written nor lost. */
  inFlight: number;
  /** Resolves what waits for one of them; null: nothing does. */
  wake: (() => void) | null;
  /** The input asked to leave: nothing behind it is read. */
  hasLeft: boolean;
  /** The first error that ends the pipe: from then on lines are only counted. */
  stoppedBy: ErrorCode | null;
  /** No answer can be written any more: lines are only counted, too. */
  isOutputOver: boolean;
  /** The first error of all. */
  firstError: ErrorCode | null;
  /** Commands that were only counted. */
  notSent: number;
}

/** The numbers that earlier runs have used are known once the session is open. */
type Numbering =
  | { readonly type: "none" }
  | { readonly type: "unopened" }
  | { readonly type: "open"; readonly lines: NumberedLines }
  | { readonly type: "failed"; readonly why: Failure };

export async function runPipe(client: Client, ask: AskText, ends: PipeEnds, settings: PipeSettings): Promise<ExitCode> {
  const pipe: Pipe = {
    client,
    ask,
    ends,
    settings,
    lineNumber: 0,
    numbering: { type: settings.numbered ? "unopened" : "none" },
    inFlight: 0,
    wake: null,
    hasLeft: false,
    stoppedBy: null,
    isOutputOver: false,
    firstError: null,
    notSent: 0,
  };
  for await (const chunk of ends.input) {
    const batch: Line[] = [];
    ends.lines.push(chunk, (line) => batch.push(line));
    await takeLines(pipe, batch);
    if (pipe.hasLeft) break;
  }
  if (!pipe.hasLeft) {
    const last: Line[] = [];
    ends.lines.end((line) => last.push(line));
    await takeLines(pipe, last);
  }
  while (pipe.inFlight > 0) await nextAnswer(pipe);
  await ends.answers.written();
  const { notSent } = pipe;
  if (notSent > 0) ends.notify(`${notSent} ${notSent === 1 ? "line" : "lines"} not sent`);
  if (pipe.numbering.type === "open") reportEnd(pipe, pipe.numbering.lines);
  const cause = pipe.stoppedBy ?? pipe.firstError;
  return cause === null ? EXIT.ok : ERRORS[cause].exit;
}

// ---- Lines

async function takeLines(pipe: Pipe, batch: readonly Line[]): Promise<void> {
  const { ends, settings } = pipe;
  if (pipe.numbering.type === "unopened" && batch.length > 0) await openNumbered(pipe);
  const used = usedLines(pipe);
  for (const text of batch) {
    if (pipe.hasLeft) return;
    if (used !== null && pipe.lineNumber > 0 && pipe.lineNumber === used.lastUsed) await passUsedNumbers(pipe, used);
    if (isStopped(pipe)) {
      if (typeof text !== "string" || isCommand(text)) pipe.notSent++;
      continue;
    }
    const turn = takeLine(pipe, text) ?? ends.answers.drained();
    if (turn !== null) await turn;
    while (pipe.inFlight >= settings.inFlight && !isStopped(pipe)) await nextAnswer(pipe);
  }
}

/** A promise only when the lines behind must wait. */
function takeLine(pipe: Pipe, text: Line): Promise<void> | null {
  const line = ++pipe.lineNumber;
  const command = typeof text === "string" ? parseLine(text) : unreadable(text.unreadable);
  const { numbering } = pipe;
  if (numbering.type === "failed" && command.type !== "leave") {
    if (command.type !== "nothing") failLine(pipe, command, numbering.why);
    return null;
  }
  if (command.type === "nothing") {
    voidNumber(pipe, line);
    return null;
  }
  if (command.type === "leave") {
    pipe.hasLeft = true;
    return null;
  }
  const slot = pipe.ends.answers.slot();
  switch (command.type) {
    case "enqueue":
    case "dequeue": {
      const problem = tooLarge(command);
      if (problem === null) submit(pipe, command, line, slot);
      else refuse(pipe, command.type, problem, line, slot);
      return null;
    }
    case "peek":
    case "log":
    case "status":
      voidNumber(pipe, line);
      return askInOrder(pipe, command, slot);
    case "too long":
      refuse(pipe, null, TOO_LARGE, line, slot);
      return null;
    case "bad":
      refuse(pipe, command.verb, failure("BAD_REQUEST", command.message), line, slot);
      return null;
    case "retry":
    case "explain":
    case "help": {
      const why = `${command.type} belongs to the shell, not to a pipe`;
      refuse(pipe, command.type, failure("BAD_REQUEST", why), line, slot);
      return null;
    }
  }
}

// ---- Commands and their answers

function submit(pipe: Pipe, command: NumberedCommand, line: number, slot: AnswerSlot): void {
  pipe.inFlight++;
  pipe.client.submit(
    requestOf(command),
    (outcome, taken) => {
      pipe.ends.answers.answer(slot, outcomeText(pipe, command, outcome, line), (isWritten) => {
        onWritten(pipe, isWritten);
        if (isWritten) taken();
        landed(pipe);
      });
    },
    pipe.settings.numbered ? line : undefined,
  );
}

function outcomeText(pipe: Pipe, command: NumberedCommand, outcome: Outcome, line: number): string {
  const { style } = pipe.settings;
  const used = usedLines(pipe);
  used?.answered(line, outcome, true);
  if (outcome.ok) {
    if (outcome.reply.type === "void") pipe.firstError ??= "CONFLICT";
    return formatOutcome(command, outcome, style);
  }
  const isForgotten = used !== null && outcome.failure.code === "FORGOTTEN" && outcome.number !== null;
  if (isForgotten && command.type === "enqueue") return formatSkipped(outcome.number, style);
  note(pipe, outcome.failure);
  const shown = isForgotten ? { ...outcome, failure: { ...outcome.failure, message: ANSWER_GONE } } : outcome;
  return formatOutcome(command, shown, style);
}

async function askInOrder(pipe: Pipe, question: Question, slot: AnswerSlot): Promise<void> {
  while (pipe.inFlight > 0) await nextAnswer(pipe);
  if (isStopped(pipe)) {
    pipe.notSent++;
    return;
  }
  const answer = await pipe.ask(question);
  if (!answer.ok) note(pipe, answer.failure);
  write(pipe, slot, answer.ok ? answer.text : formatFailure(question.type, answer.failure, pipe.settings.style));
}

function refuse(pipe: Pipe, verb: string | null, why: Failure, line: number, slot: AnswerSlot): void {
  note(pipe, why);
  write(pipe, slot, formatFailure(verb, why, pipe.settings.style, { line }));
  usedLines(pipe)?.refused(line);
  voidNumber(pipe, line);
}

/** Without a session no number is given: the first command has the reason for all. */
function failLine(pipe: Pipe, command: LineCommand | UnreadableLine, why: Failure): void {
  pipe.firstError ??= why.code;
  stop(pipe, why.code);
  const verb = command.type === "bad" || command.type === "too long" ? null : command.type;
  write(pipe, pipe.ends.answers.slot(), formatFailure(verb, why, pipe.settings.style));
}

function write(pipe: Pipe, slot: AnswerSlot, text: string): void {
  pipe.ends.answers.answer(slot, text, (isWritten) => onWritten(pipe, isWritten));
}

const nextAnswer = (pipe: Pipe): Promise<void> => new Promise((resolve) => (pipe.wake = resolve));

function landed(pipe: Pipe): void {
  pipe.inFlight--;
  pipe.wake?.();
  pipe.wake = null;
}

// ---- Errors, and what ends the pipe

function note(pipe: Pipe, why: Failure): void {
  pipe.firstError ??= why.code;
  if (stopsPipe(why.code)) stop(pipe, why.code);
}

function stop(pipe: Pipe, code: ErrorCode): void {
  if (pipe.stoppedBy !== null) return;
  pipe.stoppedBy = code;
  pipe.ends.endInput();
}

/** Not written: no answer can be from now on. */
function onWritten(pipe: Pipe, isWritten: boolean): void {
  if (isWritten || pipe.isOutputOver) return;
  pipe.isOutputOver = true;
  pipe.ends.endInput();
}

const isStopped = ({ stoppedBy, isOutputOver }: Pipe): boolean => stoppedBy !== null || isOutputOver;

/** These end the pipe: what comes behind must not overtake what is unknown, and would fail in the same way. */
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

// ---- `--numbered`: the number of a line is the number of its request

async function openNumbered(pipe: Pipe): Promise<void> {
  const { client, ends } = pipe;
  const { clientId, resume } = pipe.settings;
  const refused = await new Promise<Failure | null>((resolve) => client.open(resolve));
  const why = refused ?? (resume && client.numberAtOpen() === 0 ? notKnown(clientId) : null);
  if (why !== null) {
    pipe.numbering = { type: "failed", why };
    return;
  }
  const lines = createNumberedLines(clientId, client.numberAtOpen());
  pipe.numbering = { type: "open", lines };
  ends.notify(lines.beginning());
}

const usedLines = ({ numbering }: Pipe): NumberedLines | null => (numbering.type === "open" ? numbering.lines : null);

/** The numbers that were used before are behind us: nothing new is sent for a file that is another one. */
async function passUsedNumbers(pipe: Pipe, used: NumberedLines): Promise<void> {
  while (pipe.inFlight > 0) await nextAnswer(pipe);
  const problem = used.problem();
  if (problem !== null) stop(pipe, problem.code);
}

/** Every line uses up its number; one that is no request voids it. */
function voidNumber(pipe: Pipe, line: number): void {
  if (!pipe.settings.numbered) return;
  pipe.inFlight++;
  pipe.client.submit(
    { type: "resolve" },
    (outcome, taken) => {
      taken();
      usedLines(pipe)?.answered(line, outcome, false);
      if (!outcome.ok && outcome.failure.code !== "FORGOTTEN") note(pipe, outcome.failure);
      landed(pipe);
    },
    line,
  );
}

function reportEnd(pipe: Pipe, lines: NumberedLines): void {
  const { ends, stoppedBy } = pipe;
  for (const text of lines.end()) ends.notify(text);
  const problem = lines.problem();
  if (problem === null || (stoppedBy !== null && stoppedBy !== problem.code)) return;
  pipe.firstError ??= problem.code;
  ends.notify(problem.message);
}

const ANSWER_GONE =
  "an earlier run had the answer to this number, and it is no longer kept: if a job was taken, only that run's output has it";

/** It never used a number, or so long ago that it was forgotten: the commands of its file would be executed again. */
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
