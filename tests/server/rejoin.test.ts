// How does a node come back that lost its data, was cut short on its way, or has no member to help it? And what happens when disks or
// event loops stand still?
import { describe, expect, test } from "bun:test";
import { crc32 } from "../../src/lib/crc32.ts";
import type { Backup, SimDisk } from "../kit/simulated-disk.ts";
import { anyDamage } from "../kit/disk-damage.ts";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";

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

const damage = (disk: SimDisk): void => anyDamage.apply(disk);

const [A, B, C] = [3000, 3001, 3002] as const;
const eventsOf = (cluster: CheckedCluster, port: number): string[] => cluster.at(port).logged.map(({ event }) => event);

describe("on the way back", () => {
  test(
    "a kill or a power cut at any moment comes out right",
    () => {
      for (const how of ["kill", "powerCut"] as const) {
        const cluster = createCheckedCluster(3, how === "kill" ? 21 : 22);
        for (let round = 0; round < 24; round++) {
          const port = cluster.ports[round % 3]!;
          cluster.enqueue(2);
          cluster.quiet();
          cluster.end(port, "kill");
          damage(cluster.testCluster.diskOf(port));
          const before = durableOf(cluster.testCluster.diskOf(port));
          const back = cluster.start(port);
          // Up to its first messages, then through the moment when it is let in, up to its promotion.
          if (round >= 6)
            cluster.until(
              "it was let in",
              () => eventsOf(cluster, port).includes("quarantined") || back.stopped() !== undefined,
            );
          for (let steps = round < 6 ? round * 7 : (round - 6) * 4; steps > 0; steps--) cluster.testCluster.step();
          const letIn = eventsOf(cluster, port).includes("quarantined");
          cluster.end(port, how);
          if (!letIn) expectStillThere(cluster.testCluster.diskOf(port).backup(), before);
          cluster.start(port);
          cluster.untilWhole();
        }
        cluster.expectEqualStates();
        cluster.expectAllThere();
      }
    },
    SLOW_MS,
  );

  test("a node whose command names nobody asks the members that it knew", () => {
    const cluster = createCheckedCluster(3, 23);
    cluster.end(B, "powerCut");
    damage(cluster.testCluster.diskOf(B));
    cluster.start(B, true);
    cluster.untilWhole();
    cluster.expectEqualStates();
  });

  test("it complains of nothing but its loss, and not of the incarnation that it was before", () => {
    for (const how of ["wipe", "damage"] as const) {
      const cluster = createCheckedCluster(3, 71);
      for (const port of [cluster.leader(), ...cluster.ports]) {
        cluster.end(port, how === "wipe" ? "wipe" : "kill");
        if (how === "damage") damage(cluster.testCluster.diskOf(port));
        const back = cluster.start(port);
        cluster.untilWhole();
        cluster.enqueue(10);
        cluster.testCluster.pass(3_000);
        const complaints = back.logged.filter(({ level }) => level === "warn" || level === "error");
        expect(complaints.map(({ event }) => event)).toEqual(how === "wipe" ? [] : ["damaged", "quarantined"]);
      }
    }
  });

  test("both slots of meta and the log at once: id and cluster are known from elsewhere", () => {
    const cluster = createCheckedCluster(3, 24);
    cluster.end(B, "kill");
    const disk = cluster.testCluster.diskOf(B);
    damage(disk);
    for (const slot of [0, 4096]) disk.flipBit("meta", slot + 40, 0);
    cluster.start(B, true);
    cluster.untilWhole();
    expect(cluster.at(B).node.clusterId()).toBe(cluster.at(A).node.clusterId());
  });

  test("without a majority it waits, changes nothing, and answers every question with the reason", () => {
    const cluster = createCheckedCluster(3, 25);
    for (const port of [A, B]) cluster.end(port, "kill");
    const whole = cluster.testCluster.diskOf(A).backup();
    for (const port of [A, B]) damage(cluster.testCluster.diskOf(port));
    const before = cluster.testCluster.diskOf(A).backup();
    for (const port of [A, B]) cluster.start(port);
    cluster.testCluster.pass(20_000);
    for (const port of [A, B]) {
      expect(cluster.at(port).stopped()).toBeUndefined();
      expect(cluster.at(port).node.inspect()).toBeNull();
      expect(eventsOf(cluster, port)).not.toContain("quarantined");
      const answer = cluster.askStatus(port);
      if (answer.type !== "failure") throw new Error(answer.type);
      expect(answer.failure.code).toBe("REJOINING");
      expect(answer.failure.message).toContain("is damaged at byte");
      expect(answer.failure.message).toContain("waiting to be let in");
      // Both quote what the other answers: that must not grow from answer to answer.
      expect(answer.failure.message.length).toBeLessThan(400);
      // It reports that once per node asked and reason, not at every attempt.
      expect(eventsOf(cluster, port).filter((event) => event === "joining").length).toBeLessThan(12);
    }
    expectSame(dataOf(cluster.testCluster.diskOf(A).backup()), dataOf(before));
    // A person puts back what a copy from the moment of its end holds: then there is a majority again.
    cluster.end(A, "kill");
    cluster.testCluster.diskOf(A).restore(whole);
    cluster.start(A);
    cluster.untilWhole();
    cluster.expectAllThere();
  });

  test("alone there is nobody to ask: it ends with the advice, and changes nothing", () => {
    const cluster = createCheckedCluster(1, 26);
    cluster.end(A, "kill");
    damage(cluster.testCluster.diskOf(A));
    const before = cluster.testCluster.diskOf(A).backup();
    const back = cluster.start(A, true);
    cluster.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("CORRUPT");
    expect(back.stopped()?.exitCode).toBe(8);
    expect(back.stopped()?.message).toContain("nobody to ask");
    expectSame(cluster.testCluster.diskOf(A).backup(), before);
  });

  test("who was removed does not come back by damage", () => {
    const cluster = createCheckedCluster(3, 27);
    cluster.remove(C);
    cluster.until("it knows", () => eventsOf(cluster, C).includes("removed"));
    cluster.testCluster.pass(500);
    cluster.end(C, "kill");
    damage(cluster.testCluster.diskOf(C));
    const back = cluster.start(C, true);
    cluster.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("CORRUPT");
  });

  test("who was removed while it was down does not come back by damage, though its command names the others", () => {
    const cluster = createCheckedCluster(3, 35);
    if (cluster.leader() === C) cluster.lead(A);
    cluster.until("another one leads", () => cluster.leader() !== C);
    cluster.end(C, "kill");
    cluster.remove(C);
    damage(cluster.testCluster.diskOf(C));
    const back = cluster.start(C);
    cluster.until("it ends", () => back.stopped() !== undefined);
    expect([back.stopped()?.code, back.stopped()?.exitCode]).toEqual(["REMOVED", 6]);
    expect(back.stopped()?.message).toContain("n3002 is no member of this cluster any more");
    const refusals = [A, B].flatMap((port) => cluster.at(port).logged.filter(({ event }) => event === "refused"));
    expect(refusals.map(({ text }) => text).join()).toContain("n3002 is no member of this cluster any more");
    expect(cluster.quarantined(C)).toEqual([]);
    cluster.untilWhole();
    // With an empty directory it is a newcomer like any other.
    cluster.end(C, "wipe");
    cluster.start(C);
    const voters = () =>
      cluster
        .at(A)
        .node.inspect()
        ?.raft.configuration.voters.map(({ id }) => String(id));
    cluster.until("it is let in", () => voters()?.includes("n3002") === true);
    cluster.expectAllThere();
  });

  test("nor does it when only the notes beside its data know the cluster", () => {
    const cluster = createCheckedCluster(3, 36);
    if (cluster.leader() === C) cluster.lead(A);
    cluster.until("another one leads", () => cluster.leader() !== C);
    cluster.end(C, "kill");
    cluster.remove(C);
    cluster.testCluster.diskOf(C).flipBit("meta", 40, 0);
    cluster.testCluster.diskOf(C).flipBit("meta", 4096 + 40, 0);
    const back = cluster.start(C);
    cluster.until("it ends", () => back.stopped() !== undefined);
    expect(back.stopped()?.code).toBe("REMOVED");
  });

  test("nor by a new address", () => {
    const cluster = createCheckedCluster(3, 37);
    if (cluster.leader() === C) cluster.lead(A);
    cluster.until("another one leads", () => cluster.leader() !== C);
    cluster.end(C, "kill");
    cluster.remove(C);
    const moved = cluster.testCluster.start(C, cluster.ports, 3, { advertise: "127.0.0.1:3009", port: 3009 });
    cluster.until("it ends", () => moved.stopped() !== undefined);
    expect(moved.stopped()?.code).toBe("REMOVED");
    expect(cluster.at(A).node.inspect()?.raft.configuration.voters).toHaveLength(2);
  });

  test("swapped directories are refused on both nodes, and swapped back they are whole", () => {
    const cluster = createCheckedCluster(3, 28);
    for (const port of [B, C]) cluster.end(port, "kill");
    const swap = (): void => {
      const [b, c] = [cluster.testCluster.diskOf(B), cluster.testCluster.diskOf(C)];
      const kept = b.backup();
      b.restore(c.backup());
      c.restore(kept);
    };
    swap();
    const before = cluster.testCluster.diskOf(B).backup();
    for (const port of [B, C]) {
      const back = cluster.start(port);
      cluster.until("it ends", () => back.stopped() !== undefined);
      expect(back.stopped()?.code).toBe("FOREIGN_DIRECTORY");
      cluster.end(port, "kill");
    }
    expectSame(cluster.testCluster.diskOf(B).backup(), before);
    swap();
    for (const port of [B, C]) cluster.start(port);
    cluster.untilWhole();
    cluster.expectAllThere();
  });
});

describe("damaged data that were set aside", () => {
  test("go when their room is needed, and only then", () => {
    const cluster = createCheckedCluster(3, 29);
    cluster.end(B, "kill");
    damage(cluster.testCluster.diskOf(B));
    cluster.start(B);
    cluster.untilWhole();
    cluster.testCluster.pass(3_000);
    expect(cluster.quarantined(B)).toEqual(["damaged-1"]);
    cluster.testCluster.leave(B, 40 * 1024);
    cluster.until("there is room again", () => cluster.quarantined(B).length === 0);
    cluster.enqueue(3);
    cluster.untilWhole();
    cluster.expectAllThere();
  });

  test("do not keep a node on a small disk from coming back", () => {
    const cluster = createCheckedCluster(3, 30);
    cluster.end(B, "kill");
    damage(cluster.testCluster.diskOf(B));
    cluster.testCluster.leave(B, 8 * 1024);
    cluster.start(B);
    cluster.untilWhole();
    expect(cluster.quarantined(B)).toEqual([]);
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });
});

test("damaged data on a disk that only earlier ones have filled: those go, and the node comes back", () => {
  const cluster = createCheckedCluster(3, 38);
  for (const left of [Infinity, 0]) {
    cluster.end(B, "kill");
    damage(cluster.testCluster.diskOf(B));
    cluster.testCluster.leave(B, left);
    cluster.start(B);
    cluster.untilWhole();
    // On a disk that is still low, the new ones go soon too.
    if (left > 0) expect(cluster.quarantined(B)).toEqual(["damaged-1"]);
  }
  cluster.testCluster.leave(B, Infinity);
  cluster.expectEqualStates();
  cluster.expectAllThere();
});

test("damaged data on a disk without any room: it stops with DISK_FULL, changes nothing, and comes back when there is some", () => {
  const cluster = createCheckedCluster(3, 34);
  cluster.end(B, "kill");
  damage(cluster.testCluster.diskOf(B));
  const before = cluster.testCluster.diskOf(B).backup();
  cluster.testCluster.leave(B, 0);
  const first = cluster.start(B);
  cluster.until("it ends", () => first.stopped() !== undefined);
  expect([first.stopped()?.code, first.stopped()?.exitCode]).toEqual(["DISK_FULL", 6]);
  cluster.end(B, "kill");
  expectSame(dataOf(cluster.testCluster.diskOf(B).backup()), dataOf(before));
  cluster.testCluster.leave(B, Infinity);
  cluster.start(B);
  cluster.untilWhole();
  cluster.expectAllThere();
});

describe("found while running", () => {
  test("an old but intact copy of a disk: the leader notices, and the node comes back by itself", () => {
    const cluster = createCheckedCluster(3, 31);
    const leader = cluster.leader();
    const victim = cluster.ports.find((port) => port !== leader)!;
    cluster.end(victim, "kill");
    const old = cluster.testCluster.diskOf(victim).backup();
    cluster.start(victim);
    cluster.untilWhole();
    cluster.enqueue(4);
    cluster.untilWhole();
    const before = cluster.memberAt(victim);
    cluster.end(victim, "kill");
    cluster.testCluster.diskOf(victim).restore(old);
    const back = cluster.start(victim);
    cluster.untilWhole();
    expect(back.logged.find(({ event }) => event === "damaged")?.text).toContain("older than what it promised");
    expect(cluster.memberAt(victim)).not.toBe(before);
    expect(cluster.quarantined(victim)).toEqual(["damaged-1"]);
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });

  test("a leader that finds its snapshot damaged when it is to be sent leads no more and comes back as a new incarnation", () => {
    const cluster = createCheckedCluster(5, 32);
    const leader = cluster.leader();
    const behind = cluster.ports.find((port) => port !== leader)!;
    const before = cluster.memberAt(leader);
    cluster.end(behind, "wipe");
    const parts = cluster.testCluster
      .diskOf(leader)
      .files()
      .filter((path) => path.includes("/part-"));
    for (const path of parts) cluster.testCluster.diskOf(leader).flipBit(path, 100, 1);
    cluster.start(behind);
    cluster.untilWhole();
    expect(cluster.at(leader).stopped()).toBeUndefined();
    expect(eventsOf(cluster, leader)).toContain("damaged");
    expect(cluster.memberAt(leader)).not.toBe(before);
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });

  test("who loses its data twice within a minute stops and leaves it to a person", () => {
    const cluster = createCheckedCluster(3, 33);
    const stale = (port: number): void => {
      cluster.end(port, "kill");
      const old = cluster.testCluster.diskOf(port).backup();
      cluster.start(port);
      cluster.untilWhole();
      cluster.enqueue(2);
      cluster.untilWhole();
      cluster.end(port, "kill");
      cluster.testCluster.diskOf(port).restore(old);
      cluster.start(port);
    };
    const victim = cluster.ports.find((port) => port !== cluster.leader())!;
    stale(victim);
    cluster.untilWhole();
    const { logged } = cluster.at(victim);
    expect(logged.filter(({ event }) => event === "damaged").length).toBe(1);
    const parts = cluster.testCluster
      .diskOf(victim)
      .files()
      .filter((path) => path.includes("/part-"));
    for (const path of parts) cluster.testCluster.diskOf(victim).flipBit(path, 100, 1);
    for (const port of cluster.ports) if (port !== victim && port !== cluster.leader()) cluster.lead(victim);
    const other = cluster.ports.find((port) => port !== victim)!;
    cluster.end(other, "wipe");
    cluster.start(other);
    cluster.until("it ends", () => cluster.at(victim).stopped() !== undefined);
    expect(cluster.at(victim).stopped()?.code).toBe("CORRUPT");
  });
});

test("a node that learns that its disk forgot what it had acknowledged never votes with it, also if it is killed at that moment", () => {
  const cluster = createCheckedCluster(3, 33);
  const leader = cluster.leader();
  const [victim, third] = cluster.ports.filter((port) => port !== leader) as [number, number];
  cluster.end(victim, "kill");
  const old = cluster.testCluster.diskOf(victim).backup();
  cluster.start(victim);
  cluster.untilWhole();
  // From here on only the leader and the victim have what is acknowledged.
  cluster.testCluster.hang(third);
  cluster.enqueue(2);
  cluster.quiet();
  cluster.end(victim, "kill");
  cluster.testCluster.diskOf(victim).restore(old);
  const outdated = cluster.start(victim);
  while (outdated.node.inspect() === null) cluster.testCluster.step();
  while (outdated.node.inspect() !== null) cluster.testCluster.step();
  // The run that learned it has ended, and the note for the next one is not written yet.
  for (const port of cluster.ports) cluster.end(port, port === third ? "powerCut" : "kill");
  cluster.start(third);
  cluster.start(victim);
  cluster.testCluster.pass(3_000);
  expect(cluster.ports.filter((port) => port !== leader && cluster.roleOf(port) === "leader")).toEqual([]);
  cluster.start(leader);
  cluster.untilWhole();
  cluster.expectAllThere();
});

describe("what stands still", () => {
  test("a leader whose disk hangs over an election timeout gives up, another one serves, and it follows when the disk answers", () => {
    const cluster = createCheckedCluster(3, 41);
    const leader = cluster.leader();
    const letGo = cluster.testCluster.hang(leader);
    const since = cluster.testCluster.clock.now();
    cluster.poke();
    cluster.until("another leads", () =>
      cluster.ports.some((port) => port !== leader && cluster.roleOf(port) === "leader"),
    );
    expect(cluster.testCluster.clock.now() - since).toBeLessThan(1_000);
    expect(cluster.roleOf(leader)).not.toBe("leader");
    expect(cluster.at(leader).logged.some(({ text }) => text.includes("own disk has not answered"))).toBe(true);
    cluster.enqueue(5);
    cluster.testCluster.pass(3_000);
    expect(cluster.leader()).not.toBe(leader);
    letGo();
    cluster.untilWhole();
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });

  test("a follower whose disk hangs disturbs nobody: no term passes, everything is served", () => {
    const cluster = createCheckedCluster(3, 42);
    const leader = cluster.leader();
    const term = cluster.termOf(leader);
    const slow = cluster.ports.find((port) => port !== leader)!;
    const letGo = cluster.testCluster.hang(slow);
    cluster.enqueue(20);
    cluster.testCluster.pass(5_000);
    expect([cluster.leader(), cluster.termOf(leader)]).toEqual([leader, term]);
    letGo();
    cluster.untilWhole();
    expect([cluster.leader(), cluster.termOf(leader)]).toEqual([leader, term]);
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });

  test("a leader that stood still over an election timeout gives up by itself, also when it receives nothing of another one", () => {
    const cluster = createCheckedCluster(3, 43);
    const leader = cluster.leader();
    const heal = cluster.testCluster.network.cut((from, to) => from === `n${leader}` || to === `n${leader}`, false);
    const wake = cluster.testCluster.pause(leader);
    cluster.testCluster.pass(2_000);
    wake();
    cluster.until("it gives up", () => cluster.roleOf(leader) !== "leader", 5);
    expect(cluster.at(leader).logged.some(({ text }) => text.includes("it stood still for"))).toBe(true);
    heal();
    cluster.enqueue(2);
    cluster.untilWhole();
    cluster.expectEqualStates();
    cluster.expectAllThere();
  });
});
