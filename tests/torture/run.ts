// How does one torture run go? Five nodes come up, the clients begin, nemeses strike until the time is over, and in the end
// everything is healed and counted.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Random, seededRandom } from "../../src/lib/random.ts";
import { freePorts } from "../kit/free-ports.ts";
import type { Abilities } from "./abilities.ts";
import { startClients } from "./clients.ts";
import { createDisk, type DiskKind } from "./disk.ts";
import { createDeck, type Deck, NEMESES } from "./episodes.ts";
import { finale } from "./finale.ts";
import type { Nemesis } from "./nemesis.ts";
import { createNetwork, type Network, PORT } from "./network.ts";
import { createTortureNode, type Site, type TortureNode } from "./node.ts";
import type { Options } from "./options.ts";
import type { Room } from "./namespaces.ts";
import { createService, type Silence } from "./service.ts";
import { patience, until } from "./shell.ts";
import type { Timeline } from "./timeline.ts";
import { type Reckoning, reckon } from "./verdict.ts";
import { beyondBounds, type Peaks, watch } from "./watch.ts";
import { allHealthy, CLIENT_PLACE, names, type World } from "./world.ts";

const NODES = ["n1", "n2", "n3", "n4", "n5"];
const FIRST_LEADER_MS = 30_000;
/** Between strikes of a run that counts its rounds: so much must have been answered since the last one. */
const ANSWERS_A_ROUND = 200;
const ROUND_MS = 30_000;
/** No single strike takes more than this share of a short run. */
const SHARE = 0.2;

export interface Outcome {
  readonly world: World;
  readonly struck: ReadonlyMap<string, number>;
  /** How long nemeses struck: a run ends at the first thing that must not happen. */
  readonly minutes: number;
  readonly reckoning: Reckoning;
  readonly silence: Silence;
  readonly peaks: Peaks;
  readonly lateness: number;
}

export interface Setting {
  readonly room: Room;
  readonly abilities: Abilities;
  readonly options: Options;
  readonly binary: string;
  readonly timeline: Timeline;
}

/** Those that were asked for and that this machine allows. */
export function chooseNemeses({ has }: Abilities, only: readonly string[]): readonly Nemesis[] {
  const unknown = only.filter((name) => !NEMESES.some((nemesis) => nemesis.name === name));
  if (unknown.length > 0) throw new Error(`no nemesis is called ${unknown.join(", ")}; --list names them`);
  return NEMESES.filter(
    ({ name, needs }) => (only.length === 0 || only.includes(name)) && needs.every((ability) => has.has(ability)),
  );
}

export async function torture(setting: Setting): Promise<Outcome> {
  const { options, timeline } = setting;
  const random = seededRandom(options.seed);
  const plan = random.fork();
  const nemeses = chooseNemeses(setting.abilities, options.only);
  if (nemeses.length === 0) throw new Error("this machine allows none of the nemeses asked for");
  const world = begin(setting, random.fork());
  const service = createService();
  const deck = createDeck(world, nemeses, plan, options.rounds === null ? 3 : 1);
  let founded = false;
  const watching = watch(world, service, () => (founded ? deck.active() : null));
  try {
    if (!(await until(patience(FIRST_LEADER_MS), () => allHealthy(world) && world.clients.acknowledged() > 0)))
      throw new Error("five fresh nodes did not found a cluster");
    world.clients.onAnswer(service.answered);
    founded = true;
    timeline.record(`founded: ${names(world.nodes)} are up, ${nemeses.length} nemeses wait`);
    const began = performance.now();
    await (options.rounds === null ? forMinutes(world, deck, options) : forRounds(world, deck, options.rounds));
    const minutes = (performance.now() - began) / 60_000;
    await finale(world);
    for (const problem of beyondBounds(watching.peaks)) world.blame(problem);
    const { peaks } = watching;
    const { struck } = deck;
    const reckoning = reckon(world.clients.history);
    return { world, struck, minutes, reckoning, silence: service.longest(), peaks, lateness: watching.lateness() };
  } finally {
    watching.stop();
    world.clients.end();
    await Promise.all(world.nodes.map((node) => node.kill()));
  }
}

async function forMinutes(world: World, deck: Deck, { minutes }: Options): Promise<void> {
  const deadline = performance.now() + minutes * 60_000;
  // After the first thing that must not happen, the traces are worth more than more of it.
  while (performance.now() < deadline && world.blamed.length === 0) {
    await deck.episode();
    await Bun.sleep(300);
  }
}

async function forRounds(world: World, deck: Deck, rounds: number): Promise<void> {
  for (let round = 0; round < rounds && world.blamed.length === 0; round++) {
    const before = world.clients.acknowledged();
    const isBusy = await until(patience(ROUND_MS), () => world.clients.acknowledged() >= before + ANSWERS_A_ROUND);
    if (!isBusy) world.blame(`fewer than ${ANSWERS_A_ROUND} answers in ${ROUND_MS / 1_000} s of peace`);
    await deck.episode();
  }
}

function begin(setting: Setting, random: Random): World {
  const { room, abilities, options, binary, timeline } = setting;
  const blamed: string[] = [];
  const blame = (what: string): void => {
    if (blamed.includes(what)) return;
    blamed.push(what);
    timeline.record(`WRONG   ${what}`);
  };
  const network = abilities.has.has("network") ? createNetwork([...NODES, CLIENT_PLACE]) : null;
  const nodes = createNodes(setting, network, blame);
  for (const node of nodes) node.start();
  const addresses = nodes.map((node) => node.address);
  const clients = startClients(network?.enter(CLIENT_PLACE) ?? [], addresses, random);
  return {
    nodes,
    network,
    clients,
    abilities,
    timeline,
    binary,
    previous: options.previous,
    longestMs: Math.max(1_000, options.minutes * 60_000 * SHARE),
    scratch: room.directory,
    blame,
    blamed,
  };
}

function createNodes(setting: Setting, network: Network | null, blame: World["blame"]): readonly TortureNode[] {
  const { room, abilities, binary, timeline } = setting;
  const logs = join(room.directory, "logs");
  mkdirSync(logs);
  const kind: DiskKind = abilities.has.has("power") ? "ext4" : abilities.has.has("mounts") ? "tmpfs" : "directory";
  const ports = freePorts(NODES.length);
  const sites = NODES.map((id, i): Site => {
    const disk = createDisk(room.directory, id, kind);
    if (network === null) return { id, disk, host: "127.0.0.1", port: ports[i] ?? PORT, enter: [] };
    return { id, disk, host: network.ip(id), port: PORT, enter: network.enter(id) };
  });
  const onExit = (node: TortureNode, code: number | null, signal: string | null): void => {
    const last = node.log().trimEnd().split("\n").at(-1) ?? "";
    const how = `${node.id} ended (${signal ?? `exit code ${code}`}): ${last}`;
    if (node.mayExit === null) blame(how);
    else timeline.record(`        ${how}`);
  };
  const founders = sites.map(({ host, port }) => `${host}:${port}`);
  const plan = { binary, founders, logs, supervised: room.kind === "bare", onExit };
  return sites.map((site) => createTortureNode(site, plan));
}
