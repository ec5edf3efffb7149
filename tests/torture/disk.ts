// What does a node's disk survive? A file system of its own on a loop device, whose power can be cut: what the journal and the
// page cache still hold is gone, as after pulling the plug.
import { dlopen, FFIType } from "bun:ffi";
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { sh, works } from "./shell.ts";

const IMAGE = "384M";
/** linux/ext4.h: EXT4_IOC_SHUTDOWN, and its flag to leave the journal as it is on the device. */
const EXT4_IOC_SHUTDOWN = 0x8004587dn;
const NO_LOG_FLUSH = 2;

export interface NodeDisk {
  readonly data: string;
  /** From now on every access fails, and nothing of what is not yet on the device gets there. */
  cutPower(): void;
  /** After the processes on it have ended. */
  remount(): Promise<void>;
  /** Leaves `bytes` of room; the undo. */
  fill(bytes: number): () => void;
}

export type DiskKind = "ext4" | "tmpfs" | "directory";

export function createDisk(directory: string, id: string, kind: DiskKind): NodeDisk {
  const point = join(directory, "disks", id);
  const image = join(directory, `${id}.img`);
  mkdirSync(point, { recursive: true });
  const mount = (): void => void sh(["mount", "-o", "loop", image, point]);
  switch (kind) {
    case "ext4":
      sh(["truncate", "-s", IMAGE, image]);
      sh(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image]);
      mount();
      break;
    case "tmpfs":
      sh(["mount", "-t", "tmpfs", "-o", `size=${IMAGE}`, "tmpfs", point]);
      break;
    case "directory":
      break;
  }
  return {
    data: join(point, "data"),
    cutPower: () => shutDown(point),
    remount: async () => {
      // The last descriptor of a killed process closes a moment after its death.
      for (let attempt = 0; !works(["umount", point]); attempt++) {
        if (attempt === 100) throw new Error(`${point} stays in use`);
        await Bun.sleep(20);
      }
      mount();
    },
    fill: (bytes) => {
      const ballast = join(point, "ballast");
      const { bavail, bsize } = statfsSync(point);
      const size = bavail * bsize - bytes;
      if (size > 0) sh(["fallocate", "-l", String(size), ballast]);
      return () => {
        rmSync(ballast, { force: true });
        // Or the next power cut brings it back.
        syncDirectory(point);
      };
    },
  };
}

function syncDirectory(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

let libc: { readonly ioctl: (fd: number, request: bigint, argument: Uint32Array) => number } | null = null;

function shutDown(point: string): void {
  libc ??= dlopen("libc.so.6", {
    ioctl: { args: [FFIType.i32, FFIType.u64, FFIType.ptr], returns: FFIType.i32 },
  }).symbols;
  const fd = openSync(point, "r");
  try {
    if (libc.ioctl(fd, EXT4_IOC_SHUTDOWN, new Uint32Array([NO_LOG_FLUSH])) !== 0) {
      throw new Error(`the power of ${point} could not be cut`);
    }
  } finally {
    closeSync(fd);
  }
}
