// Does a leader know what a member has of a snapshot? Every part that it takes for received was once on that member's disk.
import type { Raft } from "../../src/raft/raft.ts";
import type { MemberId } from "../../src/raft/types.ts";
import { directoryOf, partPath } from "../../src/storage/snapshot/files.ts";

/** What is asked of a node's raft. */
type Sending = Pick<Raft, "self" | "progress"> & { readonly leadership: object | null };

export interface Transfers {
  /** After every callback into that node; `has`: is there such a file on its disk? */
  observe(name: string, raft: Sending, has: (path: string) => boolean): void;
}

export function createTransfers(fail: (what: string) => void): Transfers {
  /** The directories of the snapshots that are being sent to each member, each with the parts that were seen there. */
  const received = new Map<MemberId, Map<string, number>>();
  /** By leader: to whom it is sending. */
  const sending = new Map<string, readonly MemberId[]>();

  function receives({ self }: Sending, has: (path: string) => boolean): void {
    for (const [directory, parts] of received.get(self) ?? []) {
      let next = parts;
      while (has(partPath(directory, next))) next++;
      received.get(self)?.set(directory, next);
    }
  }

  function sends({ self, progress }: Sending): readonly MemberId[] {
    const members: MemberId[] = [];
    for (const { id, snapshot, matchIndex } of progress.values()) {
      if (snapshot === null) continue;
      members.push(id);
      const { meta, nextPart } = snapshot;
      const directories = received.get(id) ?? new Map<string, number>();
      received.set(id, directories);
      const directory = directoryOf(meta);
      const parts = directories.get(directory) ?? 0;
      directories.set(directory, parts);
      // A member that has all that it stands for needs no part of it.
      if (nextPart > parts && matchIndex < meta.index)
        fail(
          `${self} takes ${nextPart} parts of the snapshot at ${meta.index} for received by ${id}, which has had ${parts}`,
        );
    }
    return members;
  }

  return {
    observe: (name, raft, has) => {
      if (received.size > 0) receives(raft, has);
      const before = sending.get(name);
      const members = raft.leadership === null ? [] : sends(raft);
      if (members.length > 0) sending.set(name, members);
      else if (before !== undefined) sending.delete(name);
      if (before !== undefined && sending.size === 0) received.clear();
    },
  };
}
