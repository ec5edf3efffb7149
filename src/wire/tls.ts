// TLS: both sides show a certificate of the same authority, whose names identify them.
//
// The server takes every certificate through the handshake and judges it here, so that a refused side gets the reason. Sessions
// are not resumed: a resumed one would bring back the certificate of its beginning, expired or not.
import { constants, X509Certificate } from "node:crypto";
import type { Server, Socket } from "node:net";
import { connect, createSecureContext, createServer, type TLSSocket } from "node:tls";
import { isNodeId } from "../raft/types.ts";
import { SPEAKS_HTTP } from "./foreign-protocols.ts";
import type { Identity, Trust } from "./network.ts";
import { ROLES } from "./protocol.ts";

/** PEM texts: the own certificate with its intermediates, its key, and the authorities that are trusted. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

const PROTOCOL = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  ALPNProtocols: ["raftq/1"],
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/** Why this material cannot be used, or null. */
export function materialProblem({ cert, key, ca }: TlsMaterial): string | null {
  try {
    createSecureContext({ cert, key, ca });
    if (identityIn(new X509Certificate(cert).subjectAltName) !== null) return null;
    return "its certificate names neither a node nor a role: it needs the subject alternative name URI:raftq:node:<id> or URI:raftq:role:<role>";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Exactly one name of ours must be there. Names with unusual characters come in quotes, and then none is accepted. */
export function identityIn(names: string | undefined): Identity | null {
  if (names === undefined || names.includes('"')) return null;
  const ours = names.split(", ").flatMap((name) => {
    const [, kind = "", value = ""] = /^URI:raftq:(\w+):(.*)$/.exec(name) ?? [];
    return kind === "" ? [] : [identityNamed(kind, value)];
  });
  return ours.length === 1 ? (ours[0] ?? null) : null;
}

function identityNamed(kind: string, value: string): Identity | null {
  if (kind === "node") return isNodeId(value) ? { node: value, role: "peer" } : null;
  const role = ROLES.find((one) => one === value);
  return kind === "role" && role !== undefined && role !== "peer" ? { node: null, role } : null;
}

export interface TlsLimits {
  /** A handshake may take as long as a hello, of which it is a part. */
  readonly helloTimeoutMs: number;
  readonly maxHandshakes: number;
}

export interface TlsServer {
  readonly server: Server;
  /** What is accepted from now on shows, and is judged by, the new material; what is open stays. */
  renew(material: TlsMaterial): void;
}

export function createTlsServer(
  material: TlsMaterial,
  limits: TlsLimits,
  accept: (socket: TLSSocket, trust: Trust) => void,
  failed: (socket: Socket, why: string) => void,
): TlsServer {
  const begun = new WeakMap<Socket, number>();
  const handshaking = new Set<Socket>();
  const server = createServer(
    { ...material, ...PROTOCOL, requestCert: true, rejectUnauthorized: false, handshakeTimeout: limits.helloTimeoutMs },
    (socket) => {
      const handshakeMs = performance.now() - (begun.get(socket) ?? performance.now());
      handshaking.delete(socket);
      socket.setNoDelay(true);
      accept(socket, trustIn(socket, handshakeMs));
    },
  );
  server.on("connection", (socket) => {
    // A handshake in progress is no connection yet and in no other count.
    if (handshaking.size >= limits.maxHandshakes) {
      socket.destroy();
      return;
    }
    begun.set(socket, performance.now());
    handshaking.add(socket);
    socket.on("close", () => handshaking.delete(socket));
  });
  server.on("tlsClientError", (error, socket) => {
    // It is left open after a time-out.
    socket.destroy();
    failed(socket, handshakeProblem(error));
  });
  return { server, renew: ({ cert, key, ca }) => server.setSecureContext({ cert, key, ca, ...PROTOCOL }) };
}

function trustIn(socket: TLSSocket, handshakeMs: number): Trust {
  // `authorizationError` is a code, despite its type.
  if (!socket.authorized)
    return { type: "unauthenticated", why: certificateProblem(String(socket.authorizationError), "your") };
  const identity = identityIn(socket.getPeerCertificate().subjectaltname);
  if (identity !== null) return { type: "certificate", identity, handshakeMs };
  return { type: "unauthenticated", why: "your certificate names neither a node nor a role of raftq" };
}

export type TlsDialed =
  | { readonly ok: true; readonly trust: Trust }
  /** `unauthorised`: dialing again without a change fails again. */
  | { readonly ok: false; readonly unauthorised: boolean; readonly why: string };

/** The answer has not been connected yet; `done` is called at most once. */
export function dialTls(
  host: string,
  port: number,
  material: TlsMaterial,
  done: (result: TlsDialed) => void,
): TLSSocket {
  const begun = performance.now();
  const socket = connect({
    host,
    port,
    ...material,
    ...PROTOCOL,
    rejectUnauthorized: true,
    // Names of hosts play no part: the hello names the node, and the certificate must name the same.
    checkServerIdentity: () => undefined,
  });
  socket.on("secureConnect", () => {
    socket.setNoDelay(true);
    const identity = socket.authorized ? identityIn(socket.getPeerCertificate().subjectaltname) : null;
    if (identity === null)
      return done({ ok: false, unauthorised: true, why: "its certificate names no node of raftq" });
    done({ ok: true, trust: { type: "certificate", identity, handshakeMs: performance.now() - begun } });
  });
  socket.on("error", (error) => {
    const code = "code" in error ? String(error.code) : "";
    if (code.startsWith("ERR_SSL")) done({ ok: false, unauthorised: true, why: handshakeProblem(error) });
    else if (/CERT|ISSUER|SIGNATURE|CRL|CHAIN/.test(code))
      done({ ok: false, unauthorised: true, why: certificateProblem(code, "its") });
  });
  return socket;
}

function certificateProblem(code: string, whose: "your" | "its"): string {
  switch (code) {
    case "UNABLE_TO_GET_ISSUER_CERT":
      return whose === "your"
        ? "this node asks for a certificate: give --tls-cert, --tls-key and --tls-ca"
        : "its certificate is not from the authority in --tls-ca";
    case "CERT_HAS_EXPIRED":
      return `${whose} certificate has expired`;
    case "CERT_NOT_YET_VALID":
      return `${whose} certificate is not valid yet: compare the clocks`;
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "CERT_SIGNATURE_FAILURE":
      return `${whose} certificate is not from the authority in --tls-ca (${code})`;
    default:
      return `${whose} certificate is not accepted (${code})`;
  }
}

function handshakeProblem(error: Error): string {
  const code = "code" in error ? String(error.code) : "";
  if (code === "ERR_SSL_HTTP_REQUEST") return SPEAKS_HTTP;
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER")
    return "the other side does not speak TLS: one of the two was started without --tls-cert";
  if (code === "ECONNRESET") return "the other side ended the TLS handshake: it may not accept this certificate";
  if (code === "ERR_TLS_HANDSHAKE_TIMEOUT") return "the TLS handshake was not complete in time";
  return `the TLS handshake failed: ${code === "" ? error.message : code}`;
}
