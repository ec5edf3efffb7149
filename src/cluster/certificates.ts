// Makes certificates: an authority, and what it issues, by @peculiar/x509; keys and signatures are WebCrypto's.
//
// Only what `cluster up --tls` needs: ECDSA on P-256 with SHA-256, one name for the subject, one URI that identifies it.
import type { X509Certificate } from "@peculiar/x509";

export interface Certified {
  /** PEM texts. */
  readonly cert: string;
  readonly key: string;
}

/** Unix milliseconds; a certificate knows whole seconds only. */
export interface Validity {
  readonly from: number;
  readonly to: number;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const IS_CRITICAL = true;

/** Loaded when a certificate is made, because it takes longer than all the rest of a start. */
async function library(): Promise<typeof import("@peculiar/x509")> {
  // It throws when it is loaded without this. Two `import` statements would not do: in the executable their order is another one.
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** A new authority, signed by itself. */
export async function createAuthority(name: string, validity: Validity): Promise<Certified> {
  const x509 = await library();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: new x509.Name(commonName(name)),
    keys,
    ...dates(validity),
    signingAlgorithm: ALGORITHM,
    extensions: [
      // May sign certificates, but none that may sign others.
      new x509.BasicConstraintsExtension(true, 0, IS_CRITICAL),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, IS_CRITICAL),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return certified(certificate, keys);
}

/** A certificate of `authority` for the holder that `uri` names, to be shown on both sides of a connection. */
export async function issue(
  authority: Certified,
  subject: string,
  uri: string,
  validity: Validity,
): Promise<Certified> {
  const x509 = await library();
  const issuer = new x509.X509Certificate(authority.cert);
  // Taken from the authority's certificate, which may have been made elsewhere: there is more than one way to derive a key's id from the key.
  const issuerKeyId = issuer.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: new x509.Name(commonName(subject)),
    issuer: issuer.subjectName,
    publicKey: keys.publicKey,
    signingKey: await privateKey(x509.PemConverter.decodeFirst(authority.key)),
    ...dates(validity),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, IS_CRITICAL),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, IS_CRITICAL),
      // A node is both.
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(issuerKeyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(issuerKeyId)]),
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }]),
    ],
  });
  return certified(certificate, keys);
}

const newKeys = (): Promise<CryptoKeyPair> => crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);

const privateKey = (pkcs8: ArrayBuffer): Promise<CryptoKey> =>
  crypto.subtle.importKey("pkcs8", pkcs8, ALGORITHM, false, ["sign"]);

async function certified(certificate: X509Certificate, keys: CryptoKeyPair): Promise<Certified> {
  const { PemConverter } = await library();
  const key = PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");
  return { cert: `${certificate.toString("pem")}\n`, key: `${key}\n` };
}

const commonName = (name: string) => [{ CN: [{ utf8String: name }] }];

/** RFC 5280 has no fractions of a second. */
function dates({ from, to }: Validity): { readonly notBefore: Date; readonly notAfter: Date } {
  const whole = (unixMs: number): Date => new Date(unixMs - (unixMs % 1_000));
  return { notBefore: whole(from), notAfter: whole(to) };
}
