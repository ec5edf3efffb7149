// Are our certificates what they should be, in the eyes of a library that is not ours?
import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureAuthority, hasAuthority, nodeTlsFlags } from "../../src/cluster/authority.ts";
import { createAuthority, issue } from "../../src/cluster/certificates.ts";
import { clusterLayout, tlsFiles } from "../../src/cluster/layout.ts";
import { materialProblem } from "../../src/wire/tls.ts";

const from = Date.UTC(2026, 0, 2, 3, 4, 5);

test("an authority signs itself and others; what it issues is no authority", () => {
  const validity = { from, to: Date.UTC(2036, 11, 31, 23, 59, 59) };
  const made = createAuthority("a town", validity);
  const authority = new X509Certificate(made.cert);
  const leaf = new X509Certificate(issue({ name: "a town", key: made.key }, "n1", "raftq:node:n1", validity).cert);
  expect(authority).toMatchObject({ ca: true, subject: "CN=a town", issuer: "CN=a town" });
  expect(authority.verify(authority.publicKey)).toBe(true);
  expect(leaf).toMatchObject({ ca: false, subject: "CN=n1", issuer: "CN=a town", subjectAltName: "URI:raftq:node:n1" });
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect(leaf.checkIssued(authority)).toBe(true);
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  expect([Date.parse(leaf.validFrom), Date.parse(leaf.validTo)]).toEqual([validity.from, validity.to]);
  expect(leaf.serialNumber).not.toBe(authority.serialNumber);
});

test("every length and every date has its own form, and all are read alike", () => {
  const { key } = createAuthority("x", { from, to: from + 1_000 });
  for (const year of [2027, 2049, 2050, 2126]) {
    for (const length of [1, 60, 100, 127, 128, 200, 250, 300]) {
      const to = Date.UTC(year, 5, 6, 7, 8, 9);
      const uri = `raftq:${"u".repeat(length)}`;
      const leaf = new X509Certificate(issue({ name: "x", key }, "n1", uri, { from, to }).cert);
      expect(leaf.subjectAltName).toBe(`URI:${uri}`);
      expect(Date.parse(leaf.validTo)).toBe(to);
    }
  }
});

function inDirectory(work: (root: string) => void): void {
  const root = mkdtempSync(join(tmpdir(), "raftq-authority-"));
  try {
    work(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test("a cluster's authority is made once and complete; keys are readable by their owner only", () =>
  inDirectory((root) => {
    const layout = clusterLayout(root, "town");
    mkdirSync(layout.directory, { recursive: true });
    expect(nodeTlsFlags(layout, "n1")).toEqual([]);
    ensureAuthority(layout);
    const before = readFileSync(tlsFiles(layout, "ca").cert, "utf8");
    ensureAuthority(layout);
    expect(readFileSync(tlsFiles(layout, "ca").cert, "utf8")).toBe(before);
    const [, cert, , key, , ca] = nodeTlsFlags(layout, "n1");
    expect(hasAuthority(layout)).toBe(true);
    expect({ cert, key, ca }).toEqual({ ...tlsFiles(layout, "n1") });
    expect(readdirSync(layout.directory)).toEqual(["tls"]);
    expect(statSync(layout.tlsDirectory).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(layout.tlsDirectory).filter((file) => file.endsWith(".key")))
      expect(statSync(join(layout.tlsDirectory, name)).mode & 0o777).toBe(0o600);
    for (const owner of ["n1", "admin", "client", "read-only"]) {
      const files = tlsFiles(layout, owner);
      const text = (path: string): string => readFileSync(path, "utf8");
      expect(materialProblem({ cert: text(files.cert), key: text(files.key), ca: text(files.ca) })).toBeNull();
      expect(new X509Certificate(text(files.cert)).checkIssued(new X509Certificate(text(files.ca)))).toBe(true);
    }
    // The next start shows the same certificate.
    const shown = readFileSync(tlsFiles(layout, "n1").cert, "utf8");
    nodeTlsFlags(layout, "n1");
    expect(readFileSync(tlsFiles(layout, "n1").cert, "utf8")).toBe(shown);
  }));
