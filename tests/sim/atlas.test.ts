// Does the atlas know how many disks may be struck? And does a damaged directory say so, wherever it is hit?
import { expect, test } from "bun:test";
import type { Configuration, Member } from "../../src/raft/types.ts";
import { isIncarnation, isNodeId, type MemberId, memberId } from "../../src/raft/types.ts";
import { createAtlas } from "./atlas.ts";

function member(name: string): Member {
  const incarnation = "0".repeat(15) + name.slice(1);
  if (!isNodeId(name) || !isIncarnation(incarnation)) throw new Error(name);
  return { id: name, incarnation, address: `127.0.0.1:300${name.slice(1)}` };
}

const idOf = (name: string): MemberId => memberId(member(name));
const group = (voters: readonly string[], outgoing: readonly string[] = []): Configuration => ({
  voters: voters.map(member),
  outgoing: outgoing.map(member),
  learners: [],
  removed: [],
});

test("of five voters two may lose their disks, not three", () => {
  const atlas = createAtlas(() => [group(["n1", "n2", "n3", "n4", "n5"])]);
  for (const name of ["n1", "n2"]) {
    expect(atlas.mayLose(idOf(name))).toBe(true);
    atlas.lose(idOf(name));
  }
  expect(atlas.mayLose(idOf("n3"))).toBe(false);
  expect(atlas.standing()).toBe("whole");
  atlas.lose(idOf("n3"));
  expect(atlas.standing()).toBe("broken");
});

test("a lost voter counts until another incarnation has taken its place", () => {
  let present = group(["n1", "n2", "n3"]);
  const atlas = createAtlas(() => [present]);
  atlas.lose(idOf("n1"));
  expect(atlas.mayLose(idOf("n2"))).toBe(false);
  present = group(["n4", "n2", "n3"], ["n1", "n2", "n3"]);
  expect(atlas.mayLose(idOf("n2"))).toBe(false);
  present = group(["n4", "n2", "n3"]);
  expect(atlas.mayLose(idOf("n2"))).toBe(true);
});

test("every configuration that may be in force must be served, in both its halves", () => {
  const atlas = createAtlas(() => [group(["n1", "n2", "n3", "n4", "n5"]), group(["n1", "n2", "n3"])]);
  atlas.lose(idOf("n1"));
  expect(atlas.mayLose(idOf("n4"))).toBe(true);
  expect(atlas.mayLose(idOf("n2"))).toBe(false);
  atlas.lose(idOf("n2"));
  expect(atlas.standing()).toBe("doubtful");
});

test("while no configuration is known nobody may lose anything", () => {
  expect(createAtlas(() => []).mayLose(idOf("n1"))).toBe(false);
});
