// Do the documents match the program, as far as that can be checked without the binary? The commands that need it run in
// tests/e2e/readme.e2e.ts.
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ERRORS, EXIT } from "../src/lib/errors.ts";
import { PINNED_BUN, ROOT } from "./scripts/project.ts";

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const manifest = JSON.parse(read("package.json")) as { version: string; scripts: Record<string, string> };

const documents = ["", "src", "tests"]
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: folder !== "", encoding: "utf8" }).map((name) => join(folder, name)),
  )
  .filter((path) => path.endsWith(".md"));

test("there are a README, a code map, a guide to the tests, what is defended, a protocol, a format and a changelog", () => {
  for (const path of [
    "README.md",
    "CHANGELOG.md",
    "src/README.md",
    "tests/README.md",
    "src/SECURITY.md",
    "src/wire/PROTOCOL.md",
    "src/storage/FORMAT.md",
  ]) {
    expect(documents).toContain(path);
  }
});

test("every document names the pinned Bun, and no other", () => {
  const others = documents.flatMap((path) =>
    [...read(path).matchAll(/\bbun@([\w.]+\w)/g)]
      .filter((match) => match[1] !== PINNED_BUN)
      .map((match) => `${path}: ${match[0]}`),
  );
  expect(others).toEqual([]);
  expect(read("README.md")).toContain(`npx --yes bun@${PINNED_BUN} run start`);
  expect(read("README.md")).toContain(`npx --yes bun@${PINNED_BUN} run test`);
});

test("every `bun run` script that a document names exists, and its file too", () => {
  for (const path of documents) {
    for (const [, name = ""] of read(path).matchAll(/\bbun(?:@[\d.]+)? run ([\w-]+)/g)) {
      expect({ path, name, script: manifest.scripts[name] }).toEqual({ path, name, script: expect.any(String) });
    }
  }
  for (const script of Object.values(manifest.scripts))
    expect(existsSync(join(ROOT, script.replace("bun ", "")))).toBe(true);
});

test("every link between documents leads somewhere", () => {
  const dead = documents.flatMap((path) =>
    [...read(path).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g)]
      .filter((match) => !existsSync(join(ROOT, dirname(path), match[1] as string)))
      .map((match) => `${path}: ${match[1]}`),
  );
  expect(dead).toEqual([]);
});

test("every file of this project that a document names exists", () => {
  const missing = documents.flatMap((path) =>
    [...read(path).matchAll(/`((?:src|tests|dist|\.ci)\/[\w./-]+\.(?:ts|md))`/g)]
      .filter((match) => !existsSync(join(ROOT, match[1] as string)))
      .map((match) => `${path}: ${match[1]}`),
  );
  expect(missing).toEqual([]);
});

test("the README's table of exit codes is complete", () => {
  const table = read("README.md").split("### Exit codes")[1]?.split("###")[0] ?? "";
  const codes = [...table.matchAll(/^\| (\d)\s+\|/gm)].map((match) => Number(match[1]));
  expect(codes).toEqual(Object.values(EXIT).toSorted((a, b) => a - b));
});

test("every error code has its place in the protocol", () => {
  const protocol = read("src/wire/PROTOCOL.md");
  const spoken = Object.entries(ERRORS)
    .filter(([, { class: kind }]) => kind !== "local")
    .map(([code]) => code);
  expect(spoken.filter((code) => !protocol.includes(code))).toEqual([]);
});

test("the lock file names no download address", () => {
  expect(read("bun.lock").match(/https?:\/\/[^"\s]+/g)).toBeNull();
});

test("the changelog begins with what is not released", () => {
  expect(/^## (.*)$/m.exec(read("CHANGELOG.md"))?.[1]).toBe("Unreleased");
});
