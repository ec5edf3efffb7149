// What stands in for a node where only processes matter? It listens, writes a log line, and stops on SIGTERM or when its
// supervisor ends; SIGUSR2 makes it die with a complaint, as a node with a broken disk would.
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";

const flag = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? "";

const stop = (why: string): void => {
  console.error(`stopping: ${why}`);
  process.exit(0);
};
process.on("SIGTERM", () => stop("SIGTERM"));
process.on("SIGUSR2", () => {
  console.error("the disk is on fire");
  process.exit(8);
});
process.stdin.once("end", () => stop("the supervisor has ended"));
process.stdin.resume();
mkdirSync(flag("--data"), { recursive: true });
console.error(`node ${flag("--id")} is up: ${process.argv.slice(2).join(" ")}`);
createServer((socket) => socket.destroy()).listen(Number(flag("--port")), "127.0.0.1");
