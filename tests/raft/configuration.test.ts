// Configurations: their bytes mean one thing only, and majorities over them always meet.
import { describe, expect, test } from "bun:test";
import { Malformed } from "../../src/lib/messagepack.ts";
import { bytesOf } from "../kit/handmade-messagepack.ts";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import {
  decodeConfiguration,
  encodeConfiguration,
  hasQuorum,
  memberSets,
  type MemberSets,
  quorumValue,
} from "../../src/raft/configuration.ts";
import type { Configuration, MemberId } from "../../src/raft/types.ts";
import { idOf, member, nodeId } from "../kit/raft-samples.ts";

const names = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => `n${from + at}`);
const voters = (...ids: string[]) => ids.map((id) => member(id));

describe("encoding", () => {
  test("a configuration comes back as it was, learners, their predecessors and removed nodes included", () => {
    const full: Configuration = {
      voters: voters("n1", "n2"),
      outgoing: voters("n1", "n3"),
      learners: [
        { ...member("n4"), replaces: null },
        { ...member("n2", "2"), replaces: idOf("n2") },
      ],
      removed: [
        { id: nodeId("n7"), readmitted: false },
        { id: nodeId("n4"), readmitted: true },
      ],
    };
    expect(decodeConfiguration(encodeConfiguration(full))).toEqual(full);
  });

  test("bytes that are cut off, too long, or hold an impossible value are refused", () => {
    const bytes = encodeConfiguration({ voters: voters("n1", "n2"), outgoing: [], learners: [], removed: [] });
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeConfiguration(bytes.subarray(0, length))).toThrow(Malformed);
    }
    expect(() => decodeConfiguration(new Uint8Array([...bytes, 0]))).toThrow(Malformed);
    const twice = encodeConfiguration({ voters: voters("n1", "n1"), outgoing: [], learners: [], removed: [] });
    expect(() => decodeConfiguration(twice)).toThrow("one node id stands twice");
    const both = encodeConfiguration({
      voters: voters("n1"),
      outgoing: [],
      learners: [{ ...member("n1"), replaces: null }],
      removed: [],
    });
    expect(() => decodeConfiguration(both)).toThrow("both a voter and a learner");
    const [n1, n2] = ["n1", "n2"].map((name) => ({ id: nodeId(name), readmitted: false }));
    const contradictions = [
      { learners: [], removed: [n1!], why: "both removed and a voter" },
      { learners: [{ ...member("n2"), replaces: null }], removed: [n2!], why: "both removed and a learner" },
      { learners: [], removed: [n2!, n2!], why: "twice among the removed nodes" },
    ];
    for (const { why, ...rest } of contradictions) {
      const wrong = encodeConfiguration({ voters: voters("n1"), outgoing: [], ...rest });
      expect(() => decodeConfiguration(wrong)).toThrow(why);
    }
    const nobody = encodeConfiguration({ voters: [], outgoing: voters("n1"), learners: [], removed: [] });
    expect(() => decodeConfiguration(nobody)).toThrow("no voters");
    const badId = bytesOf([[["N 1", "1".repeat(16), "a:1"]], [], [], []]);
    expect(() => decodeConfiguration(badId)).toThrow("no node id");
  });

  test("flipping any one byte is refused or gives another configuration, never a crash", () => {
    const bytes = encodeConfiguration({ voters: voters("n1", "n2", "n3"), outgoing: [], learners: [], removed: [] });
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.slice();
      flipped[at] = (flipped[at] ?? 0) ^ 0xff;
      try {
        expect(encodeConfiguration(decodeConfiguration(flipped))).not.toEqual(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed);
      }
    }
  });
});

/** In every second round a joint configuration. */
function drawMembers(random: Random, round: number): MemberSets {
  const outgoing = round % 2 === 0 ? [] : voters(...names(random.between(1, 3), random.between(3, 6)));
  return memberSets({ voters: voters(...names(1, random.between(1, 7))), outgoing, learners: [], removed: [] });
}

describe("majorities", () => {
  test("two majorities of one configuration always share a voter, also while it is joint", () => {
    const random = seededRandom(3);
    for (let round = 0; round < 500; round++) {
      const sets = drawMembers(random, round);
      const draw = () => new Set(sets.all.filter(() => random.chance(60)));
      const [a, b] = [draw(), draw()];
      const bothWin = hasQuorum(sets, (id) => a.has(id)) && hasQuorum(sets, (id) => b.has(id));
      if (bothWin) expect([...a].some((id) => b.has(id))).toBe(true);
    }
  });

  test("the value that a majority has reached is the highest for which hasQuorum holds", () => {
    const random = seededRandom(4);
    for (let round = 0; round < 500; round++) {
      const sets = drawMembers(random, round);
      const values = new Map(sets.all.map((id) => [id, random.below(10)]));
      const valueOf = (id: MemberId) => values.get(id) ?? 0;
      const reached = quorumValue(sets, valueOf);
      expect(hasQuorum(sets, (id) => valueOf(id) >= reached)).toBe(true);
      expect(hasQuorum(sets, (id) => valueOf(id) >= reached + 1)).toBe(false);
    }
  });

  test("nobody has a majority of no voters", () => {
    const none = memberSets({ voters: [], outgoing: [], learners: [], removed: [] });
    expect(hasQuorum(none, () => true)).toBe(false);
    expect(quorumValue(none, () => 9)).toBe(0);
  });
});
