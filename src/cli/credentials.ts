// The credentials that were given: flags in; what this process shows to others, and can read again while it runs, out.
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fstatSync, openSync, readFileSync } from "node:fs";
import { type Layout, tlsFiles } from "../cluster/layout.ts";
import { RaftqError } from "../lib/errors.ts";
import { PROOF_NONCE_BYTES, parseSecrets, type Secret } from "../wire/secret.ts";
import type { Credentials } from "../wire/tcp.ts";
import { materialProblem, type TlsMaterial } from "../wire/tls.ts";
import type { Arguments, Values } from "./arguments.ts";

export const CREDENTIAL_ARGUMENTS = {
  "tls-cert": {
    type: "string",
    description: "This side's certificate, with its intermediates (PEM); together with --tls-key and --tls-ca",
    environment: "RAFTQ_TLS_CERT",
    valueHint: "file",
  },
  "tls-key": {
    type: "string",
    description: "The key of that certificate (PEM, readable by its owner only)",
    environment: "RAFTQ_TLS_KEY",
    valueHint: "file",
  },
  "tls-ca": {
    type: "string",
    description: "The authority that the certificates of all others must come from (PEM)",
    environment: "RAFTQ_TLS_CA",
    valueHint: "file",
  },
  "secret-file": {
    type: "string",
    description: "Secrets that both sides must know, for trusted networks; instead of TLS",
    environment: "RAFTQ_SECRET_FILE",
    valueHint: "file",
  },
} as const satisfies Arguments;

export type CredentialFiles =
  | { readonly type: "tls"; readonly cert: string; readonly key: string; readonly ca: string }
  | { readonly type: "secret"; readonly file: string };

const usage = (message: string): RaftqError => new RaftqError("USAGE", message);

/** Null: none were given. */
export function credentialFiles(values: Values<typeof CREDENTIAL_ARGUMENTS>): CredentialFiles | null {
  const { "tls-cert": cert, "tls-key": key, "tls-ca": ca, "secret-file": file } = values;
  const tls = [cert, key, ca].filter((path) => path !== undefined).length;
  if (tls > 0 && file !== undefined) throw usage("--secret-file is instead of TLS: leave out one of the two.");
  if (file !== undefined) return { type: "secret", file };
  if (tls === 0) return null;
  if (cert === undefined || key === undefined || ca === undefined)
    throw usage("TLS needs all three of --tls-cert, --tls-key and --tls-ca.");
  return { type: "tls", cert, key, ca };
}

/** Of a local cluster that has its own authority; null: it has none. */
export function localCredentials(layout: Layout, role: "admin" | "client"): CredentialFiles | null {
  const files = tlsFiles(layout, role);
  return existsSync(files.ca) ? { type: "tls", ...files } : null;
}

export interface OpenedCredentials {
  readonly credentials: Credentials;
  /** Reads the files again. Throws RaftqError, and keeps what it had, when they cannot be used. */
  reload(): void;
}

export function openCredentials(files: CredentialFiles): OpenedCredentials {
  return files.type === "tls" ? openTls(files) : openSecrets(files.file);
}

function openTls(files: CredentialFiles & { readonly type: "tls" }): OpenedCredentials {
  if (process.env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0")
    throw usage("NODE_TLS_REJECT_UNAUTHORIZED=0 is set, and means that any certificate will do: unset it.");
  let material = readMaterial(files);
  const listeners: ((material: TlsMaterial) => void)[] = [];
  return {
    credentials: {
      type: "tls",
      material: () => material,
      onRenewed: (listener) => void listeners.push(listener),
    },
    reload: () => {
      const next = readMaterial(files);
      for (const listener of listeners) listener(next);
      material = next;
    },
  };
}

function readMaterial({ cert, key, ca }: CredentialFiles & { readonly type: "tls" }): TlsMaterial {
  const material = {
    cert: readText(cert, "--tls-cert"),
    key: readPrivate(key, "--tls-key"),
    ca: readText(ca, "--tls-ca"),
  };
  const problem = materialProblem(material);
  if (problem !== null) throw usage(`${cert} and ${key} cannot be used: ${problem}.`);
  return material;
}

function openSecrets(file: string): OpenedCredentials {
  const read = (): readonly Secret[] => parseSecrets(readPrivate(file, "--secret-file"), file);
  let secrets = read();
  return {
    credentials: {
      type: "secret",
      secrets: { secrets: () => secrets, drawNonce: () => new Uint8Array(randomBytes(PROOF_NONCE_BYTES)) },
    },
    reload: () => {
      secrets = read();
    },
  };
}

function readText(path: string, flag: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw usage(`cannot read ${flag} ${path}: ${error instanceof Error ? error.message : String(error)}.`);
  }
}

/** A file that only its owner, who runs this, can read: what others may have read is no secret. */
function readPrivate(path: string, flag: string): string {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw usage(`cannot read ${flag} ${path}: ${error instanceof Error ? error.message : String(error)}.`);
  }
  try {
    const { mode, uid } = fstatSync(file);
    if (uid !== process.geteuid?.()) throw usage(`${flag} ${path} belongs to another user: make it your own.`);
    if ((mode & 0o077) !== 0) throw usage(`${flag} ${path} can be read by others: chmod 600 ${path}.`);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}
