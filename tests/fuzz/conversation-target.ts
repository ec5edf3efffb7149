// What does a real node do when a stranger says anything, at any moment of its life, as anybody? It answers, refuses or closes, and
// then serves its clients as before.
import { WIRE } from "../../src/config.ts";
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import { Malformed } from "../../src/lib/msgpack.ts";
import type { Random } from "../../src/lib/random.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import { encodeEntry, KIND_NAMES } from "../../src/raft/entry.ts";
import { type ClusterId, type Incarnation, type Member, type NodeId } from "../../src/raft/types.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer, frameBody, LENGTH_BYTES, sealFrame } from "../../src/wire/frame.ts";
import type { ByteStream } from "../../src/wire/network.ts";
import type { PeerMessage } from "../../src/wire/peer-codec.ts";
import type { Role, WireMessage } from "../../src/wire/protocol.ts";
import { createTown, type Settled } from "../server/town.ts";
import { asPeerFrame, EXAMPLES, PEER_EXAMPLES, randomMessage } from "../wire/messages.ts";
import { mutateBytes } from "./mutate.ts";
import { choicesOf, expectThat, Finding, type FuzzTarget, pick, randomBytes } from "./target.ts";
import { mutateBody } from "./wire-targets.ts";

const HOSTILE_PORT = 3009;
const PORTS = [3000, 3001, 3002];
/** In virtual time: an election, a retry and a few round trips. */
const PATIENCE_MS = 20_000;

type Town = ReturnType<typeof createTown>;

/** A moment in the life of nodes. */
interface Scene {
  readonly town: Town;
  readonly nodes: readonly Settled[];
  /** Does a cluster serve, so that it must still do so in the end? */
  readonly serves: boolean;
  readonly words: Set<string>;
  /**
   * Somebody spoke as a member of this cluster, in well-formed messages of Raft: whoever may do that can break it (members are
   * trusted). Then a node may stop, by name; without it, nothing may happen.
   */
  trusted: boolean;
  /** A founder said something else than the others, then nobody founds; or a member of another cluster came, then a lone node stops. */
  readonly endings: Set<string>;
}

const SCENES = ["founder", "joiner", "alone", "three", "learner", "hostile member"] as const;
type SceneName = (typeof SCENES)[number];

const leaderOf = (nodes: readonly Settled[]): Settled | undefined =>
  nodes.find(({ node }) => node.status()?.state === "leader");

function build(name: SceneName, choices: Random): Scene {
  const town = createTown(1 + choices.below(4));
  const scene = (nodes: readonly Settled[], serves: boolean): Scene => ({
    town,
    nodes,
    serves,
    words: new Set(),
    trusted: false,
    endings: new Set(),
  });
  switch (name) {
    case "founder":
      return scene([town.start(3000, [3000, 3001], 2)], false);
    case "joiner":
      return scene([town.start(3000, [HOSTILE_PORT])], false);
    case "alone": {
      const one = town.start(3000);
      town.until(() => leaderOf([one]) !== undefined);
      return scene([one], true);
    }
    case "three":
    case "learner":
    case "hostile member": {
      const nodes = PORTS.map((port) => town.start(port, PORTS, 3));
      town.until(() => leaderOf(nodes) !== undefined);
      if (name === "learner") {
        const learner = town.start(3003, PORTS);
        town.until(() => learner.node.clusterId() !== null);
        town.network.cut((from, to) => [from, to].includes("n3003") && ![from, to].includes("guest"), false);
        return scene([...nodes, learner], true);
      }
      return scene(nodes, true);
    }
  }
}

/** Everything a stranger can do on one stream, and what it hears. */
class Stranger {
  readonly #scene: Scene;
  readonly #stream: ByteStream;
  readonly #who: string;
  #deframer = createDeframer(WIRE.maxPeerFrameBytes);
  #sequence = 0;
  /** Peer frames of this stranger are taken for a member's. */
  member = false;
  closed = false;

  constructor(scene: Scene, stream: ByteStream, who: string) {
    this.#scene = scene;
    this.#stream = stream;
    this.#who = who;
    stream.onClose = () => {
      this.closed = true;
      scene.words.add(`${who} closed`);
    };
    stream.onData = (data) => {
      const failed = this.#deframer.push(data, (body) => this.#hear(body));
      expectThat(failed === null, `a node sends what is no frame: ${failed?.message}`);
    };
  }

  #hear(body: Uint8Array): boolean {
    let message: WireMessage;
    try {
      message = decodeMessage(body);
    } catch (error) {
      throw error instanceof Malformed ? new Finding(`a node sends what it would not read: ${error.message}`) : error;
    }
    const inside = message.type === "peer" ? message.message : message;
    const code = "failure" in inside ? ` ${inside.failure.code}` : "";
    const said = message.type === "reply" ? ` ${replyCode(message.reply)}` : code;
    this.#scene.words.add(`${this.#who} hears ${inside.type}${said}`);
    return true;
  }

  say(message: WireMessage): void {
    const numbered = message.type === "peer" ? { ...message, sequence: this.#sequence + 1 } : message;
    if (message.type === "peer") this.#sequence++;
    this.#note(numbered);
    this.raw(encodeMessage(numbered));
  }

  /** A body of any bytes; if it happens to be a member's message, the scene must know. */
  body(body: Uint8Array): void {
    if (body.length === 0) return;
    try {
      this.#note(decodeMessage(body));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
    }
    const frame = new Uint8Array(LENGTH_BYTES + body.length);
    frame.set(body, LENGTH_BYTES);
    this.raw(sealFrame(frame));
  }

  raw(bytes: Uint8Array): void {
    this.#stream.write(bytes.slice());
  }

  close(): void {
    this.#stream.close();
  }

  #note(message: WireMessage): void {
    if (message.type === "hello" && message.role === "peer" && message.clusterId !== null && !this.member)
      this.#scene.endings.add("CLUSTER_MISMATCH");
    if (message.type !== "peer") return;
    if (message.message.type === "found" || message.message.type === "foundAnswer") this.#scene.endings.add("USAGE");
    else if (this.member) this.#scene.trusted = true;
  }
}

function replyCode(reply: Uint8Array): string {
  const said = decodeReply(reply);
  return said.type === "refused" ? said.code : said.type;
}

// ---- what is said

function drawMessage(choices: Random, scene: Scene): WireMessage {
  const status = leaderOf(scene.nodes)?.node.status();
  if (choices.chance(40)) return randomMessage(choices);
  if (choices.chance(40)) return asPeerFrame(plausible(choices, status?.term ?? 1, status?.lastIndex ?? 1));
  const message = pick(choices, EXAMPLES);
  if (message.type === "request") {
    const jobs = [{ encoding: 0, payload: randomBytes(choices, 5) }];
    const enqueue = encodeCommand({ type: "enqueue", queue: "default", jobs });
    const command = choices.chance(50) ? enqueue : randomBytes(choices, 9);
    const [session, number, answeredUpTo] = [choices.below(8), choices.below(4), choices.below(4)];
    return { ...message, session, number, answeredUpTo, command };
  }
  if (message.type === "open") return { ...message, clientId: pick(choices, ["c1", "", "\u001b[2J", "honest"]) };
  if (message.type === "log")
    return { ...message, from: choices.below(10), to: choices.below(10), local: choices.chance(50) };
  if (message.type === "join") return { ...message, member: drawMember(choices, scene) };
  // Who may remove members may take the cluster apart: only those who are none.
  if (message.type === "remove") return { ...message, ids: ["n9" as NodeId] };
  if (message.type === "transfer") return { ...message, to: choices.chance(50) ? null : ("n3001" as NodeId) };
  return message;
}

/** A message of Raft with numbers near the real ones. */
function plausible(choices: Random, term: number, lastIndex: number): PeerMessage {
  const message = pick(choices, PEER_EXAMPLES);
  const near = (value: number): number => Math.max(0, value + choices.between(-2, 2));
  if (message.type === "found" || message.type === "foundAnswer") return message;
  if (message.type === "AppendEntriesReply") {
    const [matchIndex, rejectedIndex, hintIndex] = [near(lastIndex), near(lastIndex), near(lastIndex)];
    const success = choices.chance(50);
    return { ...message, term: near(term), success, matchIndex, rejectedIndex, hintIndex, hintTerm: near(term) };
  }
  if (message.type !== "AppendEntries") return { ...message, term: near(term) };
  const prevLogIndex = near(lastIndex);
  const said = Math.max(1, near(term));
  const stamp = { index: prevLogIndex + 1, term: said, time: 5, wall: 6 };
  const body = randomBytes(choices, choices.below(20));
  const draft = { kind: pick(choices, KIND_NAMES), session: 1, number: 2, answeredUpTo: 0, body };
  const entries = choices.chance(50) ? [] : [encodeEntry(stamp, draft)];
  const prevLogTerm = Math.min(said, near(term));
  return { ...message, term: said, prevLogIndex, prevLogTerm, leaderCommit: near(lastIndex), entries };
}

function drawMember(choices: Random, scene: Scene): Member {
  const port = choices.chance(50) ? HOSTILE_PORT : pick(choices, PORTS);
  const known = pick(choices, scene.nodes).node.status()?.node;
  if (known !== undefined && choices.chance(40)) return known;
  const incarnation = pick(choices, ["00000000000000aa", "ffffffffffffffff"]) as Incarnation;
  return { id: pick(choices, ["n9", "n3001", "n3000"]) as NodeId, incarnation, address: `127.0.0.1:${port}` };
}

/** A hello as somebody, then anything; or no hello at all. */
function talk(stranger: Stranger, choices: Random, scene: Scene, side: "dials" | "answers"): void {
  const cluster = scene.nodes[0]?.node.clusterId() ?? null;
  const clusterId = choices.chance(70) ? cluster : pick(choices, [null, "7f3a00112233ccdd" as ClusterId]);
  const role = pick<Role>(choices, ["client", "admin", "peer", "peer"]);
  if (choices.chance(90)) {
    if (side === "answers") {
      const answer = EXAMPLES.find(({ type }) => type === "helloAnswer") as Extract<
        WireMessage,
        { type: "helloAnswer" }
      >;
      stranger.member = true;
      stranger.say({ ...answer, clusterId, node: drawMember(choices, scene) });
    } else {
      stranger.member = role === "peer" && clusterId !== null && clusterId === cluster;
      stranger.say({
        type: "hello",
        version: choices.chance(95) ? 1 : 2,
        features: [],
        role,
        clusterId,
        node: role === "peer" ? drawMember(choices, scene) : null,
      });
    }
  }
  for (let left = choices.below(8); left > 0 && !stranger.closed; left--) {
    switch (choices.below(10)) {
      case 0:
        stranger.raw(randomBytes(choices, choices.below(30)));
        break;
      case 1:
      case 2:
        stranger.body(mutateBody(frameBody(encodeMessage(drawMessage(choices, scene))), choices));
        break;
      case 3:
        scene.town.pass(choices.below(500));
        break;
      case 4: {
        const frame = encodeMessage(drawMessage(choices, scene));
        if (decodeMessage(frameBody(frame)).type !== "peer")
          stranger.raw(frame.subarray(0, choices.below(frame.length)));
        break;
      }
      default:
        stranger.say(drawMessage(choices, scene));
    }
    scene.town.pass(2);
  }
  if (choices.chance(30)) stranger.close();
}

function visit(scene: Scene, name: SceneName, choices: Random): Stranger | null {
  const port = Number(pick(choices, scene.nodes).node.id.slice(1));
  let stranger: Stranger | null = null;
  scene.town.network.hostOf("guest").dial(`127.0.0.1:${port}`, 1_000, (result) => {
    if (result.ok) stranger = new Stranger(scene, result.stream, name);
  });
  scene.town.pass(5);
  if (stranger !== null) talk(stranger, choices, scene, "dials");
  return stranger;
}

/** Waits at the hostile address for nodes that dial it, and answers them. */
function lieInWait(scene: Scene, name: SceneName): Stranger[] {
  const caught: Stranger[] = [];
  scene.town.network.hostOf("guest").listen(
    "127.0.0.1",
    HOSTILE_PORT,
    (stream) => {
      // Most of many: each costs time, and a node dials again and again.
      if (caught.length < 6) caught.push(new Stranger(scene, stream, `${name} dialed`));
      else stream.close();
    },
    () => {},
  );
  return caught;
}

export const conversation: FuzzTarget = {
  name: "conversation",
  maxMs: 3_000,
  generate: (random) => randomBytes(random, random.between(30, 250)),
  mutate: mutateBytes,
  run: (input) => {
    const choices = choicesOf(input);
    const name = pick(choices, SCENES);
    const scene = build(name, choices);
    const lone = scene.town.network.connections();
    try {
      play(scene, name, choices);
      if (scene.serves && !scene.trusted && scene.nodes.some(({ stopped }) => stopped() === undefined))
        expectServes(scene);
      if (name === "alone" && !scene.trusted) expectNothingLeft(scene, lone);
    } catch (error) {
      // What a trusted member can do is stop a node: by an invariant that it broke, or by name.
      if (!scene.trusted || !(error instanceof BrokenInvariant || error instanceof RaftqError)) throw error;
      return [...scene.words, `stopped by a member: ${error.name}`].join("\n");
    }
    for (const { stopped } of scene.nodes) expectGoodEnd(scene, stopped());
    return [...scene.words].join("\n");
  },
};

function play(scene: Scene, name: SceneName, choices: ReturnType<typeof choicesOf>): void {
  const { town } = scene;
  const caught = lieInWait(scene, name);
  if (name === "hostile member") askToLetIn(scene);
  const strangers: Stranger[] = [];
  for (let left = choices.between(1, 4); left > 0 && choices.left() > 0; left--) {
    const stranger = visit(scene, name, choices);
    if (stranger !== null) strangers.push(stranger);
    town.pass(choices.below(300));
    const [waiting] = caught.splice(0, 1);
    if (waiting === undefined) continue;
    talk(waiting, choices, scene, "answers");
    strangers.push(waiting);
  }
  town.pass(choices.chance(20) ? 1_000 : 20);
  for (const stranger of [...strangers, ...caught]) stranger.close();
}

/** A member at the hostile address: from then on the cluster dials it. */
function askToLetIn(scene: Scene): void {
  const leader = leaderOf(scene.nodes);
  if (leader === undefined) return;
  const guest = scene.town.visit(Number(leader.node.id.slice(1)));
  const member: Member = {
    id: "n9" as NodeId,
    incarnation: "00000000000000aa" as Incarnation,
    address: `127.0.0.1:${HOSTILE_PORT}`,
  };
  guest.send({ type: "join", frameId: 1, member });
  scene.town.pass(200);
}

function expectGoodEnd(scene: Scene, end: RaftqError | null | undefined): void {
  if (end === undefined) return;
  const said = end === null ? "nothing" : `${end.code}: ${end.message}`;
  expectThat(
    scene.trusted || (end !== null && (scene.endings.has(end.code) || !scene.serves)),
    `a node stopped: ${said}`,
  );
}

/** A client of the cluster, one that knows the way, gets its job in and out again. */
function expectServes(scene: Scene): void {
  const { town } = scene;
  const began = town.clock.now();
  const payload = Uint8Array.of(1, 2, 3);
  const steps = [
    encodeCommand({ type: "enqueue", queue: "default", jobs: [{ encoding: 0, payload }] }),
    encodeCommand({ type: "dequeue", queues: ["default"], max: 1000, maxBytes: 2 ** 20, leaseMs: 0, waitMs: 0 }),
  ];
  for (let attempt = 1; town.clock.now() - began < PATIENCE_MS; attempt++) {
    const leader = leaderOf(scene.nodes.filter(({ stopped }) => stopped() === undefined));
    if (leader === undefined) {
      town.pass(50);
      continue;
    }
    const guest = town.visit(Number(leader.node.id.slice(1)));
    const answer = (frameId: number) => {
      const mine = () => guest.received.find((message) => "frameId" in message && message.frameId === frameId);
      for (let waited = 0; mine() === undefined && waited < 1_500 && guest.closed.length === 0; waited += 5)
        town.pass(5);
      const message = mine();
      return message?.type === "reply" ? decodeReply(message.reply) : null;
    };
    guest.send({ type: "open", frameId: 1, group: 0, clientId: "honest", nonce: new Uint8Array(16).fill(attempt) });
    const opened = answer(1);
    if (opened?.type !== "opened") continue;
    const { session, lastNumber } = opened;
    const replies = steps.map((command, at) => {
      const number = lastNumber + 1 + at;
      guest.send({ type: "request", frameId: 2 + at, group: 0, session, number, answeredUpTo: lastNumber, command });
      return answer(2 + at);
    });
    // Only what the election or the transfer of a moment ago leaves open is asked again.
    for (const reply of replies)
      expectThat(reply?.type !== "refused", `a client was refused: ${JSON.stringify(reply)}`);
    const dequeued = replies[1];
    if (replies[0]?.type !== "enqueued" || dequeued?.type !== "dequeued") continue;
    return expectThat(
      dequeued.jobs.some((job) => Buffer.compare(job.payload, payload) === 0),
      "a job is missing",
    );
  }
  throw new Finding("the cluster does not serve its clients any more");
}

/** Strangers that have left leave nothing behind: no connection, no request that waits. */
function expectNothingLeft({ town, nodes }: Scene, lone: number): void {
  town.network.kill("guest");
  town.pass(200);
  expectThat(nodes.length === 1, "one node");
  const left = town.network.connections();
  expectThat(left <= lone, `${left} connections are open where ${lone} were before`);
}
