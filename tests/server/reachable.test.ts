// Is what a node reports about other members true? A member is reachable if it answered within the last second, under its
// present incarnation.
import { describe, expect, test } from "bun:test";
import { SERVER } from "../../src/config.ts";
import { anyDamage } from "../kit/disk-damage.ts";
import { createCheckedCluster, type CheckedCluster } from "./checked-cluster.ts";

/** The claim may be so old; and a look at the cluster takes a moment. */
const STALE_MS = SERVER.reachableMs + 100;
/** A link that was given up is dialed again meanwhile. */
const BACK_MS = 1_500;

/** The ports that the node at `port` calls reachable. */
function reachableFrom(cluster: CheckedCluster, port: number): readonly number[] {
  const members = cluster.at(port).node.status()?.members ?? [];
  return members.filter(({ reachable }) => reachable).map(({ address }) => Number(address.split(":")[1]));
}

const followers = (cluster: CheckedCluster): readonly number[] =>
  cluster.ports.filter((port) => port !== cluster.leader());

function firstTwo(ports: readonly number[]): readonly [number, number] {
  const [first, second] = ports;
  if (first === undefined || second === undefined) throw new Error("two of them");
  return [first, second];
}

describe("reachable", () => {
  test("every member reports every other one as reachable, at any moment, while nothing but heartbeats happens", () => {
    const cluster = createCheckedCluster(5, 51);
    for (let ms = 0; ms < 15_000; ms += 50) {
      cluster.testCluster.pass(50);
      for (const port of cluster.ports) expect(reachableFrom(cluster, port)).toEqual(cluster.ports);
    }
  });

  test("a follower that stands still is not reachable for anybody, and is again when it goes on", () => {
    const cluster = createCheckedCluster(3, 52);
    const leader = cluster.leader();
    const [paused, other] = firstTwo(followers(cluster));
    const goOn = cluster.testCluster.pause(paused);
    cluster.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 20_000; ms += 250) {
      for (const port of [leader, other]) expect(reachableFrom(cluster, port)).not.toContain(paused);
      cluster.testCluster.pass(250);
    }
    goOn();
    cluster.testCluster.pass(BACK_MS);
    for (const port of cluster.ports) expect(reachableFrom(cluster, port)).toEqual(cluster.ports);
  });

  test("a member that lost power before it answered the hello is dialed again within seconds", () => {
    const cluster = createCheckedCluster(3, 55);
    const [lost, other] = firstTwo(followers(cluster));
    cluster.testCluster.pause(lost);
    for (const port of [cluster.leader(), other]) cluster.testCluster.network.reset(`n${lost}`, `n${port}`);
    cluster.testCluster.pass(200);
    cluster.end(lost, "powerCut");
    cluster.start(lost);
    cluster.testCluster.pass(STALE_MS + BACK_MS);
    for (const port of [cluster.leader(), other]) expect(reachableFrom(cluster, port)).toContain(lost);
  });

  test("without a majority who is left calls nobody else reachable", () => {
    const cluster = createCheckedCluster(3, 53);
    const leader = cluster.leader();
    const [paused, other] = firstTwo(followers(cluster));
    const goOn = [leader, paused].map((port) => cluster.testCluster.pause(port));
    cluster.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 20_000; ms += 250) {
      expect(reachableFrom(cluster, other)).toEqual([other]);
      cluster.testCluster.pass(250);
    }
    for (const wake of goOn) wake();
    cluster.testCluster.pass(BACK_MS);
    for (const port of cluster.ports) expect(reachableFrom(cluster, port)).toEqual(cluster.ports);
  });

  test("who is cut off is not reachable on either side, and is soon after the cut is over", () => {
    const cluster = createCheckedCluster(5, 54);
    const [cut] = firstTwo(followers(cluster));
    const others = cluster.ports.filter((port) => port !== cut);
    const heal = cluster.testCluster.network.cut((from, to) => (from === `n${cut}`) !== (to === `n${cut}`), true);
    cluster.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 30_000; ms += 500) {
      expect(reachableFrom(cluster, cut)).toEqual([cut]);
      for (const port of others) expect(reachableFrom(cluster, port)).toEqual(others);
      cluster.testCluster.pass(500);
    }
    heal();
    cluster.testCluster.pass(BACK_MS + 1_000);
    for (const port of cluster.ports) expect(reachableFrom(cluster, port)).toEqual(cluster.ports);
  });

  test("a node that has lost its data and is not let in yet is no reachable voter", () => {
    const cluster = createCheckedCluster(3, 55);
    const leader = cluster.leader();
    const [lost, other] = firstTwo(followers(cluster));
    cluster.end(lost, "kill");
    cluster.end(leader, "kill");
    anyDamage.apply(cluster.testCluster.diskOf(lost));
    cluster.start(lost);
    for (let ms = 0; ms < 10_000; ms += 250) {
      cluster.testCluster.pass(250);
      expect(reachableFrom(cluster, other)).toEqual([other]);
    }
  });
});
