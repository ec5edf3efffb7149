// Where does a run happen, so that nothing of it can stay behind? In namespaces of its own: when its first process ends, however
// it ends, the kernel ends every process, mount, loop device and network in them.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sh, works } from "./shell.ts";

/** `root`: all faults. `user`: a user namespace, without block devices. `bare`: no namespaces at all. */
export type RoomKind = "root" | "user" | "bare";

export interface Room {
  readonly kind: RoomKind;
  /** Disks, logs and everything else of the run; gone afterwards. */
  readonly directory: string;
  leave(): void;
}

const NAMESPACES = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
const WAYS_IN: readonly { readonly kind: RoomKind; readonly flags: readonly string[] }[] = [
  { kind: "root", flags: NAMESPACES },
  { kind: "user", flags: ["--user", "--map-root-user", ...NAMESPACES] },
];
const INSIDE = "RAFTQ_TORTURE_ROOM";

/** Makes this process one that runs `program` in the best room there is; returns only inside of it. */
export function enterRoom(program: readonly string[]): Room {
  const kind = process.env[INSIDE] as RoomKind | undefined;
  delete process.env[INSIDE];
  if (kind !== undefined) return furnish(kind);
  for (const way of WAYS_IN) {
    const unshare = ["unshare", ...way.flags];
    if (process.execve === undefined || !works([...unshare, "true"])) continue;
    const path = Bun.which("unshare") ?? "unshare";
    process.execve(path, [...unshare, ...program], { ...process.env, [INSIDE]: way.kind });
  }
  return furnish("bare");
}

function furnish(kind: RoomKind): Room {
  if (kind === "bare") {
    const directory = mkdtempSync(join(tmpdir(), "raftq-torture-"));
    return { kind, directory, leave: () => rmSync(directory, { recursive: true, force: true }) };
  }
  // Ours alone: this mount is visible to nobody outside.
  sh(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"]);
  sh(["ip", "link", "set", "lo", "up"]);
  const directory = "/run/raftq";
  for (const path of ["/run/netns", directory]) mkdirSync(path);
  return { kind, directory, leave: () => undefined };
}
