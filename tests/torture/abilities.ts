// Which faults does this machine allow? Each ability is tried out, not guessed; what is missing is reported with its reason.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Options } from "./options.ts";
import type { Room } from "./namespaces.ts";
import { sh, works } from "./shell.ts";
import { DURABLE_CALLS } from "./tracer.ts";

export type Ability = "network" | "firewall" | "traffic" | "mounts" | "power" | "strace" | "clock" | "previous";

export interface Abilities {
  readonly has: ReadonlySet<Ability>;
  /** One line for each ability that is missing. */
  readonly missing: readonly string[];
  /** libfaketime, when `clock` is there. */
  readonly faketime: string;
}

export function probe(room: Room, options: Options): Abilities {
  const faketime = findFaketime();
  const isOwn = room.kind !== "bare";
  const tests: readonly { readonly ability: Ability; readonly without: string; readonly test: () => boolean }[] = [
    {
      ability: "network",
      without: "no network namespaces (root, or user namespaces, and iproute2): all nodes share the loopback address",
      test: () => isOwn && canMakeNetwork(),
    },
    {
      ability: "firewall",
      without: "no nft in network namespaces (package nftables): no partitions, loss or resets",
      test: () =>
        isOwn &&
        works(["nft", "-c", "-f", "-"], "table bridge probe { chain c { type filter hook forward priority 0; }\n}\n"),
    },
    {
      ability: "traffic",
      without: "no tc tbf (iproute2, kernel): no slow links",
      test: () =>
        isOwn &&
        works(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1gbit", "burst", "1mb", "latency", "1s"]) &&
        works(["tc", "qdisc", "del", "dev", "lo", "root"]),
    },
    {
      ability: "mounts",
      without: "no file systems of our own can be mounted: no full disks",
      test: () => isOwn && canMount(room.directory, ["-t", "tmpfs", "-o", "size=1m", "tmpfs"]),
    },
    {
      ability: "power",
      without: "no loop-mounted ext4 (root, e2fsprogs): no power cuts",
      test: () => room.kind === "root" && canMountImage(room.directory),
    },
    {
      ability: "strace",
      without: "no strace that may attach (package strace): no slow, failing or hanging disks",
      test: () =>
        works(["strace", "-f", "-e", `trace=${DURABLE_CALLS}`, "-e", `inject=${DURABLE_CALLS}:error=EIO`, "true"]),
    },
    {
      ability: "clock",
      without: "no libfaketime (package libfaketime): no clock jumps and rates",
      test: () => faketime !== "" && works(["env", `LD_PRELOAD=${faketime}`, "FAKETIME=+1d", "true"]),
    },
    {
      ability: "previous",
      without: "no --previous binary given: no restarts with the previous build",
      test: () => options.previous !== null && works([options.previous, "--version"]),
    },
  ];
  const has = new Set<Ability>();
  const missing: string[] = [];
  for (const { ability, without, test } of tests) {
    if (test()) has.add(ability);
    else missing.push(without);
  }
  return { has, missing, faketime };
}

function canMakeNetwork(): boolean {
  const made =
    works(["ip", "netns", "add", "probe"]) &&
    works(["ip", "link", "add", "probe", "type", "veth", "peer", "name", "probe1"]);
  works(["ip", "link", "del", "probe"]);
  works(["ip", "netns", "del", "probe"]);
  return made && works(["ip", "link", "add", "probe", "type", "bridge"]) && works(["ip", "link", "del", "probe"]);
}

function canMount(directory: string, what: readonly string[]): boolean {
  const point = join(directory, "probe");
  sh(["mkdir", "-p", point]);
  return works(["mount", ...what, point]) && works(["umount", point]);
}

function canMountImage(directory: string): boolean {
  const image = join(directory, "probe.img");
  const made = works(["truncate", "-s", "16M", image]) && works(["mkfs.ext4", "-q", image]);
  const mounted = made && canMount(directory, ["-o", "loop", image]);
  sh(["rm", "-f", image]);
  return mounted;
}

function findFaketime(): string {
  for (const folder of [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib64/faketime",
    "/usr/lib/faketime",
  ]) {
    try {
      const found = readdirSync(folder).find((name) => name.startsWith("libfaketimeMT.so"));
      if (found !== undefined) return join(folder, found);
    } catch {
      // Not here.
    }
  }
  return "";
}
