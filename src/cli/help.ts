// What does `--help` show? citty's usage of the command, with the variables behind its flags; and its examples.
import { styleText } from "node:util";
import { type ArgDef, type CommandDef, renderUsage } from "citty";
import { type Command, resolve } from "./arguments.ts";
import { VERSION } from "./version.ts";

/** With colours. */
export async function helpOf({ meta, ...command }: Command): Promise<string> {
  const args = Object.entries((await resolve(command.args)) ?? {}).map(([name, argument]): [string, ArgDef] => {
    const variable = argument.environment === undefined ? "" : ` [${argument.environment}]`;
    return [name, { ...argument, description: `${argument.description}${variable}` }];
  });
  const shown: CommandDef = { ...command, meta: { ...meta, version: VERSION }, args: Object.fromEntries(args) };
  const title = styleText(["underline", "bold"], "EXAMPLES", { validateStream: false });
  const examples = meta.examples === undefined ? "" : `\n\n${title}\n\n  ${meta.examples.join("\n  ")}`;
  return `${(await renderUsage(shown)).trimEnd()}${examples}\n`.replaceAll(/ +$/gm, "");
}
