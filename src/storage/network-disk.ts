// Is a directory on a disk of this machine? On others a lock may not reach everybody who could use the directory.
import fs from "node:fs";
import { RaftqError } from "../lib/errors.ts";

/**
 * File systems that other machines may have mounted too, by their numbers in statfs(2): their locks may not reach those machines, and
 * what is written there may be durable only on the other side. FUSE and 9P count: what is behind them cannot be known.
 */
const REMOTE_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xfe534d42, "SMB"],
  [0xff534d42, "CIFS"],
  [0x5346414f, "AFS"],
  [0x6b414653, "AFS"],
  [0x73757245, "Coda"],
  [0x00c36400, "Ceph"],
  [0x01021997, "9P"],
  [0x65735546, "FUSE"],
  [0x0bd00bd0, "Lustre"],
  [0x01161970, "GFS2"],
  [0x7461636f, "OCFS2"],
  [0x19830326, "BeeGFS"],
  [0x47504653, "GPFS"],
  [0x20030528, "OrangeFS"],
  [0x786f4256, "VirtualBox shared folder"],
  [0xbacbacbc, "VMware shared folder"],
]);

/** Throws NETWORK_DISK for a directory on one of them, unless that was allowed. */
export function requireLocal(directory: string, allowed: boolean): void {
  const name = allowed ? null : remoteFileSystem(fs.statfsSync(directory).type);
  if (name === null) return;
  throw new RaftqError(
    "NETWORK_DISK",
    `${directory} is on a file system that other machines may use too (${name}): two nodes could use it at once, and what is written there may not be durable`,
  );
}

/** By its number in statfs(2); null for one that only this machine uses. */
export function remoteFileSystem(type: number): string | null {
  // Some runtimes give numbers from 2^31 on as negative ones.
  return REMOTE_FILE_SYSTEMS.get(type >>> 0) ?? null;
}
