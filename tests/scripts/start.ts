// What does `bun run start` do on a fresh clone? Install, build, and become `raftq cluster up 5`.
import { build, upToDate } from "./build.ts";
import { BINARY, install, requirePinnedBun } from "./project.ts";

requirePinnedBun();
install();
if (!upToDate()) build();

// Become it, not start it: one process less between the terminal's signals and the nodes. raftq itself watches the chain
// above it (npx, sh, bun run), of which not every link passes on a signal or its own death.
if (process.execve === undefined)
  throw new Error("this system cannot replace a process by another: run dist/raftq cluster up 5");
process.execve(BINARY, [BINARY, "cluster", "up", "5", ...process.argv.slice(2)]);
