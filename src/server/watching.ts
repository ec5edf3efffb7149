// Does the cluster know where this node is, does this node keep in mind where the cluster is, and are its files still where it put
// them? Looked at now and then.
import type { Clock } from "../lib/clock.ts";
import type { Raft } from "../raft/raft.ts";
import { type Member, memberId } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { membersOf } from "./status.ts";
import type { LogEvent } from "./types.ts";

export interface WatchPorts {
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly log: (line: LogEvent) => void;
  readonly storage: Pick<Storage, "noteContacts">;
  /** The node is on its way out. */
  readonly over: () => boolean;
  /** The cluster knows another address of this node: those who must be told the present one. */
  readonly moved: (addresses: readonly string[]) => void;
}

export function watchFiles(
  clock: Clock,
  intervalMs: number,
  storage: Pick<Storage, "lookForFiles">,
  over: () => boolean,
): void {
  const look = (): void => {
    if (over()) return;
    storage.lookForFiles();
    clock.after(intervalMs, look);
  };
  clock.after(intervalMs, look);
}

export function watchMembership(ports: WatchPorts, own: Member, raft: Raft): void {
  const { clock, log, storage } = ports;
  let wasMember = false;
  const look = (): void => {
    if (ports.over()) return;
    const members = membersOf(raft).map(({ member }) => member);
    const known = members.find((member) => memberId(member) === memberId(own));
    const others = members.filter((member) => member !== known).map(({ address }) => address);
    if (known !== undefined) {
      wasMember = true;
      storage.noteContacts(others);
      if (known.address !== own.address) tellAddress(known.address, others);
    } else if (wasMember) {
      wasMember = false;
      // Whoever was removed has no way back by itself, even if it loses its data.
      storage.noteContacts([]);
      log({ level: "warn", event: "removed", text: "this node was removed from the cluster; it can be stopped" });
    }
    clock.after(ports.intervalMs, look);
  };
  const tellAddress = (before: string, others: readonly string[]): void => {
    const text = `telling the cluster the new address ${own.address} (was ${before})`;
    log({ level: "info", event: "moved", text });
    ports.moved([own.address, ...others]);
  };
  clock.after(ports.intervalMs, look);
}
