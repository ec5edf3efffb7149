// How does a node come back that lost its data, was cut short on its way, or has nobody to help it? And what of disks and loops that
// stand still?
import { describe, expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import type { Backup, SimDisk } from "../sim/disk.ts";
import { anyDamage } from "./positions.ts";
import { createRing, type Ring } from "./ring.ts";

const SLOW_MS = 60_000;

const isData = (path: string): boolean => path === "meta" || path.startsWith("g0");
const dataOf = (backup: Backup): Backup => new Map([...backup].filter(([path]) => isData(path)));

/** Short when it fails: names and checksums. */
const shown = (backup: Backup): string[] =>
  [...backup].map(([path, bytes]) => `${path} ${bytes === null ? "/" : crc32(bytes)}`).sort();

const expectSame = (disk: Backup, other: Backup): void => expect(shown(disk)).toEqual(shown(other));

/** What a power cut leaves for sure: not the segment that was just being made ahead, nor a snapshot that was just begun. */
function durableOf(disk: SimDisk): Backup {
  const all = [...dataOf(disk.backup())];
  const files = all.filter(([path, bytes]) => bytes !== null && isDurable(disk, path, bytes));
  const directories = all.filter(
    ([path, bytes]) => bytes === null && files.some(([file]) => file.startsWith(`${path}/`)),
  );
  return new Map([...directories, ...files]);
}

function isDurable(disk: SimDisk, path: string, bytes: Uint8Array): boolean {
  const kept = disk.durable(path);
  return kept !== null && crc32(kept) === crc32(bytes);
}

/** More may be there: a power cut brings back files whose deletion was not synced. */
function expectStillThere(disk: Backup, before: Backup): void {
  const there = new Set(shown(disk));
  expect(shown(before).filter((file) => !there.has(file))).toEqual([]);
}

const damage = (disk: SimDisk): void => anyDamage.strike(disk);

const [A, B, C] = [3000, 3001, 3002] as const;
const eventsOf = (ring: Ring, port: number): string[] => ring.at(port).logged.map(({ event }) => event);

describe("on the way back", () => {
  test(
    "a kill or a power cut at any moment comes out right",
    () => {
      for (const how of ["kill", "powerCut"] as const) {
        const ring = createRing(3, how === "kill" ? 21 : 22);
        for (let round = 0; round < 24; round++) {
          const port = ring.ports[round % 3]!;
          ring.enqueue(2);
          ring.quiet();
          ring.end(port, "kill");
          damage(ring.testCluster.diskOf(port));
          const before = durableOf(ring.testCluster.diskOf(port));
          const back = ring.start(port);
          // Up to its first words, then through the moment when it is let in, up to its promotion.
          if (round >= 6)
            ring.until(
              "it was let in",
              () => eventsOf(ring, port).includes("quarantined") || back.stopped() !== undefined,
            );
          for (let steps = round < 6 ? round * 7 : (round - 6) * 4; steps > 0; steps--) ring.testCluster.step();
          const letIn = eventsOf(ring, port).includes("quarantined");
          ring.end(port, how);
          if (!letIn) expectStillThere(ring.testCluster.diskOf(port).backup(), before);
          ring.start(port);
          ring.untilWhole();
        }
        ring.expectEqualStates();
        ring.expectAllThere();
      }
    },
    SLOW_MS,
  );

  test("a node whose command names nobody asks the members that it knew", () => {
    const ring = createRing(3, 23);
    ring.end(B, "powerCut");
    damage(ring.testCluster.diskOf(B));
    ring.start(B, true);
    ring.untilWhole();
    ring.expectEqualStates();
  });

  test("it complains of nothing but its loss, and not of the incarnation that it was before", () => {
    for (const how of ["wipe", "damage"] as const) {
      const ring = createRing(3, 71);
      for (const port of [ring.leader(), ...ring.ports]) {
        ring.end(port, how === "wipe" ? "wipe" : "kill");
        if (how === "damage") damage(ring.testCluster.diskOf(port));
        const back = ring.start(port);
        ring.untilWhole();
        ring.enqueue(10);
        ring.testCluster.pass(3_000);
        const complaints = back.logged.filter(({ level }) => level === "warn" || level === "error");
        expect(complaints.map(({ event }) => event)).toEqual(how === "wipe" ? [] : ["damaged", "quarantined"]);
      }
    }
  });

  test("both slots of meta and the log at once: id and cluster are known from elsewhere", () => {
    const ring = createRing(3, 24);
    ring.end(B, "kill");
    const disk = ring.testCluster.diskOf(B);
    damage(disk);
    for (const slot of [0, 4096]) disk.flipBit("meta", slot + 40, 0);
    ring.start(B, true);
    ring.untilWhole();
    expect(ring.at(B).node.clusterId()).toBe(ring.at(A).node.clusterId());
  });

  test("without a majority it waits, changes nothing, and says why to whoever asks", () => {
    const ring = createRing(3, 25);
    for (const port of [A, B]) ring.end(port, "kill");
    const whole = ring.testCluster.diskOf(A).backup();
    for (const port of [A, B]) damage(ring.testCluster.diskOf(port));
    const before = ring.testCluster.diskOf(A).backup();
    for (const port of [A, B]) ring.start(port);
    ring.testCluster.pass(20_000);
    for (const port of [A, B]) {
      expect(ring.at(port).stopped()).toBeUndefined();
      expect(ring.at(port).node.inspect()).toBeNull();
      expect(eventsOf(ring, port)).not.toContain("quarantined");
      const answer = ring.askStatus(port);
      if (answer.type !== "failure") throw new Error(answer.type);
      expect(answer.failure.code).toBe("REJOINING");
      expect(answer.failure.message).toContain("is damaged at byte");
      expect(answer.failure.message).toContain("waiting to be let in");
      // Both quote what the other says: that must not grow from answer to answer.
      expect(answer.failure.message.length).toBeLessThan(400);
      // It says so once per node asked and reason, not at every attempt.
      expect(eventsOf(ring, port).filter((event) => event === "joining").length).toBeLessThan(12);
    }
    expectSame(dataOf(ring.testCluster.diskOf(A).backup()), dataOf(before));
    // A person puts back what a copy from the moment of its end holds: then there is a majority again.
    ring.end(A, "kill");
    ring.testCluster.diskOf(A).restore(whole);
    ring.start(A);
    ring.untilWhole();
    ring.expectAllThere();
  });

  test("alone there is nobody to ask: it ends with the advice, and changes nothing", () => {
    const ring = createRing(1, 26);
    ring.end(A, "kill");
    damage(ring.testCluster.diskOf(A));
    const before = ring.testCluster.diskOf(A).backup();
    const back = ring.start(A, true);
    ring.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("CORRUPT");
    expect(back.stopped()?.exitCode).toBe(8);
    expect(back.stopped()?.message).toContain("nobody to ask");
    expectSame(ring.testCluster.diskOf(A).backup(), before);
  });

  test("who was removed does not come back by damage", () => {
    const ring = createRing(3, 27);
    ring.remove(C);
    ring.until("it knows", () => eventsOf(ring, C).includes("removed"));
    ring.testCluster.pass(500);
    ring.end(C, "kill");
    damage(ring.testCluster.diskOf(C));
    const back = ring.start(C, true);
    ring.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("CORRUPT");
  });

  test("who was removed while it was down does not come back by damage, though its command names the others", () => {
    const ring = createRing(3, 35);
    if (ring.leader() === C) ring.lead(A);
    ring.until("another one leads", () => ring.leader() !== C);
    ring.end(C, "kill");
    ring.remove(C);
    damage(ring.testCluster.diskOf(C));
    const back = ring.start(C);
    ring.until("it ends", () => back.stopped() !== undefined);
    expect([back.stopped()?.code, back.stopped()?.exitCode]).toEqual(["REMOVED", 6]);
    expect(back.stopped()?.message).toContain("n3002 is no member of this cluster any more");
    const told = [A, B].flatMap((port) => ring.at(port).logged.filter(({ event }) => event === "refused"));
    expect(told.map(({ text }) => text).join()).toContain("n3002 is no member of this cluster any more");
    expect(ring.quarantined(C)).toEqual([]);
    ring.untilWhole();
    // With an empty directory it is a newcomer like any other.
    ring.end(C, "wipe");
    ring.start(C);
    const voters = () =>
      ring
        .at(A)
        .node.inspect()
        ?.raft.configuration.voters.map(({ id }) => String(id));
    ring.until("it is let in", () => voters()?.includes("n3002") === true);
    ring.expectAllThere();
  });

  test("nor does it when only the notes beside its data know the cluster", () => {
    const ring = createRing(3, 36);
    if (ring.leader() === C) ring.lead(A);
    ring.until("another one leads", () => ring.leader() !== C);
    ring.end(C, "kill");
    ring.remove(C);
    ring.testCluster.diskOf(C).flipBit("meta", 40, 0);
    ring.testCluster.diskOf(C).flipBit("meta", 4096 + 40, 0);
    const back = ring.start(C);
    ring.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("REMOVED");
  });

  test("nor by a new address", () => {
    const ring = createRing(3, 37);
    if (ring.leader() === C) ring.lead(A);
    ring.until("another one leads", () => ring.leader() !== C);
    ring.end(C, "kill");
    ring.remove(C);
    const moved = ring.testCluster.start(C, ring.ports, 3, { advertise: "127.0.0.1:3009", port: 3009 });
    ring.until("it ends", () => moved.stopped() !== undefined);
    expect(moved.stopped()?.code).toBe("REMOVED");
    expect(ring.at(A).node.inspect()?.raft.configuration.voters).toHaveLength(2);
  });

  test("swapped directories are refused on both nodes, and swapped back they are whole", () => {
    const ring = createRing(3, 28);
    for (const port of [B, C]) ring.end(port, "kill");
    const swap = (): void => {
      const [b, c] = [ring.testCluster.diskOf(B), ring.testCluster.diskOf(C)];
      const kept = b.backup();
      b.restore(c.backup());
      c.restore(kept);
    };
    swap();
    const before = ring.testCluster.diskOf(B).backup();
    for (const port of [B, C]) {
      const back = ring.start(port);
      ring.until("it ends", () => back.stopped() !== undefined);
      expect(back.stopped()?.code).toBe("FOREIGN_DIRECTORY");
      ring.end(port, "kill");
    }
    expectSame(ring.testCluster.diskOf(B).backup(), before);
    swap();
    for (const port of [B, C]) ring.start(port);
    ring.untilWhole();
    ring.expectAllThere();
  });
});

describe("damaged data that were set aside", () => {
  test("go when their room is needed, and only then", () => {
    const ring = createRing(3, 29);
    ring.end(B, "kill");
    damage(ring.testCluster.diskOf(B));
    ring.start(B);
    ring.untilWhole();
    ring.testCluster.pass(3_000);
    expect(ring.quarantined(B)).toEqual(["damaged-1"]);
    ring.testCluster.leave(B, 40 * 1024);
    ring.until("there is room again", () => ring.quarantined(B).length === 0);
    ring.enqueue(3);
    ring.untilWhole();
    ring.expectAllThere();
  });

  test("do not keep a node on a small disk from coming back", () => {
    const ring = createRing(3, 30);
    ring.end(B, "kill");
    damage(ring.testCluster.diskOf(B));
    ring.testCluster.leave(B, 8 * 1024);
    ring.start(B);
    ring.untilWhole();
    expect(ring.quarantined(B)).toEqual([]);
    ring.expectEqualStates();
    ring.expectAllThere();
  });
});

test("damaged data on a disk that only earlier ones have filled: those go, and the node comes back", () => {
  const ring = createRing(3, 38);
  for (const left of [Infinity, 0]) {
    ring.end(B, "kill");
    damage(ring.testCluster.diskOf(B));
    ring.testCluster.leave(B, left);
    ring.start(B);
    ring.untilWhole();
    // On a disk that is still low, the new ones go soon too.
    if (left > 0) expect(ring.quarantined(B)).toEqual(["damaged-1"]);
  }
  ring.testCluster.leave(B, Infinity);
  ring.expectEqualStates();
  ring.expectAllThere();
});

test("damaged data on a disk without any room: it stops with DISK_FULL, changes nothing, and comes back when there is some", () => {
  const ring = createRing(3, 34);
  ring.end(B, "kill");
  damage(ring.testCluster.diskOf(B));
  const before = ring.testCluster.diskOf(B).backup();
  ring.testCluster.leave(B, 0);
  const first = ring.start(B);
  ring.until("it ends", () => first.stopped() !== undefined);
  expect([first.stopped()?.code, first.stopped()?.exitCode]).toEqual(["DISK_FULL", 6]);
  ring.end(B, "kill");
  expectSame(dataOf(ring.testCluster.diskOf(B).backup()), dataOf(before));
  ring.testCluster.leave(B, Infinity);
  ring.start(B);
  ring.untilWhole();
  ring.expectAllThere();
});

describe("found while running", () => {
  test("an old but intact copy of a disk: the leader notices, and the node comes back by itself", () => {
    const ring = createRing(3, 31);
    const leader = ring.leader();
    const victim = ring.ports.find((port) => port !== leader)!;
    ring.end(victim, "kill");
    const old = ring.testCluster.diskOf(victim).backup();
    ring.start(victim);
    ring.untilWhole();
    ring.enqueue(4);
    ring.untilWhole();
    const before = ring.memberAt(victim);
    ring.end(victim, "kill");
    ring.testCluster.diskOf(victim).restore(old);
    const back = ring.start(victim);
    ring.untilWhole();
    expect(back.logged.find(({ event }) => event === "damaged")?.text).toContain("older than what it promised");
    expect(ring.memberAt(victim)).not.toBe(before);
    expect(ring.quarantined(victim)).toEqual(["damaged-1"]);
    ring.expectEqualStates();
    ring.expectAllThere();
  });

  test("a leader that finds its snapshot damaged when it is to be sent leads no more and comes back as a new incarnation", () => {
    const ring = createRing(5, 32);
    const leader = ring.leader();
    const behind = ring.ports.find((port) => port !== leader)!;
    const before = ring.memberAt(leader);
    ring.end(behind, "wipe");
    const parts = ring.testCluster
      .diskOf(leader)
      .files()
      .filter((path) => path.includes("/part-"));
    for (const path of parts) ring.testCluster.diskOf(leader).flipBit(path, 100, 1);
    ring.start(behind);
    ring.untilWhole();
    expect(ring.at(leader).stopped()).toBeUndefined();
    expect(eventsOf(ring, leader)).toContain("damaged");
    expect(ring.memberAt(leader)).not.toBe(before);
    ring.expectEqualStates();
    ring.expectAllThere();
  });

  test("who loses its data twice within a minute stops and leaves it to a person", () => {
    const ring = createRing(3, 33);
    const stale = (port: number): void => {
      ring.end(port, "kill");
      const old = ring.testCluster.diskOf(port).backup();
      ring.start(port);
      ring.untilWhole();
      ring.enqueue(2);
      ring.untilWhole();
      ring.end(port, "kill");
      ring.testCluster.diskOf(port).restore(old);
      ring.start(port);
    };
    const victim = ring.ports.find((port) => port !== ring.leader())!;
    stale(victim);
    ring.untilWhole();
    const { logged } = ring.at(victim);
    expect(logged.filter(({ event }) => event === "damaged").length).toBe(1);
    const parts = ring.testCluster
      .diskOf(victim)
      .files()
      .filter((path) => path.includes("/part-"));
    for (const path of parts) ring.testCluster.diskOf(victim).flipBit(path, 100, 1);
    for (const port of ring.ports) if (port !== victim && port !== ring.leader()) ring.lead(victim);
    const other = ring.ports.find((port) => port !== victim)!;
    ring.end(other, "wipe");
    ring.start(other);
    ring.until("it ends", () => ring.at(victim).stopped() !== undefined);
    expect(ring.at(victim).stopped()?.code).toBe("CORRUPT");
  });
});

test("who was told that its disk forgot what it had acknowledged never votes with it, also if it is killed at that moment", () => {
  const ring = createRing(3, 33);
  const leader = ring.leader();
  const [victim, third] = ring.ports.filter((port) => port !== leader) as [number, number];
  ring.end(victim, "kill");
  const old = ring.testCluster.diskOf(victim).backup();
  ring.start(victim);
  ring.untilWhole();
  // From here on only the leader and the victim have what is acknowledged.
  ring.testCluster.hang(third);
  ring.enqueue(2);
  ring.quiet();
  ring.end(victim, "kill");
  ring.testCluster.diskOf(victim).restore(old);
  const told = ring.start(victim);
  while (told.node.inspect() === null) ring.testCluster.step();
  while (told.node.inspect() !== null) ring.testCluster.step();
  // The life that was told is over, and the note for the next one is not written yet.
  for (const port of ring.ports) ring.end(port, port === third ? "powerCut" : "kill");
  ring.start(third);
  ring.start(victim);
  ring.testCluster.pass(3_000);
  expect(ring.ports.filter((port) => port !== leader && ring.roleOf(port) === "leader")).toEqual([]);
  ring.start(leader);
  ring.untilWhole();
  ring.expectAllThere();
});

describe("what stands still", () => {
  test("a leader whose disk hangs over an election timeout gives up, another one serves, and it follows when the disk answers", () => {
    const ring = createRing(3, 41);
    const leader = ring.leader();
    const letGo = ring.testCluster.hang(leader);
    const since = ring.testCluster.clock.now();
    ring.poke();
    ring.until("another leads", () => ring.ports.some((port) => port !== leader && ring.roleOf(port) === "leader"));
    expect(ring.testCluster.clock.now() - since).toBeLessThan(1_000);
    expect(ring.roleOf(leader)).not.toBe("leader");
    expect(ring.at(leader).logged.some(({ text }) => text.includes("own disk has not answered"))).toBe(true);
    ring.enqueue(5);
    ring.testCluster.pass(3_000);
    expect(ring.leader()).not.toBe(leader);
    letGo();
    ring.untilWhole();
    ring.expectEqualStates();
    ring.expectAllThere();
  });

  test("a follower whose disk hangs disturbs nobody: no term passes, everything is served", () => {
    const ring = createRing(3, 42);
    const leader = ring.leader();
    const term = ring.termOf(leader);
    const slow = ring.ports.find((port) => port !== leader)!;
    const letGo = ring.testCluster.hang(slow);
    ring.enqueue(20);
    ring.testCluster.pass(5_000);
    expect([ring.leader(), ring.termOf(leader)]).toEqual([leader, term]);
    letGo();
    ring.untilWhole();
    expect([ring.leader(), ring.termOf(leader)]).toEqual([leader, term]);
    ring.expectEqualStates();
    ring.expectAllThere();
  });

  test("a leader that stood still over an election timeout gives up by itself, also when nobody tells it of another", () => {
    const ring = createRing(3, 43);
    const leader = ring.leader();
    const heal = ring.testCluster.network.cut((from, to) => from === `n${leader}` || to === `n${leader}`, false);
    const wake = ring.testCluster.pause(leader);
    ring.testCluster.pass(2_000);
    wake();
    ring.until("it gives up", () => ring.roleOf(leader) !== "leader", 5);
    expect(ring.at(leader).logged.some(({ text }) => text.includes("it stood still for"))).toBe(true);
    heal();
    ring.enqueue(2);
    ring.untilWhole();
    ring.expectEqualStates();
    ring.expectAllThere();
  });
});
