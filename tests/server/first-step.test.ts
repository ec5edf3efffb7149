// What a node does first with its directory: a table of contents and flags.
import { expect, test } from "bun:test";
import type { ClusterId, Incarnation, NodeId } from "../../src/raft/types.ts";
import { bootstrapEntry } from "../../src/server/bootstrap-rules.ts";
import { type FirstStep, firstStep } from "../../src/server/first-step.ts";
import type { Recovered } from "../../src/storage/types.ts";

const OWN = "127.0.0.1:3000";
const OTHER = "127.0.0.1:3001";
const LAST_KNOWN = "127.0.0.1:3002";
const CLUSTER = "00000000000000aa" as ClusterId;
const INCARNATION = "0000000000000001" as Incarnation;
const FIRST = bootstrapEntry([{ id: "n3000" as NodeId, incarnation: INCARNATION, address: OWN }]);

const EMPTY = {
  identity: { nodeId: "n3000" as NodeId, incarnation: INCARNATION, clusterId: null },
  entries: [],
  hadData: false,
  knownMembers: null,
};
const MEMBER = { ...EMPTY, identity: { ...EMPTY.identity, clusterId: CLUSTER }, entries: [FIRST], hadData: true };
const WIPED = {
  ...EMPTY,
  hadData: true,
  knownMembers: { nodeId: "n3000" as NodeId, clusterId: CLUSTER, addresses: [OWN, LAST_KNOWN] },
};

type Contents = Pick<Recovered, "identity" | "entries" | "hadData" | "knownMembers">;
type Flags = { readonly join: readonly string[]; readonly expect: number | null };
const NONE: Flags = { join: [], expect: null };
const JOIN: Flags = { join: [OTHER], expect: null };
const TOGETHER: Flags = { join: [OTHER], expect: 2 };

const CASES: readonly (readonly [string, Contents, Flags, FirstStep])[] = [
  ["an empty directory founds a cluster of one", EMPTY, NONE, { type: "foundAlone" }],
  ["with --join it asks to be let in", EMPTY, JOIN, { type: "join", addresses: [OTHER], known: null }],
  ["with --expect it founds together with others", EMPTY, TOGETHER, { type: "bootstrap" }],
  ["--expect 1 founds alone", EMPTY, { join: [], expect: 1 }, { type: "foundAlone" }],
  ["--expect 2 alone cannot be met, and does not found", EMPTY, { join: [], expect: 2 }, { type: "bootstrap" }],
  ["a member resumes", MEMBER, NONE, { type: "resume", clusterId: CLUSTER, others: [] }],
  ["whatever its flags are", MEMBER, TOGETHER, { type: "resume", clusterId: CLUSTER, others: [OTHER] }],
  [
    "killed before the cluster id was written, it follows from the first entry",
    { ...EMPTY, entries: [FIRST], hadData: true },
    TOGETHER,
    { type: "establish", entry: FIRST },
  ],
  ["a wiped log asks the last known members", WIPED, NONE, { type: "join", addresses: [LAST_KNOWN], known: CLUSTER }],
  [
    "and those of --join before them; it never founds, also with --expect",
    WIPED,
    TOGETHER,
    { type: "join", addresses: [OTHER, LAST_KNOWN], known: CLUSTER },
  ],
  ["without anybody to ask it is of no use", { ...EMPTY, hadData: true }, NONE, { type: "unusable" }],
  ["also with --expect", { ...EMPTY, hadData: true }, { join: [], expect: 3 }, { type: "unusable" }],
];

test.each(CASES.map(([name, ...rest]) => [name, rest] as const))("%s", (_, [contents, flags, step]) => {
  expect(firstStep({ ...flags, advertise: OWN }, contents)).toEqual(step);
});
