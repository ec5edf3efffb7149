// Is every command and every flag explained, and does every example in the help work as it stands there?
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ArgsDef, parseArgs, renderUsage } from "citty";
import { checked, type Command, findCommand, resolve, valuesOf } from "../../src/cli/arguments.ts";
import { helpOf } from "../../src/cli/help.ts";
import { root } from "../../src/cli/root.ts";

async function treeOf(command: Command): Promise<readonly Command[]> {
  const below = Object.values((await resolve(command.subCommands)) ?? {});
  return [command, ...(await Promise.all(below.map(treeOf))).flat()];
}
const commands = await treeOf(root);
const leaves = commands.filter(({ subCommands }) => subCommands === undefined);

/** The words behind `raftq`, as a shell hands them over. */
function wordsOf(example: string): readonly string[] {
  const last = example.slice(example.lastIndexOf("raftq ") + "raftq ".length);
  return (last.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replaceAll("'", ""));
}

test("the tree has all commands", () => {
  expect(leaves.map(({ meta }) => meta.name)).toEqual([
    "raftq node",
    "raftq client",
    ...["enqueue", "dequeue", "peek", "retry", "log", "status"].map((verb) => `raftq client ${verb}`),
    ...["up", "status", "down", "kill", "start", "pause", "resume", "add", "remove", "transfer", "logs"].map(
      (verb) => `raftq cluster ${verb}`,
    ),
  ]);
});

test.each(commands.map((command) => [command.meta.name, command] as const))(
  "%p and each of its flags have a line of help",
  async (_, command) => {
    const usage = Bun.stripANSI(await renderUsage<ArgsDef>(command));
    expect(command.meta.description).toMatch(/^[A-Z].{9,}[^.]$/);
    for (const [name, argument] of Object.entries((await resolve(command.args)) ?? {})) {
      expect(argument.description).toMatch(/^\S.{9,}[^.]$/);
      expect(usage).toContain(argument.type === "positional" ? name.toUpperCase() : `--${name}`);
      if (argument.type === "boolean" && argument.default === true)
        expect(argument.negativeDescription).toMatch(/^[A-Z]/);
    }
    for (const [name, { meta }] of Object.entries((await resolve(command.subCommands)) ?? {})) {
      expect(usage).toMatch(new RegExp(`^ +${name} +${meta.description.slice(0, 9)}`, "m"));
    }
  },
);

test.each(commands.map((command) => [command.meta.name, command] as const))(
  "the help of %p fits into the columns that there are, breaks between words only, and loses none",
  async (_, command) => {
    const help = async (columns: number): Promise<string> => Bun.stripANSI(await helpOf(command, columns));
    const wordsIn = (text: string): readonly string[] => text.trim().split(/\s+/);
    const whole = await help(10_000);
    for (const columns of [80, 100]) {
      const fitted = await help(columns);
      expect(wordsIn(fitted)).toEqual(wordsIn(whole));
      expect(fitted.split("\n").filter((line) => Bun.stringWidth(line) > columns)).toEqual([]);
    }
  },
);

test("a description that goes on in the next line stands below its beginning, in its colours", async () => {
  const node = commands.find(({ meta }) => meta.name === "raftq node") ?? root;
  const lines = (await helpOf(node, 80)).split("\n").map((line) => Bun.stripANSI(line));
  const at = lines.findIndex((line) => line.includes("--election"));
  const column = lines[at]?.indexOf("Silence") ?? 0;
  expect(column).toBeGreaterThan(20);
  expect(lines[at + 1]).toMatch(new RegExp(`^ {${column}}\\S`));
});

test.each(leaves.map((command) => [command.meta.name, command] as const))(
  "%p has examples that name it and are understood",
  async (_, command) => {
    const examples = command.meta.examples ?? [];
    expect(examples).not.toBeEmpty();
    for (const example of examples) {
      const { command: meant, rest, parentArgs } = await findCommand(root, wordsOf(example));
      expect(meant).toBe(command);
      const definition = (await resolve(meant.args)) ?? {};
      const rawArgs = [...checked(definition, rest, parentArgs)];
      expect(() => valuesOf(definition, { args: parseArgs(rawArgs, definition), rawArgs }, {})).not.toThrow();
    }
  },
);

test("flags before a verb of the client are those of its verbs", async () => {
  const client = commands.find(({ subCommands, meta }) => meta.name === "raftq client" && subCommands !== undefined);
  const verbs = Object.values((await resolve(client?.subCommands)) ?? {});
  const flags = new Map<string, unknown>();
  for (const verb of verbs) {
    for (const [name, argument] of Object.entries((await resolve(verb.args)) ?? {})) {
      if (argument.type !== "positional") flags.set(name, argument);
    }
  }
  expect(Object.fromEntries(flags)).toEqual((await resolve(client?.args)) ?? {});
});

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** Files that are loaded before the command is known. */
function loadedAtOnce(file: string, found = new Set<string>()): ReadonlySet<string> {
  if (found.has(file)) return found;
  found.add(file);
  for (const { kind, path } of new Bun.Transpiler({ loader: "ts" }).scanImports(
    readFileSync(file, "utf8").replace(/^#!.*/, ""),
  )) {
    if (kind === "import-statement" && path.endsWith(".ts")) loadedAtOnce(join(dirname(file), path), found);
  }
  return found;
}

test("the help of raftq loads no command", async () => {
  const unloaded = Object.entries((await resolve(root.subCommands)) ?? {}).map(([name, command]) => {
    const load = (): never => {
      throw new Error(`${name} was loaded`);
    };
    return [name, { ...command, args: load, subCommands: load, run: load }];
  });
  const help = Bun.stripANSI(await helpOf({ ...root, subCommands: Object.fromEntries(unloaded) }, 80));
  expect(help).toBe(Bun.stripANSI(await helpOf(root, 80)));
  const files = [...loadedAtOnce(MAIN)].map((file) => file.slice(dirname(MAIN).length + 1));
  expect(files).toContain("cli/arguments.ts");
  expect(files.filter((file) => !/^(main|config|cli\/[\w-]+|lib\/[\w-]+|wire\/address)\.ts$/.test(file))).toEqual([]);
  for (const heavy of ["node", "client", "client-verbs", "cluster", "credentials"])
    expect(files).not.toContain(`cli/${heavy}.ts`);
});
