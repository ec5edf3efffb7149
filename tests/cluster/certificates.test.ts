// Are our certificates what they should be, in the eyes of a library that is not ours?
import { expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureAuthority, ensureNodeCertificate, hasAuthority, nodeTlsFlags } from "../../src/cluster/authority.ts";
import { createAuthority, issue } from "../../src/cluster/certificates.ts";
import { clusterLayout, tlsFiles } from "../../src/cluster/layout.ts";
import { materialProblem } from "../../src/wire/tls.ts";

const from = Date.UTC(2026, 0, 2, 3, 4, 5);

test("an authority signs itself and others; what it issues is no authority", async () => {
  const validity = { from, to: Date.UTC(2036, 11, 31, 23, 59, 59) };
  const made = await createAuthority("a town", validity);
  const authority = new X509Certificate(made.cert);
  const leaf = new X509Certificate((await issue(made, "n1", "raftq:node:n1", validity)).cert);
  expect(authority).toMatchObject({ ca: true, subject: "CN=a town", issuer: "CN=a town" });
  expect(authority.verify(authority.publicKey)).toBe(true);
  expect(leaf).toMatchObject({ ca: false, subject: "CN=n1", issuer: "CN=a town", subjectAltName: "URI:raftq:node:n1" });
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect(leaf.checkIssued(authority)).toBe(true);
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  expect([Date.parse(leaf.validFrom), Date.parse(leaf.validTo)]).toEqual([validity.from, validity.to]);
  expect(leaf.serialNumber).not.toBe(authority.serialNumber);
});

test("every length and every date has its own form, and all are read alike", async () => {
  const made = await createAuthority("x", { from, to: from + 1_000 });
  for (const year of [2027, 2049, 2050, 2126]) {
    for (const length of [1, 60, 100, 127, 128, 200, 250, 300]) {
      const to = Date.UTC(year, 5, 6, 7, 8, 9);
      const uri = `raftq:${"u".repeat(length)}`;
      const leaf = new X509Certificate((await issue(made, "n1", uri, { from, to })).cert);
      expect(leaf.subjectAltName).toBe(`URI:${uri}`);
      expect(Date.parse(leaf.validTo)).toBe(to);
    }
  }
});

test("what a certificate allows is what it did from the beginning, byte for byte", async () => {
  const made = await createAuthority("x", { from, to: from + 1_000 });
  const leaf = await issue(made, "n1", "raftq:node:n1", { from, to: from + 1_000 });
  const hex = (pem: string): string => Buffer.from(new X509Certificate(pem).raw).toString("hex");
  // Critical: an authority that has none below it; it signs certificates and lists of revoked ones.
  expect(hex(made.cert)).toContain("30120603551d130101ff040830060101ff020100300e0603551d0f0101ff040403020106");
  // Critical: no authority; its key is for signatures only. Then: as server and as client.
  expect(hex(leaf.cert)).toContain(
    "300c0603551d130101ff04023000300e0603551d0f0101ff040403020780301d0603551d250416301406082b0601050507030106082b06010505070302",
  );
  // Version 3; ECDSA with SHA-256; a name in UTF-8; a key on P-256; whole seconds.
  for (const pem of [made.cert, leaf.cert]) {
    expect(hex(pem)).toMatch(/^3082.{4}3082.{4}a003020102.*300a06082a8648ce3d040302/);
    expect(hex(pem)).toContain("0603550403" + "0c0178");
    expect(new X509Certificate(pem).publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  }
});

test("fractions of a second, which no certificate may have, are cut off", async () => {
  const to = Date.UTC(2126, 5, 6, 7, 8, 9, 987);
  const leaf = await issue(await createAuthority("x", { from: from + 123, to }), "n1", "raftq:node:n1", { from, to });
  const { raw, validTo } = new X509Certificate(leaf.cert);
  expect(Date.parse(validTo)).toBe(to - 987);
  expect(Buffer.from(raw).toString("latin1")).toContain("21260606070809Z");
});

test("an authority is followed by what stands in its certificate: an earlier raftq named its key another way", async () => {
  await import("reflect-metadata");
  const { PemConverter, SubjectKeyIdentifierExtension, X509CertificateGenerator } = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const made = await X509CertificateGenerator.createSelfSigned({
    name: "CN=earlier",
    keys,
    notBefore: new Date(from),
    signingAlgorithm: algorithm,
    extensions: [new SubjectKeyIdentifierExtension("00112233445566778899aabbccddeeff00112233")],
  });
  const pem = PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  const earlier = { cert: made.toString("pem"), key: pem };
  const leaf = new X509Certificate((await issue(earlier, "n1", "raftq:node:n1", { from, to: from + 1_000 })).cert);
  const authority = new X509Certificate(earlier.cert);
  expect(leaf.checkIssued(authority)).toBe(true);
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect(Buffer.from(leaf.raw).toString("hex")).toContain("0603551d230418301680140011223344556677");
});

async function inDirectory(work: (root: string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), "raftq-authority-"));
  try {
    await work(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

test("a cluster's authority is made once and complete; keys are readable by their owner only", () =>
  inDirectory(async (root) => {
    const layout = clusterLayout(root, "town");
    mkdirSync(layout.directory, { recursive: true });
    await ensureNodeCertificate(layout, "n1");
    expect(existsSync(layout.tlsDirectory)).toBe(false);
    expect(nodeTlsFlags(layout, "n1")).toEqual([]);
    await ensureAuthority(layout);
    const before = readFileSync(tlsFiles(layout, "ca").cert, "utf8");
    await ensureAuthority(layout);
    expect(readFileSync(tlsFiles(layout, "ca").cert, "utf8")).toBe(before);
    await ensureNodeCertificate(layout, "n1");
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
    await ensureNodeCertificate(layout, "n1");
    expect(readFileSync(tlsFiles(layout, "n1").cert, "utf8")).toBe(shown);
  }));
