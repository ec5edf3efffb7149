// Recognises the other protocols that arrive at a port of raftq, HTTP and TLS, by their first bytes, and answers HTTP in HTTP.
import { type Failure, failure } from "../lib/errors.ts";

/** First bytes of TLS records: what a TLS port answers to other bytes, and how a TLS dialer begins. */
const TLS_ALERT = 0x15;
const TLS_HANDSHAKE = 0x16;

/** How HTTP begins: a server's answer, and the requests that it is asked. */
export const HTTP_STARTS = [
  "HTTP/",
  "GET ",
  "HEAD ",
  "POST ",
  "PUT ",
  "DELETE ",
  "CONNECT ",
  "OPTIONS ",
  "TRACE ",
  "PATCH ",
  "PRI ",
];

export const SPEAKS_HTTP = "the other side speaks HTTP, not raftq";

/** More bytes may complete the beginning of HTTP. */
export const mayBecomeHttp = (beginning: string): boolean =>
  HTTP_STARTS.some((word) => word.length > beginning.length && word.startsWith(beginning));

/**
 * The failure of a stream that begins with something else than a frame. Every frame is shorter than 16 MiB, so the first byte
 * distinguishes other protocols at once.
 */
export function foreignProtocol(beginning: string): Failure {
  if (HTTP_STARTS.includes(beginning)) return failure("BAD_REQUEST", SPEAKS_HTTP);
  const byte = beginning.charCodeAt(0);
  if (byte === TLS_ALERT)
    return failure("UNAUTHORISED", "the other side speaks TLS: give --tls-cert, --tls-key and --tls-ca");
  if (byte === TLS_HANDSHAKE)
    return failure("UNAUTHORISED", "the other side speaks TLS, and this one was started without --tls-cert");
  const shown = byte.toString(16).padStart(2, "0");
  const why = "the other side does not speak the raftq protocol";
  return failure("BAD_REQUEST", `${why}: a frame starts with byte 0x00, not 0x${shown}`);
}

const HTTP_TEXT = "This port speaks the raftq protocol, not HTTP.\n";
export const HTTP_ANSWER = [
  "HTTP/1.1 400 Bad Request",
  "Content-Type: text/plain",
  `Content-Length: ${HTTP_TEXT.length}`,
  "Connection: close",
  "",
  HTTP_TEXT,
].join("\r\n");
