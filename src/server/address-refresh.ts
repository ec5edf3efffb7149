// Are addresses and files still right? Checked periodically: does the cluster know this node's present address, does this node have
// the other members' addresses on disk, and are its files still in their directory?
import type { Clock } from "../lib/clock.ts";
import type { Raft } from "../raft/raft.ts";
import { type Member, memberId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { membersOf } from "./status.ts";
import type { LogEvent } from "./types.ts";

export interface RefreshPorts {
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly log: (line: LogEvent) => void;
  readonly storage: Pick<Storage, "recordKnownMembers">;
  /** The node ends. */
  readonly isEnding: () => boolean;
  /** The cluster knows another address of this node: where to report the present one. */
  readonly moved: (addresses: readonly string[]) => void;
}

export function checkFiles(
  clock: Clock,
  intervalMs: number,
  storage: Pick<Storage, "checkFiles">,
  isEnding: () => boolean,
): void {
  const look = (): void => {
    if (isEnding()) return;
    storage.checkFiles();
    clock.after(intervalMs, look);
  };
  clock.after(intervalMs, look);
}

export function refreshAddress(ports: RefreshPorts, own: Member, raft: Raft): void {
  const { clock, log, storage } = ports;
  let wasMember = false;
  const look = (): void => {
    if (ports.isEnding()) return;
    const members = membersOf(raft).map(({ member }) => member);
    const known = members.find((member) => memberId(member) === memberId(own));
    const others = members.filter((member) => member !== known).map(({ address }) => address);
    if (known !== undefined) {
      wasMember = true;
      storage.recordKnownMembers(others);
      if (known.address !== own.address) reportAddress(known.address, others);
    } else if (wasMember) {
      wasMember = false;
      // A removed node does not rejoin by itself, even if it loses its data.
      storage.recordKnownMembers([]);
      log({ level: "warn", event: "removed", text: "this node was removed from the cluster; it can be stopped" });
    }
    clock.after(ports.intervalMs, look);
  };
  const reportAddress = (before: string, others: readonly string[]): void => {
    const text = `reporting the new address ${own.address} to the cluster (was ${before})`;
    log({ level: "info", event: "moved", text });
    ports.moved([own.address, ...others]);
  };
  clock.after(ports.intervalMs, look);
}
