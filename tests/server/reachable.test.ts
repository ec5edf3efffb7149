// Is what a node says about other members true? Reachable is who answered within the last second, under its present incarnation.
import { describe, expect, test } from "bun:test";
import { SERVER } from "../../src/config.ts";
import { anyDamage } from "./positions.ts";
import { createRing, type Ring } from "./ring.ts";

/** The claim may be so old; and a look at the ring takes a moment. */
const STALE_MS = SERVER.reachableMs + 100;
/** A link that was given up is dialed again meanwhile. */
const BACK_MS = 1_500;

/** The ports that the node at `port` calls reachable. */
function reachableFrom(ring: Ring, port: number): readonly number[] {
  const members = ring.at(port).node.status()?.members ?? [];
  return members.filter(({ reachable }) => reachable).map(({ address }) => Number(address.split(":")[1]));
}

const followers = (ring: Ring): readonly number[] => ring.ports.filter((port) => port !== ring.leader());

function firstTwo(ports: readonly number[]): readonly [number, number] {
  const [first, second] = ports;
  if (first === undefined || second === undefined) throw new Error("two of them");
  return [first, second];
}

describe("reachable", () => {
  test("all say so of all, at any moment, while nothing but heartbeats happens", () => {
    const ring = createRing(5, 51);
    for (let ms = 0; ms < 15_000; ms += 50) {
      ring.testCluster.pass(50);
      for (const port of ring.ports) expect(reachableFrom(ring, port)).toEqual(ring.ports);
    }
  });

  test("a follower that stands still is not reachable for anybody, and is again when it goes on", () => {
    const ring = createRing(3, 52);
    const leader = ring.leader();
    const [paused, other] = firstTwo(followers(ring));
    const goOn = ring.testCluster.pause(paused);
    ring.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 20_000; ms += 250) {
      for (const port of [leader, other]) expect(reachableFrom(ring, port)).not.toContain(paused);
      ring.testCluster.pass(250);
    }
    goOn();
    ring.testCluster.pass(BACK_MS);
    for (const port of ring.ports) expect(reachableFrom(ring, port)).toEqual(ring.ports);
  });

  test("a member that lost power before it answered the hello is dialed again within seconds", () => {
    const ring = createRing(3, 55);
    const [lost, other] = firstTwo(followers(ring));
    ring.testCluster.pause(lost);
    for (const port of [ring.leader(), other]) ring.testCluster.network.reset(`n${lost}`, `n${port}`);
    ring.testCluster.pass(200);
    ring.end(lost, "powerCut");
    ring.start(lost);
    ring.testCluster.pass(STALE_MS + BACK_MS);
    for (const port of [ring.leader(), other]) expect(reachableFrom(ring, port)).toContain(lost);
  });

  test("without a majority who is left calls nobody else reachable", () => {
    const ring = createRing(3, 53);
    const leader = ring.leader();
    const [paused, other] = firstTwo(followers(ring));
    const goOn = [leader, paused].map((port) => ring.testCluster.pause(port));
    ring.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 20_000; ms += 250) {
      expect(reachableFrom(ring, other)).toEqual([other]);
      ring.testCluster.pass(250);
    }
    for (const wake of goOn) wake();
    ring.testCluster.pass(BACK_MS);
    for (const port of ring.ports) expect(reachableFrom(ring, port)).toEqual(ring.ports);
  });

  test("who is cut off is not reachable on either side, and is soon after the cut is over", () => {
    const ring = createRing(5, 54);
    const [cut] = firstTwo(followers(ring));
    const others = ring.ports.filter((port) => port !== cut);
    const heal = ring.testCluster.network.cut((from, to) => (from === `n${cut}`) !== (to === `n${cut}`), true);
    ring.testCluster.pass(STALE_MS);
    for (let ms = 0; ms < 30_000; ms += 500) {
      expect(reachableFrom(ring, cut)).toEqual([cut]);
      for (const port of others) expect(reachableFrom(ring, port)).toEqual(others);
      ring.testCluster.pass(500);
    }
    heal();
    ring.testCluster.pass(BACK_MS + 1_000);
    for (const port of ring.ports) expect(reachableFrom(ring, port)).toEqual(ring.ports);
  });

  test("a node that has lost its data and is not let in yet is no reachable voter", () => {
    const ring = createRing(3, 55);
    const leader = ring.leader();
    const [lost, other] = firstTwo(followers(ring));
    ring.end(lost, "kill");
    ring.end(leader, "kill");
    anyDamage.strike(ring.testCluster.diskOf(lost));
    ring.start(lost);
    for (let ms = 0; ms < 10_000; ms += 250) {
      ring.testCluster.pass(250);
      expect(reachableFrom(ring, other)).toEqual([other]);
    }
  });
});
