// What does a real node do when a stranger sends anything, at any moment of its life, as anybody? It answers, refuses or closes, and
// then serves its clients as before.
import { BrokenInvariant } from "../../src/lib/assert.ts";
import { RaftqError } from "../../src/lib/errors.ts";
import type { Random } from "../../src/lib/random.ts";
import { encodeCommand } from "../../src/queue/commands.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { Reply } from "../../src/queue/types.ts";
import { encodeEntry, KIND_NAMES } from "../../src/raft/entry.ts";
import type { Incarnation, Member, NodeId } from "../../src/raft/types.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { frameBody } from "../../src/wire/frame.ts";
import type { PeerMessage } from "../../src/wire/peer-layouts.ts";
import type { WireMessage } from "../../src/wire/protocol.ts";
import { leaderOf, portOf, type TestNode } from "../kit/test-cluster.ts";
import { OPEN, asPeerFrame, EXAMPLES, PEER_EXAMPLES, randomMessage } from "../kit/messages.ts";

import { founderWord, wholeSnapshot } from "./plausible.ts";
import { buildScene, HOSTILE, HOSTILE_PORT, PORTS, type Scene, SCENES } from "./scenes.ts";
import { DIALED_STANDINGS, DIALING_STANDINGS, type Side, Stranger } from "./stranger.ts";
import { choicesOf, expectThat, Finding, type FuzzTarget, randomBytes } from "./target.ts";
import { mutateBody } from "./wire-targets.ts";
import { dequeueCommand, enqueueCommand, type Question, request } from "../kit/test-client.ts";
import { mutateBytes } from "../kit/mutate-bytes.ts";
import { pick } from "../kit/pick.ts";

/** In virtual time: an election, a retry and a few round trips. */
const PATIENCE_MS = 20_000;
/** Most of many that dial a stranger: each costs time, and a node dials again and again. */
const MOST_CAUGHT = 6;

// ---- what is sent

function drawMessage(choices: Random, scene: Scene): WireMessage {
  const status = leaderOf(scene.nodes)?.node.status();
  if (choices.chance(40)) return randomMessage(choices);
  if (scene.name === "founder" && choices.chance(50)) return asPeerFrame(founderWord(choices, scene));
  if (choices.chance(40)) return asPeerFrame(plausible(choices, scene, status?.term ?? 1, status?.lastIndex ?? 1));
  const message = pick(choices, EXAMPLES);
  if (message.type === "request") {
    const jobs = [{ encoding: 0, payload: randomBytes(choices, 5) }];
    const enqueue = encodeCommand({ type: "enqueue", queue: "default", jobs });
    const command = choices.chance(50) ? enqueue : randomBytes(choices, 9);
    const [session, number, acknowledgedThrough] = [choices.below(8), choices.below(4), choices.below(4)];
    return { ...message, session, number, acknowledgedThrough, command };
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
function plausible(choices: Random, scene: Scene, term: number, lastIndex: number): PeerMessage {
  if (choices.chance(scene.name === "let in" ? 60 : 10)) return wholeSnapshot(choices, scene, term, lastIndex);
  const message = pick(choices, PEER_EXAMPLES);
  const near = (value: number): number => Math.max(0, value + choices.between(-2, 2));
  if (message.type === "bootstrap" || message.type === "bootstrapAnswer") return message;
  if (message.type === "AppendEntriesReply") {
    const [matchIndex, rejectedIndex, hintIndex] = [near(lastIndex), near(lastIndex), near(lastIndex)];
    const success = choices.chance(50);
    return { ...message, term: near(term), success, matchIndex, rejectedIndex, hintIndex, hintTerm: near(term) };
  }
  if (message.type !== "AppendEntries") return { ...message, term: near(term) };
  const prevLogIndex = near(lastIndex);
  const drawnTerm = Math.max(1, near(term));
  const stamp = { index: prevLogIndex + 1, term: drawnTerm, time: 5, wall: 6 };
  const body = randomBytes(choices, choices.below(20));
  const draft = { kind: pick(choices, KIND_NAMES), session: 1, number: 2, acknowledgedThrough: 0, body };
  const entries = choices.chance(50) ? [] : [encodeEntry(stamp, draft)];
  const prevLogTerm = Math.min(drawnTerm, near(term));
  return { ...message, term: drawnTerm, prevLogIndex, prevLogTerm, leaderCommit: near(lastIndex), entries };
}

function drawMember(choices: Random, scene: Scene): Member {
  const port = choices.chance(50) ? HOSTILE_PORT : pick(choices, PORTS);
  const known = pick(choices, scene.nodes).node.status()?.node;
  if (known !== undefined && choices.chance(40)) return known;
  const incarnation = pick(choices, ["00000000000000aa", "ffffffffffffffff"]) as Incarnation;
  return { id: pick(choices, ["n9", "n3001", "n3000"]) as NodeId, incarnation, address: `127.0.0.1:${port}` };
}

/** A greeting as somebody, then anything. */
function talk(stranger: Stranger, choices: Random, scene: Scene, side: Side): void {
  const as = choices.chance(60) ? HOSTILE : drawMember(choices, scene);
  stranger.become(pick(choices, side === "dials" ? DIALING_STANDINGS : DIALED_STANDINGS), choices, as);
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
        scene.testCluster.pass(choices.below(500));
        break;
      case 4: {
        const frame = encodeMessage(drawMessage(choices, scene));
        if (decodeMessage(frameBody(frame)).type !== "peer")
          stranger.raw(frame.subarray(0, choices.below(frame.length)));
        break;
      }
      default:
        stranger.send(drawMessage(choices, scene));
    }
    scene.testCluster.pass(2);
  }
  if (choices.chance(30)) stranger.close();
}

/** A stranger at the door of one of the nodes; null: nobody opens. */
export function visit(scene: Scene, { node }: TestNode): Stranger | null {
  let stranger: Stranger | null = null;
  scene.testCluster.network.hostOf("client").dial(`127.0.0.1:${node.id.slice(1)}`, 1_000, (result) => {
    if (result.ok) stranger = new Stranger(scene, result.stream, "dials");
  });
  scene.testCluster.pass(5);
  return stranger;
}

/** Waits at the hostile address for nodes that dial it; those it has no time for are turned away. */
export function lieInWait(scene: Scene, most: number): Stranger[] {
  const caught: Stranger[] = [];
  scene.testCluster.network.hostOf("client").listen(
    "127.0.0.1",
    HOSTILE_PORT,
    (stream) => {
      if (caught.length < most) caught.push(new Stranger(scene, stream, "dialed"));
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
    const scene = buildScene(pick(choices, SCENES), choices);
    return judged(scene, () => play(scene, choices));
  },
};

/** Whatever is sent and done in `conversationOf`, nodes are left that serve. */
export function judged(scene: Scene, conversationOf: () => void): string {
  const lone = scene.testCluster.network.connections();
  try {
    conversationOf();
    scene.settle();
    if (scene.serves && !scene.trusted && scene.nodes.some(({ stopped }) => stopped() === undefined))
      expectServes(scene);
    if (scene.name === "alone" && !scene.trusted) expectNothingLeft(scene, lone);
  } catch (error) {
    // What a trusted member can do is stop a node: by an invariant that it broke, or by name.
    if (!scene.trusted || !(error instanceof BrokenInvariant || error instanceof RaftqError)) throw error;
    return [...scene.words, `stopped by a member: ${error.name}`].join("\n");
  }
  for (const { node, stopped } of scene.nodes) {
    const end = stopped();
    expectGoodEnd(scene, end);
    const installed = (node.inspect()?.raft.snapshot ?? null) !== null;
    scene.words.add(`${scene.name} ends ${end?.code ?? "well"}${installed ? " with a snapshot" : ""}`);
  }
  return [...scene.words].join("\n");
}

function play(scene: Scene, choices: ReturnType<typeof choicesOf>): void {
  const { testCluster } = scene;
  const caught = lieInWait(scene, MOST_CAUGHT);
  const strangers: Stranger[] = [];
  for (let left = choices.between(1, 4); left > 0 && choices.left() > 0; left--) {
    const stranger = visit(scene, pick(choices, scene.nodes));
    if (stranger !== null) {
      talk(stranger, choices, scene, "dials");
      strangers.push(stranger);
    }
    testCluster.pass(choices.below(300));
    const [waiting] = caught.splice(0, 1);
    if (waiting === undefined) continue;
    talk(waiting, choices, scene, "dialed");
    strangers.push(waiting);
  }
  testCluster.pass(choices.chance(20) ? 1_000 : 20);
  for (const stranger of [...strangers, ...caught]) stranger.close();
}

function expectGoodEnd(scene: Scene, end: RaftqError | null | undefined): void {
  if (end === undefined) return;
  const ending = end === null ? "nothing" : `${end.code}: ${end.message}`;
  expectThat(
    scene.trusted || (end !== null && (scene.endings.has(end.code) || !scene.serves)),
    `a node stopped: ${ending}`,
  );
}

/** A client of the cluster, one that knows the way, gets its job in and out again. */
function expectServes(scene: Scene): void {
  const { testCluster } = scene;
  const began = testCluster.clock.now();
  const payload = Uint8Array.of(1, 2, 3);
  const steps = [enqueueCommand(payload), dequeueCommand(1_000, 2 ** 20)];
  for (let attempt = 1; testCluster.clock.now() - began < PATIENCE_MS; attempt++) {
    const leader = leaderOf(scene.nodes.filter(({ stopped }) => stopped() === undefined));
    if (leader === undefined) {
      testCluster.pass(50);
      continue;
    }
    const testClient = testCluster.visit(portOf(leader));
    const ask = (question: Question): Reply | null => {
      const answer = testClient.ask(question, 1_500);
      return answer?.type === "reply" ? decodeReply(answer.reply) : null;
    };
    const opened = ask({ ...OPEN, clientId: "honest", nonce: new Uint8Array(16).fill(attempt) });
    if (opened?.type !== "opened") continue;
    const { session, lastNumber } = opened;
    const replies = steps.map((command, at) => ask(request(session, lastNumber + 1 + at, command, lastNumber)));
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
function expectNothingLeft({ testCluster, nodes }: Scene, lone: number): void {
  testCluster.network.kill("client");
  testCluster.pass(200);
  expectThat(nodes.length === 1, "one node");
  const left = testCluster.network.connections();
  expectThat(left <= lone, `${left} connections are open where ${lone} were before`);
}
