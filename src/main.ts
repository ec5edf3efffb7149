#!/usr/bin/env bun
// Runs `raftq …`: citty runs the command that is meant; what goes wrong becomes one line and an exit code.
import { type ArgsDef, runCommand } from "citty";
import {
  beforeDashes,
  checked,
  type Command,
  findCommand,
  isFlag,
  resolve,
  sentence,
  withHelpHint,
} from "./cli/arguments.ts";
import { refuseCourseForm } from "./cli/course-form.ts";
import { helpOf } from "./cli/help.ts";
import { isColoured, namedMessages } from "./cli/log.ts";
import { root } from "./cli/root.ts";
import { stderr } from "./cli/stderr.ts";
import { codeOf } from "./cli/stdout.ts";
import { VERSION } from "./cli/version.ts";
import { EXIT, type ExitCode, RaftqError } from "./lib/errors.ts";

/** Where stdout is no terminal; and what a narrow one gets, since the flags alone take half of it. */
const HELP_COLUMNS = 80;
const MIN_HELP_COLUMNS = 60;

async function showHelp(command: Command): Promise<void> {
  const columns = process.stdout.isTTY ? process.stdout.columns : HELP_COLUMNS;
  const text = await helpOf(command, Math.max(columns, MIN_HELP_COLUMNS));
  process.stdout.write(isColoured(process.stdout) ? text : Bun.stripANSI(text));
}

async function run(argv: readonly string[]): Promise<void> {
  const flags = beforeDashes(argv);
  if (flags.includes("--version")) return void process.stdout.write(`raftq ${VERSION}\n`);
  // `raftq help cluster up`, `raftq cluster help up`, `raftq cluster up --help`: no command is called help, and no value.
  const helpAt = argv.slice(0, 2).indexOf("help");
  if (helpAt >= 0 || flags.includes("--help") || flags.includes("-h")) {
    const words = helpAt < 0 ? argv : argv.toSpliced(helpAt, 1);
    const flagAt = words.findIndex(isFlag);
    return showHelp((await findCommand(root, flagAt < 0 ? words : words.slice(0, flagAt))).named);
  }
  refuseCourseForm(argv);
  const { command, rest, parentArgs } = await findCommand(root, argv);
  if (command.run === undefined) {
    process.exitCode = command === root ? EXIT.ok : EXIT.usage;
    return showHelp(command);
  }
  return withHelpHint(command, async () => {
    const rawArgs = [...checked((await resolve(command.args)) ?? {}, rest, parentArgs)];
    await runCommand<ArgsDef>(command, { rawArgs });
  });
}

/** What, why, what next: one line, and those that the error has below it. A stack only for those who ask for it. */
function reportError(error: unknown): ExitCode {
  const wantsStack = process.env["RAFTQ_DEBUG"] === "1";
  const stack = wantsStack && error instanceof Error && error.stack !== undefined ? error.stack.split("\n") : [];
  if (error instanceof RaftqError) {
    const { message, details } = error;
    const next = error.code === "USAGE" ? [] : [error.next];
    const lines = details.length > 0 ? [message, ...details, ...next] : [[sentence(message), ...next].join(" ")];
    namedMessages.error(...lines, ...stack);
    return error.exitCode;
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const advice = "RAFTQ_DEBUG=1 shows where; please report it";
  namedMessages.error(`stopped by a fault of its own: ${what} (${advice})`, ...stack);
  return EXIT.failed;
}

/** With `process.exitCode` as it is now. What was written to stderr may still be on its way to a slow reader. */
function leave(): void {
  if (isLeaving) return;
  isLeaving = true;
  const { exitCode } = process;
  void stderr.drained().then(() => process.exit(exitCode));
}
let isLeaving = false;

// `raftq cluster status | head -1`: the reader has all it wanted; that is no failure. A full disk is one.
process.stdout.on("error", (error) => {
  if (codeOf(error) === "EPIPE") process.exit(EXIT.ok);
  namedMessages.error(`stdout cannot be written: ${error.message}`);
  process.exitCode = EXIT.failed;
  leave();
});

await run(process.argv.slice(2)).catch((error: unknown) => void (process.exitCode = reportError(error)));
// Answers may still be on their way to a slow reader; only the end of the stream shows that they have left.
process.stdout.end(leave);
