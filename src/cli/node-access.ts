// The ports over which the command line asks the nodes of a cluster: the system's network, clock and chance.
import { randomBytes } from "node:crypto";
import { createNodeAccess } from "../cluster/node-access.ts";
import type { NodeAccess } from "../cluster/status.ts";
import { WIRE } from "../config.ts";
import { seededRandom } from "../lib/random.ts";
import { createRealClock } from "../lib/real-clock.ts";
import { type CredentialFiles, openCredentials } from "./credentials.ts";
import { createTcpNetwork } from "../wire/tcp.ts";

export function openNodeAccess(files: CredentialFiles | null): NodeAccess {
  return createNodeAccess({
    network: createTcpNetwork(WIRE, files === null ? null : openCredentials(files).credentials),
    clock: createRealClock(),
    random: seededRandom(randomBytes(6).readUIntBE(0, 6)),
  });
}
