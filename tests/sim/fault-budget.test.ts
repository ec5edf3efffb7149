// Does the fault budget know how many disks may be struck? And does a damaged directory get recognised, wherever it is hit?
import { expect, test } from "bun:test";
import type { Configuration, Member } from "../../src/raft/types.ts";
import { isIncarnation, isNodeId, type MemberId, memberId } from "../../src/raft/types.ts";
import { createFaultBudget } from "./fault-budget.ts";

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
  const faultBudget = createFaultBudget(() => [group(["n1", "n2", "n3", "n4", "n5"])]);
  for (const name of ["n1", "n2"]) {
    expect(faultBudget.mayLose(idOf(name))).toBe(true);
    faultBudget.lose(idOf(name));
  }
  expect(faultBudget.mayLose(idOf("n3"))).toBe(false);
  expect(faultBudget.standing()).toBe("whole");
  faultBudget.lose(idOf("n3"));
  expect(faultBudget.standing()).toBe("broken");
});

test("a lost voter counts until another incarnation has taken its place", () => {
  let present = group(["n1", "n2", "n3"]);
  const faultBudget = createFaultBudget(() => [present]);
  faultBudget.lose(idOf("n1"));
  expect(faultBudget.mayLose(idOf("n2"))).toBe(false);
  present = group(["n4", "n2", "n3"], ["n1", "n2", "n3"]);
  expect(faultBudget.mayLose(idOf("n2"))).toBe(false);
  present = group(["n4", "n2", "n3"]);
  expect(faultBudget.mayLose(idOf("n2"))).toBe(true);
});

test("every configuration that may be in force must be served, in both its halves", () => {
  const faultBudget = createFaultBudget(() => [group(["n1", "n2", "n3", "n4", "n5"]), group(["n1", "n2", "n3"])]);
  faultBudget.lose(idOf("n1"));
  expect(faultBudget.mayLose(idOf("n4"))).toBe(true);
  expect(faultBudget.mayLose(idOf("n2"))).toBe(false);
  faultBudget.lose(idOf("n2"));
  expect(faultBudget.standing()).toBe("doubtful");
});

test("while no configuration is known nobody may lose anything", () => {
  expect(createFaultBudget(() => []).mayLose(idOf("n1"))).toBe(false);
});
