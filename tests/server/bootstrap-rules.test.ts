// Who may bootstrap a cluster? The rules on values: no network, no disk.
import { describe, expect, test } from "bun:test";
import {
  clusterIdOf,
  bootstrapEntry,
  bootstrapEntryFrom,
  bootstrapEntryOf,
  bootstrapSet,
  type BootstrapStatement,
  type FounderState,
  namesMember,
  nextBootstrapStep,
} from "../../src/server/bootstrap-rules.ts";
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import { encodeEntry, type Entry, fieldsOf } from "../../src/raft/entry.ts";
import {
  type ClusterId,
  type Configuration,
  type Incarnation,
  isIncarnation,
  isNodeId,
  type Member,
} from "../../src/raft/types.ts";

const incarnationOf = (digit: string): Incarnation => {
  const text = digit.repeat(16);
  if (!isIncarnation(text)) throw new Error(text);
  return text;
};
const node = (id: string, port: number, digit = "a"): Member => {
  if (!isNodeId(id)) throw new Error(id);
  return { id, incarnation: incarnationOf(digit), address: `127.0.0.1:${port}` };
};
const n1 = node("n1", 1, "1");
const n2 = node("n2", 2, "2");
const n3 = node("n3", 3, "3");
const set = bootstrapSet(["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:2"], "127.0.0.1:1");
const fresh: BootstrapStatement = { expect: 3, set, fresh: true, record: null };
const established = (record: Uint8Array | null): BootstrapStatement => ({ expect: 3, set, fresh: false, record });
/** What was received of other founders: their statement, and the cluster that their hello named, if they belong to one. */
const received = (
  ...statements: readonly (readonly [Member, BootstrapStatement, (readonly [ClusterId, readonly string[]])?])[]
): Map<string, FounderState> =>
  new Map(
    statements.map(([member, statement, [clusterId, members] = [null, []]]) => [
      member.address,
      { member, statement, clusterId, members },
    ]),
  );

describe("founding", () => {
  test("the set holds every founder once, this node included, in one order for all", () => {
    expect(bootstrapSet(["b:2", "a:1"], "c:3")).toEqual(["a:1", "b:2", "c:3"]);
    expect(bootstrapSet(["a:1", "b:2"], "a:1")).toEqual(["a:1", "b:2"]);
  });

  test("no node founds before all others have stated that they are fresh", () => {
    expect(nextBootstrapStep(n1, fresh, received([n2, fresh]))).toEqual({ type: "wait", missing: ["127.0.0.1:3"] });
  });

  test("only the lowest id founds, with exactly the founders that it received statements of", () => {
    const step = nextBootstrapStep(n1, fresh, received([n3, fresh], [n2, fresh]));
    expect(step.type).toBe("bootstrap");
    expect(step.type === "bootstrap" && step.members.map(({ id }) => id).toSorted()).toEqual([n1.id, n2.id, n3.id]);
    expect(nextBootstrapStep(n2, fresh, received([n3, fresh], [n1, fresh]))).toEqual({ type: "wait", missing: [] });
  });

  test("one founder that is not fresh stops the founding, even if all others are", () => {
    expect(nextBootstrapStep(n1, fresh, received([n2, fresh], [n3, established(null)]))).toEqual({ type: "join" });
  });

  describe("beside a cluster that exists", () => {
    const stranger = clusterIdOf(bootstrapEntry([node("n9", 2)]));
    const alone: BootstrapStatement = {
      expect: 1,
      set: [n2.address],
      fresh: false,
      record: bootstrapEntry([n2]).record,
    };
    const wipedN1 = { ...n1, incarnation: incarnationOf("9") };

    test("of strangers, which does not know this node, a founder refuses, even if others are fresh, and names what to type", () => {
      const met = [n2, alone, [stranger, [n2.address]]] as const;
      const step = nextBootstrapStep(n1, fresh, received([n3, fresh], met));
      expect(step).toEqual({
        type: "foreign",
        why: `${n2.address} belongs to cluster ${stranger} already, and this node is no member of it, but --expect 3 founds a new cluster of ${set.join(", ")}; to join the one that is there, leave out --expect`,
      });
      const compacted = [n2, { ...alone, record: null }, [stranger, [n2.address, "127.0.0.1:9"]]] as const;
      expect(nextBootstrapStep(n1, fresh, received(compacted)).type).toBe("foreign");
    });

    test("of its own founding, a founder that was wiped joins: by the founders' flags, their first entry or the members", () => {
      const own = clusterIdOf(bootstrapEntry([n1, n2, n3]));
      const { record } = bootstrapEntry([n1, n2, n3]);
      const members = [n2.address, n3.address];
      expect(nextBootstrapStep(wipedN1, fresh, received([n2, established(null), [own, members]]))).toEqual({
        type: "join",
      });
      expect(nextBootstrapStep(wipedN1, fresh, received([n2, { ...alone, record }, [own, members]]))).toEqual({
        type: "join",
      });
      const known = [n2, { ...alone, record: null }, [own, [n1.address, ...members]]] as const;
      expect(nextBootstrapStep(wipedN1, fresh, received(known))).toEqual({ type: "join" });
    });

    test("of which nothing is known yet, a founder asks to be let in, as ever", () => {
      expect(nextBootstrapStep(n1, fresh, received([n2, { ...alone, record: null }]))).toEqual({ type: "join" });
      expect(nextBootstrapStep(n1, fresh, received([n2, { ...alone, record: null }, [stranger, []]]))).toEqual({
        type: "join",
      });
    });
  });

  test("the first entry follows from the founders and is proven by the cluster's id, until the members change", () => {
    const entry = bootstrapEntry([n1, n2, n3]);
    const members = (...voters: readonly Member[]): Configuration => ({
      voters,
      outgoing: [],
      learners: [],
      removed: [],
    });
    expect(bootstrapEntryFrom(members(n3, n1, n2), clusterIdOf(entry))?.record).toEqual(entry.record);
    expect(bootstrapEntryFrom(members(n1, n2), clusterIdOf(entry))).toBeNull();
    const elsewhere = { ...n3, address: "127.0.0.1:4" };
    expect(bootstrapEntryFrom(members(n1, n2, elsewhere), clusterIdOf(entry))).toBeNull();
  });

  test("a founder adopts the entry that names its own incarnation, and no other", () => {
    const { record } = bootstrapEntry([n1, n2, n3]);
    expect(nextBootstrapStep(n2, fresh, received([n1, established(record)]))).toEqual({ type: "adopt", record });
    const wiped = { ...n2, incarnation: incarnationOf("9") };
    expect(nextBootstrapStep(wiped, fresh, received([n1, established(record)]))).toEqual({ type: "join" });
  });

  test("founders that state another number or another set refuse, and both are named", () => {
    const other = { ...fresh, expect: 2 };
    const step = nextBootstrapStep(n1, fresh, received([n2, other]));
    expect(step.type).toBe("refuse");
    expect(step.type === "refuse" && step.why).toContain("expects 3 founders");
    expect(step.type === "refuse" && step.why).toContain("expects 2 founders");
  });

  test("two founders with one id refuse", () => {
    const twin = { ...n1, address: n2.address, incarnation: incarnationOf("7") };
    expect(nextBootstrapStep(n1, fresh, received([twin, fresh])).type).toBe("refuse");
  });

  test("the first entry and the cluster id are the same for all founders, whatever order they met in", () => {
    const one = bootstrapEntry([n1, n2, n3]);
    const other = bootstrapEntry([n3, n1, n2]);
    expect(other.record).toEqual(one.record);
    expect(clusterIdOf(other)).toBe(clusterIdOf(one));
    expect(clusterIdOf(bootstrapEntry([n1, n2]))).not.toBe(clusterIdOf(one));
    expect(namesMember(one.record, n3)).toBe(true);
    expect(namesMember(one.record, { ...n3, incarnation: incarnationOf("8") })).toBe(false);
  });

  test("what no founder writes is not adopted, and does no harm: checksums do not prove who made a record", () => {
    const whole = bootstrapEntry([n1, n2]);
    const { body } = fieldsOf(whole);
    const draft = { kind: "config", session: 0, number: 0, acknowledgedThrough: 0, body } as const;
    const stamp = { index: 1, term: 1, time: 0, wall: 0 };
    const configurationOf = (more: Partial<Configuration>): Uint8Array =>
      encodeConfiguration({ voters: [n1, n2], outgoing: [], learners: [], removed: [], ...more });
    const forged: readonly Entry[] = [
      encodeEntry(stamp, { ...draft, body: body.subarray(0, -1) }),
      encodeEntry(stamp, { ...draft, body: Uint8Array.of(0xc1) }),
      encodeEntry(stamp, { ...draft, body: configurationOf({ learners: [{ ...n3, replaces: null }] }) }),
      encodeEntry(stamp, { ...draft, body: configurationOf({ outgoing: [n3] }) }),
      encodeEntry({ ...stamp, term: 2 ** 48 - 1 }, draft),
      encodeEntry({ ...stamp, time: 2 ** 48 - 1 }, draft),
      encodeEntry(stamp, { ...draft, session: 7 }),
    ];
    expect(nextBootstrapStep(n1, fresh, received([n2, established(whole.record)])).type).toBe("adopt");
    for (const { record } of forged) {
      expect(bootstrapEntryOf(record)).toBeNull();
      expect(namesMember(record, n1)).toBe(false);
      expect(nextBootstrapStep(n1, fresh, received([n2, established(record)]))).toEqual({ type: "join" });
    }
  });

  test("a damaged first entry is not adopted", () => {
    const { record } = bootstrapEntry([n1, n2, n3]);
    for (let at = 0; at < record.length; at++) {
      const damaged = record.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      expect(bootstrapEntryOf(damaged)).toBeNull();
    }
    expect(bootstrapEntryOf(record.subarray(0, record.length - 1))).toBeNull();
  });
});
