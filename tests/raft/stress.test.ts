// Does Raft stay safe, and make progress again, when everything goes wrong at random? One seed, one run.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { nodeIdOf } from "../../src/raft/types.ts";
import { createCluster, type Cluster, type TestNode } from "./cluster.ts";
import { idOf, member } from "../kit/raft-samples.ts";

const NAMES = ["n1", "n2", "n3", "n4", "n5"];
const STEPS = 60;

interface Run {
  readonly c: Cluster;
  /** Whose disk was lost for good; its next incarnation asks to be let in. */
  wiped: TestNode | null;
  readonly reads: { readonly token: number; readonly committed: number }[];
}

function runSeed(seed: number): Cluster {
  const random = seededRandom(seed);
  const names = NAMES.slice(0, random.between(1, 5));
  const c = createCluster(names, {
    seed,
    maxAppendBytes: random.between(60, 400),
    keepLogBytes: random.between(0, 300),
  });
  const run: Run = { c, wiped: null, reads: [] };
  const slow = random.between(1, 30);
  c.setLatency(() => random.between(1, slow));
  for (const node of c.nodes.values()) node.diskMs = random.between(1, 20);
  const withChanges = random.chance(60);
  for (let at = 0; at < STEPS; at++) {
    disturb(run, random, withChanges);
    if (!withChanges && names.length >= 3 && random.chance(3)) wipe(run, names[random.below(names.length)]!);
    if (run.wiped !== null && random.chance(20)) rejoin(run, run.wiped);
    c.run(random.between(1, 120));
  }
  recover(run);
  checkReads(run);
  return c;
}

function disturb({ c, reads }: Run, random: ReturnType<typeof seededRandom>, withChanges: boolean): void {
  const all = [...c.nodes.values()];
  const pick = () => all[random.below(all.length)]!;
  const node = pick();
  const other = pick();
  const leader = c.leader();
  for (let count = random.below(4); count > 0; count--) c.propose((leader ?? node).id, `${random.below(1e9)}`);
  const committed = Math.max(0, ...c.history.keys());
  if (random.chance(30)) reads.push({ token: c.read((leader ?? node).id), committed });
  switch (random.below(withChanges ? 22 : 18) - 4) {
    case -4:
    case -3:
      if (leader !== null && node !== leader && node.raft !== null) fallBehind(c, leader, node, random);
      break;
    case -2:
      c.makeRoom(node.id, random.between(1, 20));
      break;
    case -1:
      node.room = random.below(4);
      node.places = random.below(3);
      break;
    case 0:
      if (node.raft !== null) c.crash(node.id, (["all", "entries", "nothing"] as const)[random.below(3)]);
      break;
    case 1:
      if (leader !== null && random.chance(50)) c.crash(leader.id);
      break;
    case 2:
    case 3:
      if (node.raft === null && node.stopped === null) c.start(node.id);
      break;
    case 4:
      if (node !== other) c.cut(node.id, other.id);
      break;
    case 5:
      c.isolate(node.id);
      break;
    case 6:
      if (node !== other) c.cutOneWay(node.id, other.id);
      break;
    case 7:
    case 12:
    case 13:
      c.heal();
      break;
    case 8:
      if (node.raft !== null && node.appliedIndex > 0) c.snapshot(node.id);
      break;
    case 9:
      if (node.raft !== null) c.hang(node.id, !node.hung);
      break;
    case 10:
      if (node.raft !== null) (node.paused ? c.resume : c.pause)(node.id);
      break;
    case 11:
      if (leader !== null) c.transfer(random.chance(50) ? null : nodeIdOf(node.id));
      break;
    case 14:
    case 15:
      if (leader !== null)
        c.change(leader.id, {
          type: "remove",
          ids: random.chance(50) ? [nodeIdOf(node.id)] : [...new Set([nodeIdOf(node.id), nodeIdOf(other.id)])],
        });
      break;
    case 16: {
      if (leader === null || c.nodes.size > 9) break;
      const id = `n${c.nodes.size + 1}`;
      c.join(id);
      c.change(leader.id, { type: "join", member: member(id), comesBack: false, byAdministrator: true });
      break;
    }
    case 17:
      if (leader !== null) {
        // Known already: at most its address changes.
        const [id = "", incarnation = ""] = node.id.split("@");
        c.change(leader.id, {
          type: "join",
          comesBack: true,
          byAdministrator: true,
          member: { ...member(id, incarnation), address: `127.0.0.1:${random.between(1, 3)}` },
        });
      }
      break;
  }
}

/** A node misses so much that it needs the leader's snapshot, and has little space for it. */
function fallBehind(c: Cluster, leader: TestNode, node: TestNode, random: ReturnType<typeof seededRandom>): void {
  c.isolate(node.id);
  node.room = random.below(3);
  node.places = random.below(2);
  for (let count = 0; count < 5; count++) c.propose(leader.id, `${random.below(1e9)}`);
  c.run(random.between(50, 300));
  if (leader.raft !== null && leader.appliedIndex > 0) c.snapshot(leader.id);
  c.run(random.between(1, 50));
  c.heal();
  for (let round = random.below(12); round > 0; round--) {
    c.run(random.between(1, 40));
    const next = c.leader();
    if (next !== null) c.propose(next.id, `${random.below(1e9)}`);
    if (next !== null && random.chance(15)) c.isolate(next.id);
    if (node.raft !== null && node.appliedIndex > 0 && random.chance(50)) c.snapshot(node.id);
  }
}

function wipe(run: Run, name: string): void {
  if (run.wiped !== null) return;
  run.wiped = run.c.at(name);
  if (run.wiped.raft !== null) run.c.crash(name);
  run.wiped.stopped = { code: "CORRUPT", message: "the disk was lost" };
  run.c.join(name, "2");
}

function rejoin({ c }: Run, wiped: TestNode): void {
  const leader = c.leader();
  if (leader !== null)
    c.change(leader.id, {
      type: "join",
      member: member(nodeIdOf(wiped.id), "2"),
      comesBack: true,
      byAdministrator: true,
    });
}

function untilSwapped(run: Run, wiped: TestNode): void {
  const next = idOf(nodeIdOf(wiped.id), "2");
  for (let tries = 0; tries < 40; tries++) {
    if (run.c.leader()?.raft?.members.voters.includes(next) === true) return;
    rejoin(run, wiped);
    run.c.run(500);
  }
  throw new Error(`${next} is not let in`);
}

/** Heals everything and demands a leader, agreement and progress. */
function recover(run: Run): void {
  const { c } = run;
  c.heal();
  for (const node of c.nodes.values()) {
    if (node.raft === null && node.stopped === null) c.start(node.id);
    c.makeRoom(node.id, Infinity);
    if (node.hung) c.hang(node.id, false);
    if (node.paused) c.resume(node.id);
  }
  c.elect();
  c.run(2_000);
  if (run.wiped !== null) untilSwapped(run, run.wiped);
  const token = c.propose(c.elect().id, "the end");
  c.run(1);
  c.converge(20_000);
  expect(c.answers.proposed.find((answer) => answer.token === token)?.ok).toBe(true);
  const stopped = [...c.nodes.values()].filter((node) => node.stopped !== null && node !== run.wiped);
  expect(stopped.map(({ id }) => id)).toEqual([]);
}

function checkReads({ c, reads }: Run): void {
  for (const { token, committed } of reads) {
    const answer = c.answers.read.find((one) => one.token === token);
    if (answer?.ok === true) expect(answer.index).toBeGreaterThanOrEqual(committed);
  }
}

/** `RAFT_SEED=508 bun test tests/raft/stress.test.ts` runs one seed; `RAFT_SEEDS` sets how many. */
const FIRST = Number(process.env["RAFT_SEED"] ?? 1);
const COUNT = Number(process.env["RAFT_SEEDS"] ?? (process.env["RAFT_SEED"] === undefined ? 100 : 1));
const PER_TEST = 25;

for (let from = FIRST; from < FIRST + COUNT; from += PER_TEST) {
  const to = Math.min(from + PER_TEST, FIRST + COUNT) - 1;
  test(`seeds ${from} to ${to}: under crashes, cuts, hung and full disks, snapshots, transfers and changes nothing committed is lost, and the cluster recovers`, () => {
    for (let seed = from; seed <= to; seed++) {
      try {
        runSeed(seed);
      } catch (error) {
        throw new Error(`RAFT_SEED=${seed}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
      }
    }
  }, 60_000);
}
