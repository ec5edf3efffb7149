// How is a certificate made? X.509 version 3 as DER, by hand: an authority, and what it issues. The signing is node:crypto's.
//
// Only what `cluster up --tls` needs: ECDSA on P-256 with SHA-256, one name for the subject, one URI that says who it is.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";

export interface Certified {
  /** PEM texts. */
  readonly cert: string;
  readonly key: string;
}

/** Unix milliseconds. */
export interface Validity {
  readonly from: number;
  readonly to: number;
}

/** A new authority, signed by itself. */
export function createAuthority(name: string, validity: Validity): Certified {
  const { publicKey, privateKey } = newKeys();
  const extensions = [BASIC_AUTHORITY, USAGE_AUTHORITY, subjectKey(publicKey)];
  return seal({ subject: name, issuer: name, issuerKey: privateKey, publicKey, privateKey, validity, extensions });
}

/** A certificate for whoever `uri` names, to be shown on both sides of a connection. `name`: the authority's own. */
export function issue(
  authority: { readonly name: string; readonly key: string },
  subject: string,
  uri: string,
  validity: Validity,
): Certified {
  const issuerKey = createPrivateKey(authority.key);
  const { publicKey, privateKey } = newKeys();
  const extensions = [
    BASIC_LEAF,
    USAGE_LEAF,
    PURPOSES,
    subjectKey(publicKey),
    extension("2.5.29.35", false, sequence(der(0x80, keyId(createPublicKey(issuerKey))))),
    extension("2.5.29.17", false, sequence(der(0x86, Buffer.from(uri, "ascii")))),
  ];
  return seal({ subject, issuer: authority.name, issuerKey, publicKey, privateKey, validity, extensions });
}

interface Draft {
  readonly subject: string;
  readonly issuer: string;
  readonly issuerKey: KeyObject;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly validity: Validity;
  readonly extensions: readonly Uint8Array[];
}

function newKeys(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function seal(draft: Draft): Certified {
  const algorithm = sequence(objectId("1.2.840.10045.4.3.2"));
  const content = sequence(
    der(0xa0, der(INTEGER, [2])),
    der(INTEGER, serialNumber()),
    algorithm,
    distinguishedName(draft.issuer),
    sequence(time(draft.validity.from), time(draft.validity.to)),
    distinguishedName(draft.subject),
    draft.publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...draft.extensions)),
  );
  const signature = sign("sha256", content, draft.issuerKey);
  const whole = sequence(content, algorithm, der(BIT_STRING, [0, ...signature]));
  return {
    cert: pem("CERTIFICATE", whole),
    key: draft.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

// ---- DER: a tag, a length, the content

const BOOLEAN_TRUE = Uint8Array.of(0x01, 0x01, 0xff);
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_ID = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;

function der(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const content = Buffer.concat(parts.map((part) => Uint8Array.from(part)));
  if (content.length < 0x80) return Buffer.concat([Uint8Array.of(tag, content.length), content]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(content.length);
  const head = content.length < 0x100 ? Uint8Array.of(tag, 0x81, content.length) : Uint8Array.of(tag, 0x82, ...length);
  return Buffer.concat([head, content]);
}

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => der(SEQUENCE, ...parts);

function objectId(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return der(OBJECT_ID, [40 * first + second, ...rest.flatMap(base128)]);
}

/** Seven bits a byte, the highest first; all but the last have bit 7 set. */
function base128(value: number): readonly number[] {
  const low = value & 0x7f;
  return value < 0x80 ? [low] : [...base128(value >>> 7).map((byte) => byte | 0x80), low];
}

/** Positive, and never with a leading zero byte. */
function serialNumber(): Uint8Array {
  const serial = new Uint8Array(randomBytes(16));
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

const distinguishedName = (name: string): Uint8Array =>
  sequence(der(SET, sequence(objectId("2.5.4.3"), der(UTF8_STRING, Buffer.from(name)))));

/** Two digits of the year until 2049, four from then on: so says RFC 5280. */
function time(unixMs: number): Uint8Array {
  const digits = new Date(unixMs)
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "");
  return digits < "2050" ? der(UTC_TIME, Buffer.from(digits.slice(2))) : der(GENERALIZED_TIME, Buffer.from(digits));
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  const flag = critical ? [BOOLEAN_TRUE] : [];
  return sequence(objectId(id), ...flag, der(OCTET_STRING, value));
}

/** May sign certificates, but none that may sign others. */
const BASIC_AUTHORITY = extension("2.5.29.19", true, sequence(BOOLEAN_TRUE, der(INTEGER, [0])));
const BASIC_LEAF = extension("2.5.29.19", true, sequence());
/** Bits from the left: 0 digitalSignature, 5 keyCertSign, 6 cRLSign; the first byte counts the unused ones. */
const USAGE_AUTHORITY = extension("2.5.29.15", true, der(BIT_STRING, [1, 0x06]));
const USAGE_LEAF = extension("2.5.29.15", true, der(BIT_STRING, [7, 0x80]));
/** As server and as client: a node is both. */
const PURPOSES = extension("2.5.29.37", false, sequence(objectId("1.3.6.1.5.5.7.3.1"), objectId("1.3.6.1.5.5.7.3.2")));

const KEY_ID_BYTES = 20;

function keyId(key: KeyObject): Uint8Array {
  const hash = createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest();
  return hash.subarray(0, KEY_ID_BYTES);
}

const subjectKey = (key: KeyObject): Uint8Array => extension("2.5.29.14", false, der(OCTET_STRING, keyId(key)));

function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
