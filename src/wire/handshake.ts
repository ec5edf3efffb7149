// The handshake: both sides are identified by what the transport has proven (a certificate), by what both prove in the hello (a
// shared secret), or not at all. Until that is done, only hello, challenge, proof and goodbye are accepted.
import { type Failure, failure } from "../lib/errors.ts";
import { Malformed } from "../lib/messagepack.ts";
import { versionOf } from "./codec.ts";
import type { Identity, Trust } from "./network.ts";
import type { Challenge, Greeting, Hello, HelloAnswer, Proof, WireMessage } from "./protocol.ts";
import {
  allows,
  claimFor,
  isProof,
  provenKey,
  prove,
  type Secret,
  type SharedSecrets,
  type Transcript,
} from "./secret.ts";

/** What the accepting side reports of itself before its hello. */
export type Introduction = Pick<Challenge, "clusterId" | "node">;

export type HandshakeMessage = Greeting | Challenge | Proof;

const HANDSHAKE_TYPES = {
  hello: true,
  helloAnswer: true,
  challenge: true,
  proof: true,
} satisfies Record<HandshakeMessage["type"], true>;

export function isHandshakeMessage(message: WireMessage): message is HandshakeMessage {
  return Object.hasOwn(HANDSHAKE_TYPES, message.type);
}

export type HandshakeStep =
  | { readonly type: "answer"; readonly message: Challenge | Proof }
  /** The other side is who it claims to be. */
  | { readonly type: "greeted"; readonly greeting: Greeting; readonly who: Identity };

export interface Handshake {
  /** The owner's hello, with what belongs to it. Throws HandshakeRefused when this side has no secret for the role it wants. */
  outgoing(message: Greeting): Greeting;
  /** Throws Malformed or HandshakeRefused. */
  receive(message: WireMessage): HandshakeStep;
}

/** A refusal that is not about the form of the bytes. */
export class HandshakeRefused extends Error {
  readonly failure: Failure;
  constructor(why: Failure) {
    super(why.message);
    this.failure = why;
  }
}

/** Throws HandshakeRefused when the first message shows another protocol version than `own`; the rest of it is not looked at. */
export function checkVersion(body: Uint8Array, own: number): void {
  const version = versionOf(body);
  if (version === null || version === own) return;
  const both = `it speaks protocol version ${version}, this side ${own}`;
  throw new HandshakeRefused(failure("VERSION", `the other side is another raftq: ${both}`));
}

/** Without credentials every dialer may do everything. */
const ANY_IDENTITY: Identity = { node: null, role: "peer" };

export function dialerHandshake(trust: Trust): Handshake {
  if (trust.type === "secret") return provingDialer(trust.secrets);
  return {
    outgoing: (hello) => hello,
    receive: (message) => {
      if (message.type !== "helloAnswer") throw misplaced(message);
      return { type: "greeted", greeting: message, who: acceptorIdentity(trust, message) };
    },
  };
}

/** `introduce` answers null while this node has not recovered its identity yet. */
export function acceptorHandshake(trust: Trust, introduce: () => Introduction | null): Handshake {
  if (trust.type === "secret") return challengingAcceptor(trust.secrets, introduce);
  return {
    outgoing: (answer) => answer,
    receive: (message) => {
      if (message.type !== "hello") throw misplaced(message);
      if (message.nonce !== undefined) {
        throw unauthorised("this node was started without --secret-file, so it cannot prove that it knows your secret");
      }
      return { type: "greeted", greeting: message, who: dialerIdentity(trust, message) };
    },
  };
}

/** With a shared secret: hello with a nonce → challenge → proof → hello with the other side's proof. */
function provingDialer({ secrets, drawNonce }: SharedSecrets): Handshake {
  let sent: { readonly hello: Transcript["hello"]; readonly claim: Secret } | null = null;
  let challenge: Challenge | null = null;
  return {
    outgoing: (message) => {
      if (message.type !== "hello") return message;
      const claim = claimFor(message.role, secrets());
      if (claim === null) throw unauthorised(`the secret file has no secret for the role ${message.role}`);
      sent = { hello: { ...message, role: claim.role, nonce: drawNonce() }, claim };
      return sent.hello;
    },
    receive: (message) => {
      if (sent === null) throw misplaced(message);
      const { hello, claim } = sent;
      if (message.type === "challenge" && challenge === null) {
        challenge = message;
        return { type: "answer", message: { type: "proof", proof: prove("dialed", claim.key, { hello, challenge }) } };
      }
      if (message.type !== "helloAnswer") throw misplaced(message);
      const { proof, clusterId, node } = message;
      if (challenge === null || proof === undefined) {
        throw unauthorised("the other side does not ask for the shared secret: it was started without --secret-file");
      }
      const answered = { hello, challenge: { nonce: challenge.nonce, clusterId, node } };
      if (!isProof(proof, "accepted", claim.key, answered))
        throw unauthorised("the other side does not know the shared secret");
      return { type: "greeted", greeting: message, who: ANY_IDENTITY };
    },
  };
}

function challengingAcceptor({ secrets, drawNonce }: SharedSecrets, introduce: () => Introduction | null): Handshake {
  let challenged: Transcript | null = null;
  let key: Uint8Array | null = null;
  return {
    outgoing: (message) => {
      if (message.type !== "helloAnswer" || challenged === null || key === null) return message;
      const { clusterId, node } = message;
      const challenge = { nonce: challenged.challenge.nonce, clusterId, node };
      return { ...message, proof: prove("accepted", key, { hello: challenged.hello, challenge }) };
    },
    receive: (message) => {
      if (message.type === "hello" && challenged === null) {
        const { nonce } = message;
        if (nonce === undefined) throw unauthorised("this node asks for a shared secret: give --secret-file");
        const self = introduce();
        if (self === null) throw new HandshakeRefused(failure("STARTING", "this node is still recovering its log"));
        const challenge: Challenge = { type: "challenge", nonce: drawNonce(), ...self };
        challenged = { hello: { ...message, nonce }, challenge };
        return { type: "answer", message: challenge };
      }
      if (message.type !== "proof" || challenged === null || key !== null) throw misplaced(message);
      key = provenKey(message.proof, secrets(), challenged);
      if (key === null)
        throw unauthorised(
          `the shared secret is another one here, or does not allow the role ${challenged.hello.role}`,
        );
      return { type: "greeted", greeting: challenged.hello, who: { node: null, role: challenged.hello.role } };
    },
  };
}

/** What the dialer's certificate lets it be. A peer is the node that its certificate names, no other. */
function dialerIdentity(trust: Trust, hello: Hello): Identity {
  if (trust.type !== "certificate") return ANY_IDENTITY;
  const { identity } = trust;
  if (hello.role === "peer") {
    if (identity.role !== "peer")
      throw unauthorised(`the certificate is for the role ${identity.role}, not for a node`);
    if (identity.node !== hello.node?.id)
      throw unauthorised(`the certificate names ${identity.node ?? "nobody"}, the hello ${hello.node?.id}`);
  }
  return allows(identity.role, hello.role) ? { node: identity.node, role: hello.role } : identity;
}

function acceptorIdentity(trust: Trust, { node }: HelloAnswer): Identity {
  if (trust.type !== "certificate") return ANY_IDENTITY;
  const { identity } = trust;
  if (identity.role === "peer" && identity.node === node.id) return identity;
  throw unauthorised(`it claims to be ${node.id}, but its certificate is for ${identity.node ?? identity.role}`);
}

const unauthorised = (why: string): HandshakeRefused => new HandshakeRefused(failure("UNAUTHORISED", why));

const misplaced = (message: WireMessage): Malformed =>
  new Malformed(
    isHandshakeMessage(message)
      ? `a ${message.type} is not allowed on this connection`
      : `the first message is a hello, not a ${message.type}`,
  );
