// How does a stranger take a role? By its first messages on a connection; then it sends anything.
import { WIRE } from "../../src/config.ts";
import { Malformed } from "../../src/lib/messagepack.ts";
import type { Random } from "../../src/lib/random.ts";
import { decodeReply } from "../../src/queue/replies.ts";
import type { ClusterId, Member } from "../../src/raft/types.ts";
import { decodeMessage, encodeMessage } from "../../src/wire/codec.ts";
import { createDeframer, LENGTH_BYTES } from "../../src/wire/frame.ts";
import { sealFrame } from "../kit/frames.ts";
import type { ByteStream } from "../../src/wire/network.ts";
import type { Challenge, Hello, HelloAnswer, AccessRole, WireMessage } from "../../src/wire/protocol.ts";
import { prove } from "../../src/wire/secret.ts";
import { HELLO_ANSWER } from "../kit/messages.ts";
import { HOSTILE, keyOf, type Scene, type SceneName } from "./scenes.ts";
import { expectThat, Finding } from "./target.ts";

/** What a stranger that dials is to the node, after its greeting. `asked`: it owes a proof; `impostor`: a wrong one. */
export const DIALING_STANDINGS = [
  "silent",
  "read-only",
  "client",
  "admin",
  "founder",
  "foreigner",
  "member",
  "asked",
  "impostor",
] as const;
/** And one that a node has dialed. */
export const DIALED_STANDINGS = ["silent", "member", "another", "asking"] as const;
export type Standing = (typeof DIALING_STANDINGS)[number] | (typeof DIALED_STANDINGS)[number];
/** Those that claim to be a node. */
const PEERS: ReadonlySet<Standing> = new Set(["founder", "foreigner", "member", "impostor"]);
const GUARDED: ReadonlySet<SceneName> = new Set(["secret", "certificate"]);
export type Side = "dials" | "dialed";

const FOREIGN = "7f3a00112233ccdd" as ClusterId;
const NONCE = new Uint8Array(32).fill(0x4e);
const WRONG = new Uint8Array(32).fill(0x66);
/** What a node sends before the other side has proven anything, where a secret is shared. */
const TO_STRANGERS: ReadonlySet<WireMessage["type"]> = new Set(["hello", "challenge", "proof", "goodbye"]);
/** In virtual time: there and back. */
const ROUND_TRIP_MS = 4;

/** Everything a stranger can do on one stream, and what it receives. */
export class Stranger {
  readonly #scene: Scene;
  readonly #stream: ByteStream;
  readonly #side: Side;
  #deframer = createDeframer(WIRE.maxPeerFrameBytes);
  #sequence = 0;
  #standing: Standing = "silent";
  #challenge: Challenge | null = null;
  #hello: Hello | null = null;
  /** Peer frames of this stranger are taken for a member's. */
  #member = false;
  /** It knows the secret and has proven it, or none is asked for. */
  #proven: boolean;
  closed = false;

  constructor(scene: Scene, stream: ByteStream, side: Side) {
    this.#scene = scene;
    this.#stream = stream;
    this.#side = side;
    this.#proven = scene.name !== "secret";
    stream.onClose = () => {
      this.closed = true;
      scene.words.add(`${this.#who()} closed`);
    };
    stream.onData = (data) => {
      const failed = this.#deframer.push(data, (body) => this.#receive(body));
      expectThat(failed === null, `a node sends what is no frame: ${failed?.message}`);
    };
  }

  #who(): string {
    return `${this.#scene.name} ${this.#side === "dials" ? "" : "dialed "}${this.#standing}`;
  }

  #receive(body: Uint8Array): boolean {
    let message: WireMessage;
    try {
      message = structuredClone(decodeMessage(body));
    } catch (error) {
      throw error instanceof Malformed ? new Finding(`a node sends what it would not read: ${error.message}`) : error;
    }
    expectThat(
      this.#mayReceive(message),
      `a stranger that is not let in here as ${this.#standing} receives a ${message.type}`,
    );
    if (message.type === "challenge") this.#challenge = message;
    if (message.type === "hello") this.#hello = message;
    if ((message.type === "hello" || message.type === "helloAnswer") && message.node !== null)
      this.#scene.met.set(message.node.id, message.node);
    const inside = message.type === "peer" ? message.message : message;
    const code = "failure" in inside ? ` ${inside.failure.code}` : "";
    const detail = message.type === "reply" ? ` ${replyCode(message.reply)}` : code;
    this.#scene.words.add(`${this.#who()} receives ${inside.type}${detail}`);
    return true;
  }

  /** Without the secret, or as more than its certificate allows, it is sent nothing. */
  #mayReceive({ type }: WireMessage): boolean {
    if (this.#scene.name === "certificate" && (type === "done" || PEERS.has(this.#standing))) return type === "goodbye";
    return this.#proven || TO_STRANGERS.has(type);
  }

  /** Its first messages. */
  become(standing: Standing, choices: Random, as: Member = HOSTILE): void {
    this.#standing = standing;
    if (standing === "silent") return;
    if (this.#side === "dials") this.#introduce(standing, choices, as);
    else this.#answer(standing, as);
  }

  #introduce(standing: Standing, choices: Random, as: Member): void {
    const { testCluster, name } = this.#scene;
    const clusterId = this.#scene.nodes[0]?.node.clusterId() ?? null;
    const isPeer = PEERS.has(standing);
    const role: AccessRole = isPeer ? "peer" : standing === "asked" ? "admin" : (standing as AccessRole);
    const asksForSecret = name === "secret" || standing === "asked" || standing === "impostor";
    const hello: Hello = {
      type: "hello",
      version: choices.chance(97) ? WIRE.protocolVersion : WIRE.protocolVersion + 1,
      features: [],
      role,
      clusterId: standing === "foreigner" ? FOREIGN : standing === "founder" ? null : clusterId,
      node: isPeer ? as : null,
      ...(asksForSecret ? { nonce: NONCE } : {}),
    };
    if (name !== "secret") this.#member = standing === "member" && clusterId !== null && name !== "certificate";
    this.send(hello);
    if (!asksForSecret || standing === "asked") return;
    testCluster.pass(ROUND_TRIP_MS);
    const challenge = this.#challenge;
    if (challenge === null) return;
    const proof = prove("dialed", keyOf(role), { hello: { ...hello, nonce: NONCE }, challenge });
    this.#member = standing === "member" && hello.version === WIRE.protocolVersion;
    this.#proven ||= standing !== "impostor";
    this.send({ type: "proof", proof: standing === "impostor" ? WRONG : proof });
  }

  #answer(standing: Standing, as: Member): void {
    const { nodes, name } = this.#scene;
    const clusterId = standing === "another" ? FOREIGN : (nodes[0]?.node.clusterId() ?? null);
    const hello = this.#hello;
    const answer: HelloAnswer = {
      ...HELLO_ANSWER,
      clusterId,
      node: as,
    };
    const introduction = { nonce: NONCE, clusterId, node: as };
    if (name === "secret" || standing === "asking") this.send({ type: "challenge", ...introduction });
    if (standing === "asking") return;
    this.#member = standing === "member";
    if (name !== "secret" || hello?.nonce === undefined) return this.send(answer);
    this.#proven = true;
    const transcript = { hello: { ...hello, nonce: hello.nonce }, challenge: introduction };
    this.send({ ...answer, proof: prove("accepted", keyOf("peer"), transcript) });
  }

  send(message: WireMessage): void {
    const isNumbered = message.type === "peer" || message.type === "fragment";
    const numbered = isNumbered ? { ...message, sequence: this.#sequence + 1 } : message;
    if (isNumbered) this.#sequence++;
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
    const { words, endings } = this.#scene;
    const type = message.type === "peer" ? message.message.type : message.type;
    words.add(`${this.#who()} sends ${type}`);
    // A stranger that claims to be a member of another cluster; behind a guard, the claim alone is not accepted.
    const isPeer = message.type === "hello" && message.role === "peer" && message.clusterId !== null;
    if (isPeer && !this.#member && !GUARDED.has(this.#scene.name)) endings.add("CLUSTER_MISMATCH");
    if (message.type !== "peer") return;
    if (message.message.type === "bootstrap" || message.message.type === "bootstrapAnswer") endings.add("USAGE");
    else if (this.#member) this.#scene.trusted = true;
  }
}

function replyCode(reply: Uint8Array): string {
  const decoded = decodeReply(reply);
  return decoded.type === "refused" ? decoded.code : decoded.type;
}
