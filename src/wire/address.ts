// Parses and checks addresses: `127.0.0.1:3000`, `localhost:3000`, `[::1]:3000`.
import { isIPv4, isIPv6 } from "node:net";
import { RaftqError } from "../lib/errors.ts";

export interface Address {
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
}

/** A host name of 253 characters, a colon and five digits. */
export const MAX_ADDRESS_BYTES = 259;

const MAX_PORT = 65_535;
const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$/;
const ALL_NUMERIC = /^[0-9.]+$/;

/** The parts of `host:port`; throws RaftqError USAGE. Port 0 is no address: nothing can be reached there. */
export function parseAddress(text: string): Address {
  const parsed = readAddress(text);
  if (typeof parsed === "string") {
    throw new RaftqError(
      "USAGE",
      `"${text}" is not an address: ${parsed}; write host:port, such as 127.0.0.1:3000 or [::1]:3000`,
    );
  }
  return parsed;
}

export function isAddress(text: string): boolean {
  return typeof readAddress(text) !== "string";
}

export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The address, or why it is none. */
function readAddress(text: string): Address | string {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return "the port is missing";
  const written = text.slice(0, colon);
  const digits = text.slice(colon + 1);
  const bracketed = written.startsWith("[") && written.endsWith("]");
  const host = bracketed ? written.slice(1, -1) : written;
  if (!/^[0-9]{1,5}$/.test(digits)) return "the port is not a number";
  const port = Number(digits);
  if (port < 1 || port > MAX_PORT || String(port) !== digits) return `a port is from 1 to ${MAX_PORT}`;
  if (host === "") return "the host is missing";
  if (!bracketed && host.includes(":")) return "an IPv6 address stands in brackets";
  if (bracketed) return isPortableIPv6(host) ? { host, port } : "what stands in brackets is not an IPv6 address";
  if (ALL_NUMERIC.test(host) && !isIPv4(host)) return "an IPv4 address has four numbers from 0 to 255";
  return HOST_NAME.test(host) ? { host, port } : "the host is neither a name nor an IP address";
}

/** A zone (`fe80::1%eth0`) names an interface of one machine: no other could use the address. */
const isPortableIPv6 = (host: string): boolean => isIPv6(host) && !host.includes("%");
