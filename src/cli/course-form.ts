// Recognises what the course project took, such as `node localhost 3000`, and gives the exact line to type instead.
import { DEFAULTS } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { isAddress } from "../wire/address.ts";
import { VERBS } from "./commands.ts";
import { nearest } from "./suggest.ts";

const isPort = (word: string | undefined): boolean => word !== undefined && /^\d{1,5}$/.test(word);

/** Throws RaftqError USAGE for `node <host> <port> [<leader host> <leader port>]` and `client <host> <port> [<id>]`. */
export function refuseCourseForm(argv: readonly string[]): void {
  const [command, host = "", port = "", ...more] = argv;
  if (!isPort(port) || !isAddress(`${host}:${port}`)) return;
  const line =
    command === "node" ? nodeLine(host, port, more) : command === "client" ? clientLine(host, port, more) : null;
  if (line !== null) throw new RaftqError("USAGE", line);
}

function nodeLine(host: string, port: string, [leaderHost, leaderPort, ...more]: readonly string[]): string | null {
  if (more.length > 0 || (leaderHost !== undefined && !isPort(leaderPort))) return null;
  const ownHost = host === "localhost" || host === DEFAULTS.host ? "" : ` --host ${host}`;
  const join = leaderHost === undefined ? "" : ` --join ${leaderHost}:${leaderPort}`;
  return `a node takes flags. Type: raftq node --port ${port}${ownHost}${join}.`;
}

function clientLine(host: string, port: string, [id = "c1", ...more]: readonly string[]): string | null {
  if (more.length > 0 || id.startsWith("-") || nearest(host, VERBS) !== undefined) return null;
  return `addresses and names are flags here. Type: raftq client --addr ${host}:${port} --id ${id}`;
}
