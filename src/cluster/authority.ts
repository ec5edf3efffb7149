// Issues the certificates of a local cluster: an authority of its own in `.raftq/<name>/tls/`, its key beside it,
// and a certificate for every node and every role.
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLUSTER } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { type Certified, createAuthority, issue, type Validity } from "./certificates.ts";
import { type Layout, tlsFiles } from "./layout.ts";

const ROLES = ["admin", "client", "read-only"];

export function hasAuthority(layout: Layout): boolean {
  return existsSync(layout.tlsDirectory);
}

/** Makes the authority and the certificates of the roles, once: complete or not at all, also when another process does the same. */
export async function ensureAuthority(layout: Layout): Promise<void> {
  if (hasAuthority(layout)) return;
  try {
    const draft = mkdtempSync(`${layout.tlsDirectory}.draft-`);
    const name = `raftq ${layout.name} ${randomBytes(4).toString("hex")}`;
    const authority = await createAuthority(name, validity());
    write(draft, "ca", authority);
    for (const role of ROLES) write(draft, role, await issue(authority, role, `raftq:role:${role}`, validity()));
    try {
      renameSync(draft, layout.tlsDirectory);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      if (!hasAuthority(layout)) throw error;
    }
  } catch (error) {
    throw unwritable(layout, error);
  }
}

/** Issues the certificate of node `id`, where there is an authority and no such certificate yet. */
export async function ensureNodeCertificate(layout: Layout, id: string): Promise<void> {
  const { cert, ca } = tlsFiles(layout, id);
  if (!hasAuthority(layout) || existsSync(cert)) return;
  try {
    const authority = { cert: readFileSync(ca, "utf8"), key: readFileSync(tlsFiles(layout, "ca").key, "utf8") };
    write(layout.tlsDirectory, id, await issue(authority, id, `raftq:node:${id}`, validity()));
  } catch (error) {
    throw unwritable(layout, error);
  }
}

/** The flags with which a node of a cluster with an authority starts; its certificate was issued before. */
export function nodeTlsFlags(layout: Layout, id: string): readonly string[] {
  if (!hasAuthority(layout)) return [];
  const { cert, key, ca } = tlsFiles(layout, id);
  return ["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca];
}

/** The certificate last, and in one step: where it is, its key is too. */
function write(directory: string, owner: string, { cert, key }: Certified): void {
  const path = join(directory, owner);
  rmSync(`${path}.key`, { force: true });
  writeFileSync(`${path}.key`, key, { mode: 0o600, flag: "wx", flush: true });
  writeFileSync(`${path}.crt.draft`, cert, { mode: 0o644, flush: true });
  renameSync(`${path}.crt.draft`, `${path}.crt`);
}

function validity(): Validity {
  const now = Date.now();
  return { from: now - CLUSTER.certificateSlackMs, to: now + CLUSTER.certificateMs };
}

const unwritable = (layout: Layout, error: unknown): RaftqError =>
  new RaftqError(
    "UNWRITABLE",
    `cannot make certificates in ${layout.tlsDirectory}: ${error instanceof Error ? error.message : String(error)}`,
    error,
  );
