// Is what the course project took answered with the exact line to type, and nothing else taken for it?
import { expect, test } from "bun:test";
import { refuseCourseForm } from "../../src/cli/course-form.ts";

test.each([
  ["node localhost 3001 localhost 3000", "Type: raftq node --port 3001 --join localhost:3000."],
  ["node localhost 3000", "Type: raftq node --port 3000."],
  ["node 10.0.0.1 3001 10.0.0.2 3000", "Type: raftq node --port 3001 --host 10.0.0.1 --join 10.0.0.2:3000."],
  ["client localhost 3000 client01", "Type: raftq client --addr localhost:3000 --id client01"],
  ["client 10.0.0.1 3000", "Type: raftq client --addr 10.0.0.1:3000 --id c1"],
])("%p is answered: %p", (line, answer) => {
  expect(() => refuseCourseForm(line.split(" "))).toThrow(answer);
});

test.each([
  "node --port 3000",
  "node 3000",
  "node localhost x",
  "node a 1 b",
  "node a 1 b 2 c",
  "client --id 3000",
  "client enqueue 3000",
  "client enqueu 3000",
  "client dequeue 10 --json",
  "client localhost 3000 c1 more",
  "cluster up 3000",
])("%p is no such form", (line) => {
  expect(() => refuseCourseForm(line.split(" "))).not.toThrow();
});
