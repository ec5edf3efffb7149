// In which moments of their lives do strangers meet nodes? Before a cluster, in one, on the way back, with and without a secret.
import { type Random, seededRandom } from "../../src/lib/random.ts";
import type { ClusterId, Incarnation, Member, NodeId } from "../../src/raft/types.ts";
import { EVERYBODY, type Trust } from "../../src/wire/network.ts";
import { type HelloAnswer, type AccessRole, ROLES } from "../../src/wire/protocol.ts";
import { anyDamage } from "../kit/disk-damage.ts";
import { createTestCluster, leaderOf, portOf, type TestCluster, type TestNode } from "../kit/test-cluster.ts";
import { HELLO_ANSWER } from "../kit/messages.ts";
import { listenInPlaceOfNode } from "../kit/test-client.ts";

export const HOSTILE_PORT = 3009;
export const PORTS = [3000, 3001, 3002];

export interface Scene {
  readonly name: SceneName;
  readonly testCluster: TestCluster;
  readonly nodes: readonly TestNode[];
  /** Does a cluster serve once `settle` was called, so that it must still do so in the end? */
  readonly serves: boolean;
  /** Undoes what was done to the nodes themselves. */
  readonly settle: () => void;
  readonly words: Set<string>;
  /** The nodes as they have named themselves, incarnation included. */
  readonly met: Map<NodeId, Member>;
  /**
   * Somebody spoke as a member of this cluster, in well-formed messages of Raft: a member may break it that way (members are
   * trusted). Then a node may stop, by name; without it, nothing may happen.
   */
  trusted: boolean;
  /** A founder sent something else than the others, then nobody founds; or a member of another cluster came, then a lone node stops. */
  readonly endings: Set<string>;
}

export const SCENES = [
  "founder",
  "joiner",
  "alone",
  "three",
  "learner",
  "hostile member",
  "secret",
  "certificate",
  "starting",
  "rejoining",
  "let in",
  "full",
] as const;
export type SceneName = (typeof SCENES)[number];

/** Those of a node whose neighbour at the hostile port is dialed. */
export const DIALING: ReadonlySet<SceneName> = new Set(["founder", "joiner", "hostile member", "secret", "rejoining"]);

/** The member that the clusters of "hostile member" and "secret" have let in; nobody but a stranger ever speaks for it. */
export const HOSTILE: Member = {
  id: "n9" as NodeId,
  incarnation: "00000000000000aa" as Incarnation,
  address: `127.0.0.1:${HOSTILE_PORT}`,
};

const FREE_AGAIN = 2 ** 40;
const LETTING_IN_PORT = 3010;
const WELCOME: HelloAnswer = {
  ...HELLO_ANSWER,
  clusterId: "00112233445566ff" as ClusterId,
  node: HOSTILE,
};

/** What belongs to a role where a secret is shared. */
export function keyOf(role: AccessRole): Uint8Array {
  return new Uint8Array(32).fill(1 + ROLES.indexOf(role));
}

function secretOf(random: Random): Trust {
  const secrets = ROLES.map((role) => ({ role, key: keyOf(role) }));
  const drawNonce = (): Uint8Array => Uint8Array.from({ length: 32 }, () => random.below(256));
  return { type: "secret", secrets: { secrets: () => secrets, drawNonce } };
}

/** Nodes have their own certificates, a stranger has that of a client. */
function certificates(_self: string, other: string): Trust {
  const node = { role: "peer", node: other as NodeId } as const;
  const identity = other === "client" ? ({ role: "client", node: null } as const) : node;
  return { type: "certificate", identity, handshakeMs: 0 };
}

export function buildScene(name: SceneName, choices: Random): Scene {
  const seed = 1 + choices.below(4);
  const secret = secretOf(seededRandom(seed));
  const guarded: Partial<Record<SceneName, (self: string, other: string) => Trust>> = {
    secret: () => secret,
    certificate: certificates,
  };
  const testCluster = createTestCluster(seed, 1, { trust: guarded[name] ?? (() => EVERYBODY) });
  const scene = (nodes: readonly TestNode[], serves: boolean, settle = (): void => {}): Scene => ({
    name,
    testCluster,
    nodes,
    serves,
    settle,
    words: new Set(),
    met: new Map(),
    trusted: false,
    endings: new Set(),
  });
  /** Nobody opens before its disk is read. */
  const listening = (node: TestNode): TestNode => {
    testCluster.until(() => node.logged.some(({ event }) => event === "recovered"));
    testCluster.pass(1);
    return node;
  };
  const alone = (): TestNode => {
    const one = testCluster.start(3000);
    testCluster.until(() => leaderOf([one]) !== undefined);
    return one;
  };
  const three = (): readonly TestNode[] => {
    const nodes = PORTS.map((port) => testCluster.start(port, PORTS, 3));
    testCluster.until(() => leaderOf(nodes) !== undefined);
    return nodes;
  };
  switch (name) {
    case "founder":
      return scene([listening(testCluster.start(3000, [3000, HOSTILE_PORT], 2))], false);
    case "joiner":
      return scene([listening(testCluster.start(3000, [HOSTILE_PORT]))], false);
    case "alone":
      return scene([alone()], true);
    case "three":
    case "certificate":
      return scene(three(), true);
    case "learner": {
      const nodes = three();
      const learner = testCluster.start(3003, PORTS);
      testCluster.until(() => learner.node.clusterId() !== null);
      testCluster.network.cut((from, to) => [from, to].includes("n3003") && ![from, to].includes("client"), false);
      return scene([...nodes, learner], true);
    }
    case "hostile member":
    case "secret": {
      const built = scene(three(), true);
      letInHostile(built);
      return built;
    }
    case "starting": {
      // It listens, and its first entry does not get to the disk.
      const one = testCluster.start(3000);
      testCluster.until(() => one.logged.some(({ event }) => event === "recovered"));
      const goOn = testCluster.hang(3000);
      testCluster.pass(1);
      return scene([one], true, goOn);
    }
    case "rejoining": {
      const nodes = three();
      // A last frame with nothing behind it would be taken for a torn one, and cut: that is no damage.
      testCluster.pass(200);
      for (const port of [3001, 3002]) testCluster.end(port, "kill");
      anyDamage.apply(testCluster.diskOf(3001));
      const back = testCluster.start(3001, [...PORTS, HOSTILE_PORT]);
      testCluster.pass(20);
      return scene([nodes[0]!, back], false);
    }
    case "let in": {
      letInByStranger(testCluster);
      const node = listening(testCluster.start(3000, [LETTING_IN_PORT]));
      testCluster.until(() => node.node.clusterId() !== null);
      return scene([node], false);
    }
    case "full": {
      const one = alone();
      testCluster.leave(3000, 0);
      testCluster.pass(3_000);
      return scene([one], true, () => testCluster.leave(3000, FREE_AGAIN));
    }
  }
}

/** From then on the cluster dials the hostile address. */
function letInHostile({ testCluster, nodes }: Scene): void {
  const leader = leaderOf(nodes);
  if (leader === undefined) return;
  const testClient = testCluster.visit(portOf(leader));
  testClient.send({ type: "join", frameId: 1, member: HOSTILE, comesBack: false });
  testCluster.pass(200);
}

/** A stranger claims to be a cluster and admits every node that asks: from then on its members are trusted there. */
function letInByStranger({ network, clock }: TestCluster): void {
  listenInPlaceOfNode({ network: network.hostOf("liar"), clock }, LETTING_IN_PORT, (message) => {
    if (message.type === "hello") return WELCOME;
    if (message.type !== "join") return null;
    return { type: "done", frameId: message.frameId, index: 1, clusterId: WELCOME.clusterId };
  });
}
