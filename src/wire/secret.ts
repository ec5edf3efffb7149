// Proves that both sides have the same secret, without sending it: HMAC-SHA-256 over everything that both claim in the hello, under a
// label for each direction. The dialer proves first: an unauthenticated one gets nothing to guess secrets on.
import { createHmac, timingSafeEqual } from "node:crypto";
import { WIRE } from "../config.ts";
import { RaftqError } from "../lib/errors.ts";
import { choice, encode, list, nullable, tuple } from "../lib/layout.ts";
import type { Member } from "../raft/types.ts";
import { clusterId, MAX_LIST, member, name, PROOF_BYTES, proof, u32 } from "./fields.ts";
import { type Challenge, type Hello, type AccessRole, ROLES } from "./protocol.ts";

export interface Secret {
  /** Its holder may do what this role may do. */
  readonly role: AccessRole;
  readonly key: Uint8Array;
}

export interface SharedSecrets {
  /** Of one role, the first is the one to use; the others are accepted too, so that secrets can be changed one node at a time. */
  readonly secrets: () => readonly Secret[];
  /** 32 bytes that were never used before and cannot be predicted. */
  readonly drawNonce: () => Uint8Array;
}

/** What stands in the proofs of one connection. `challenge`: what the accepting side claims of itself. */
export interface Transcript {
  readonly hello: Hello & { readonly nonce: Uint8Array };
  readonly challenge: Pick<Challenge, "nonce" | "clusterId" | "node">;
}

export const PROOF_NONCE_BYTES = PROOF_BYTES;

const LABELS = { dialed: "raftq 1 dialed", accepted: "raftq 1 accepted" } as const;

/** What both sides prove under a shared secret: everything that they claimed of themselves (`secret.ts`). */
interface Proven {
  readonly label: string;
  readonly version: number;
  readonly features: readonly string[];
  readonly role: AccessRole;
  readonly clusterId: Hello["clusterId"];
  readonly node: Member | null;
  readonly nonce: Uint8Array;
  readonly acceptorClusterId: Hello["clusterId"];
  readonly acceptor: Member;
  readonly acceptorNonce: Uint8Array;
}

const proven = tuple<Proven>("what is proven", {
  label: name,
  version: u32,
  features: list(name, MAX_LIST),
  role: choice("role", ROLES),
  clusterId,
  node: nullable(member),
  nonce: proof,
  acceptorClusterId: clusterId,
  acceptor: member,
  acceptorNonce: proof,
});

/** `side` proves to the other one that it has `key`. */
export function prove(side: "dialed" | "accepted", key: Uint8Array, { hello, challenge }: Transcript): Uint8Array {
  const bytes = encode(proven, {
    label: LABELS[side],
    version: hello.version,
    features: hello.features,
    role: hello.role,
    clusterId: hello.clusterId,
    node: hello.node,
    nonce: hello.nonce,
    acceptorClusterId: challenge.clusterId,
    acceptor: challenge.node,
    acceptorNonce: challenge.nonce,
  });
  return new Uint8Array(createHmac("sha256", key).update(bytes).digest());
}

/** The key that `proof` was made with, among those that allow the role of the hello; null: none. All are tried, in constant time. */
export function provenKey(proof: Uint8Array, secrets: readonly Secret[], transcript: Transcript): Uint8Array | null {
  let found: Uint8Array | null = null;
  for (const { role, key } of secrets) {
    if (!allows(role, transcript.hello.role)) continue;
    if (isProof(proof, "dialed", key, transcript)) found ??= key;
  }
  return found;
}

export function isProof(
  proof: Uint8Array,
  side: "dialed" | "accepted",
  key: Uint8Array,
  transcript: Transcript,
): boolean {
  return timingSafeEqual(proof, prove(side, key, transcript));
}

/** What a dialer that wants to be `wanted` can claim: with the least secret that suffices, else the most that it can be. */
export function claimFor(wanted: AccessRole, secrets: readonly Secret[]): Secret | null {
  const rising = ROLES.flatMap((role) => secrets.filter((secret) => secret.role === role).slice(0, 1));
  const enough = rising.find((secret) => allows(secret.role, wanted));
  if (enough !== undefined) return { role: wanted, key: enough.key };
  return wanted === "peer" ? null : (rising.at(-1) ?? null);
}

/** The role `granted` may do what `needed` may do. */
export function allows(granted: AccessRole, needed: AccessRole): boolean {
  return ROLES.indexOf(granted) >= ROLES.indexOf(needed);
}

/** One `role:secret` a line; a line without a role is for every role. Blank lines and lines that start with `#` are skipped. */
export function parseSecrets(text: string, file: string): readonly Secret[] {
  const lines = text.split("\n").map((line) => line.trim());
  const secrets = lines.flatMap((line, at): readonly Secret[] => {
    if (line === "" || line.startsWith("#")) return [];
    const { role, secret } = splitLine(line);
    const key = new TextEncoder().encode(secret);
    if (key.length >= WIRE.minSecretBytes) return [{ role, key }];
    throw new RaftqError(
      "USAGE",
      `line ${at + 1} of ${file} has a secret of ${key.length} bytes; it needs ${WIRE.minSecretBytes} or more. A good one: head -c 32 /dev/urandom | base64.`,
    );
  });
  if (secrets.length === 0)
    throw new RaftqError("USAGE", `${file} holds no secret: write lines such as client:<secret>.`);
  return secrets;
}

function splitLine(line: string): { readonly role: AccessRole; readonly secret: string } {
  const colon = line.indexOf(":");
  // The role of a member may do everything.
  if (colon < 0) return { role: "peer", secret: line };
  const name = line.slice(0, colon).trim();
  const role = ROLES.find((one) => one === name);
  if (role !== undefined) return { role, secret: line.slice(colon + 1).trim() };
  throw new RaftqError(
    "USAGE",
    `"${name}" is no role: a secret stands behind ${ROLES.join(":, ")}: or alone on its line.`,
  );
}
