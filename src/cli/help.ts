// What `--help` shows: citty's usage of the command, with the variables behind its flags; and its examples.
import { styleText } from "node:util";
import { type ArgDef, type CommandDef, renderUsage } from "citty";
import { type Command, resolve } from "./arguments.ts";
import { VERSION } from "./version.ts";

/** With colours, in lines of at most `columns`. */
export async function helpOf({ meta, ...command }: Command, columns: number): Promise<string> {
  const args = Object.entries((await resolve(command.args)) ?? {}).map(([name, argument]): [string, ArgDef] => {
    const variable = argument.environment === undefined ? "" : ` [${argument.environment}]`;
    return [name, { ...argument, description: `${argument.description}${variable}` }];
  });
  const shown: CommandDef = { ...command, meta: { ...meta, version: VERSION }, args: Object.fromEntries(args) };
  const title = styleText(["underline", "bold"], "EXAMPLES", { validateStream: false });
  const examples = meta.examples === undefined ? "" : `\n\n${title}\n\n  ${meta.examples.join("\n  ")}`;
  const lines = `${(await renderUsage(shown)).trimEnd()}${examples}\n`.split("\n");
  return lines.map((line) => fitted(line, columns)).join("\n");
}

/** citty's lines: two columns with four spaces between them, or text. What goes on in the next line stands below its beginning. */
function fitted(line: string, columns: number): string {
  const [first = ""] = /^.*?\S {4,}(?=\S)/.exec(line) ?? /^ */.exec(line) ?? [];
  const indent = Bun.stringWidth(first);
  const text = Bun.wrapAnsi(line.slice(first.length), columns - indent, { hard: false, wordWrap: true, trim: true });
  return `${first}${text.replaceAll("\n", `\n${" ".repeat(indent)}`)}`.trimEnd();
}
