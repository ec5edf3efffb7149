// Which systems can be compared, and which of them are on this machine? Nothing is installed from here.
import { existsSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { BINARY } from "../../scripts/project.ts";
import { createBeanstalkd } from "./beanstalkd.ts";
import { createEtcd } from "./etcd.ts";
import { createNats } from "./nats.ts";
import type { System } from "./peer.ts";
import { createRabbitmq, RABBITMQ_SERVER } from "./rabbitmq.ts";
import { createRaftq } from "./raftq.ts";
import { createRedis } from "./redis.ts";
import { createZookeeper, ZOOKEEPER_JAR } from "./zookeeper.ts";

export const SYSTEMS: readonly System[] = [
  {
    name: "raftq",
    durability: "synced by a majority",
    setting: "three nodes, fdatasync of the log by a majority before each ok",
    debianPackage: null,
    programs: [BINARY],
    create: (directory) => createRaftq(directory),
  },
  {
    name: "etcd",
    durability: "synced by a majority",
    setting: "three nodes, fdatasync of the log by a majority before each ack",
    debianPackage: "etcd-server",
    programs: ["etcd"],
    create: createEtcd,
  },
  {
    name: "rabbitmq",
    durability: "synced by a majority",
    setting: "three nodes, quorum queue, fdatasync of the log by a majority before a confirm",
    debianPackage: "rabbitmq-server",
    programs: [RABBITMQ_SERVER, "epmd"],
    create: createRabbitmq,
  },
  {
    name: "zookeeper",
    durability: "synced by a majority",
    setting: "three nodes, fsync of the log by a majority before each ack",
    debianPackage: "zookeeper",
    programs: [ZOOKEEPER_JAR, "java"],
    create: createZookeeper,
  },
  {
    name: "nats",
    durability: "in the memory of a majority",
    setting: "three nodes, JetStream with three replicas, no fsync before the ack (its default: every two minutes)",
    debianPackage: "nats-server",
    programs: ["nats-server"],
    create: createNats,
  },
  {
    name: "redis",
    durability: "synced by one node",
    setting: "one node, no replication, fdatasync before the answers (appendfsync always, once a turn)",
    debianPackage: "redis-server",
    programs: ["redis-server"],
    create: createRedis,
  },
  {
    name: "beanstalkd",
    durability: "synced by one node",
    setting: "one node, no replication, fsync of its log for each command (-f 0)",
    debianPackage: "beanstalkd",
    programs: ["beanstalkd"],
    create: createBeanstalkd,
  },
];

export const CEILING = "ceiling";
export const CEILING_SETTING = "three Bun processes, fdatasync of each batch by a majority, no consensus";

/** null: it is here; else what to install. */
export function missing({ programs, debianPackage }: System): string | null {
  const isHere = (program: string): boolean =>
    program.startsWith("/") ? existsSync(program) : Bun.which(program) !== null;
  return programs.every(isHere) ? null : debianPackage;
}

/** As its package, or the binary itself, calls it. */
export function versionOf({ debianPackage }: System): string {
  const [command, ...args] =
    debianPackage === null ? [BINARY, "--version"] : ["dpkg-query", "-W", "-f", "${Version}", debianPackage];
  const { status, stdout } = spawnSync(command as string, args, { encoding: "utf8" });
  return status === 0 ? (stdout.trim().split(" ").at(-1) ?? "unknown") : "unknown";
}
