// Do two sides let in whom they should, and nobody else? Two real connections on a simulated network, with every kind of trust.
import { expect, test } from "bun:test";
import { WIRE } from "../../src/config.ts";
import type { Failure } from "../../src/lib/errors.ts";
import { seededRandom } from "../../src/lib/random.ts";
import type { NodeId } from "../../src/raft/types.ts";
import { encodeMessage } from "../../src/wire/codec.ts";
import { type Connection, type Message, openConnection } from "../../src/wire/connection.ts";
import { type ByteStream, EVERYBODY, type Trust } from "../../src/wire/network.ts";
import { type Challenge, type Hello, type HelloAnswer, type AccessRole, ROLES } from "../../src/wire/protocol.ts";
import { claimFor, isProof, provenKey, prove, type Secret, type Transcript } from "../../src/wire/secret.ts";
import { createSimNetwork, STEADY_NETWORK } from "../kit/simulated-network.ts";
import { createScheduler } from "../kit/scheduler.ts";
import { createTestClock } from "../kit/simulated-clock.ts";
import { open } from "./test-connection.ts";
import { asPeerFrame, EXAMPLES, member } from "../kit/messages.ts";

const key = (text: string): Uint8Array => new TextEncoder().encode(text);
const SECRET = "a secret that nobody can guess";

function secretTrust(seed: number, ...lines: readonly (readonly [AccessRole, string])[]): Trust {
  const random = seededRandom(seed);
  const secrets = lines.map(([role, text]): Secret => ({ role, key: key(text) }));
  const drawNonce = (): Uint8Array => Uint8Array.from({ length: 32 }, () => random.below(256));
  return { type: "secret", secrets: { secrets: () => secrets, drawNonce } };
}
const everyRole = (seed: number, text = SECRET): Trust => secretTrust(seed, ["peer", text]);
const certificate = (role: AccessRole, node: string | null = null): Trust => ({
  type: "certificate",
  identity: { role, node: node as NodeId | null },
  handshakeMs: 0,
});

const hello = (role: AccessRole): Hello => ({
  type: "hello",
  version: WIRE.protocolVersion,
  features: [],
  role,
  clusterId: null,
  node: role === "peer" ? member(2) : null,
});
const answer: HelloAnswer = {
  type: "helloAnswer",
  version: WIRE.protocolVersion,
  features: [],
  clusterId: null,
  node: member(1),
  leader: null,
  term: 0,
  members: [],
  maxFrameBytes: 1,
  maxPayloadBytes: 1,
};

interface Side {
  readonly connection: Connection;
  readonly got: Message[];
  readonly ended: () => Failure | null | undefined;
}

/** A dialer that sends hello as `role` and an acceptor, n1, that answers it; runs until nothing happens any more. */
function meet(role: AccessRole, dialerTrust: Trust, acceptorTrust: Trust, helloAnswer: HelloAnswer = answer) {
  const scheduler = createScheduler();
  const clock = createTestClock(scheduler);
  const trust = (self: string): Trust => (self === "dialer" ? dialerTrust : acceptorTrust);
  const settings = { ...STEADY_NETWORK, trust };
  const network = createSimNetwork(scheduler, seededRandom(1), settings);
  const bytes: number[] = [];
  const sideOf = (stream: ByteStream, side: "dialed" | "accepted"): Side => {
    const got: Message[] = [];
    let end: Failure | null | undefined;
    const connection: Connection = openConnection({
      stream,
      clock,
      limits: WIRE,
      side,
      introduce: () => ({ clusterId: null, node: member(1) }),
      onMessage: (message) => {
        got.push(structuredClone(message));
        if (message.type !== "hello") return;
        connection.send(helloAnswer);
        connection.flush();
      },
      onClosed: (why) => (end = why),
    });
    const { onData } = stream;
    stream.onData = (data) => {
      bytes.push(...data);
      onData(data);
    };
    return { connection, got, ended: () => end };
  };
  let accepted: Side | undefined;
  let dialed: Side | undefined;
  network.hostOf("acceptor").listen(
    "127.0.0.1",
    3000,
    (stream) => (accepted = sideOf(stream, "accepted")),
    () => {},
  );
  network.hostOf("dialer").dial("127.0.0.1:3000", 1_000, (result) => {
    if (!result.ok) throw new Error(result.why);
    dialed = sideOf(result.stream, "dialed");
    dialed.connection.send(hello(role));
    dialed.connection.flush();
  });
  clock.pass(1_000);
  return { dialed: dialed!, accepted: accepted!, bytes: new Uint8Array(bytes) };
}

const types = ({ got }: Side): readonly string[] => got.map(({ type }) => type);

test("two sides with the same secret let each other in, and their owners see only hello and its answer", () => {
  const { dialed, accepted } = meet("peer", everyRole(1), everyRole(2));
  expect(types(accepted)).toEqual(["hello"]);
  expect(types(dialed)).toEqual(["helloAnswer"]);
  expect(accepted.connection.who).toEqual({ role: "peer", node: null });
  expect(accepted.ended()).toBeUndefined();
});

test("the secret never travels, not even a part of it", () => {
  const { bytes } = meet("client", everyRole(1), everyRole(2));
  const sent = Buffer.from(bytes).toString("latin1");
  expect(sent.length).toBeGreaterThan(150);
  for (let at = 0; at + 4 <= SECRET.length; at++) expect(sent).not.toContain(SECRET.slice(at, at + 4));
});

test.each([
  ["another secret", everyRole(1, "another secret of that length"), everyRole(2), /the shared secret is another one/],
  ["no secret", EVERYBODY, everyRole(2), /asks for a shared secret: give --secret-file/],
  ["a secret where none is asked for", everyRole(1), EVERYBODY, /started without --secret-file/],
])("with %s both sides end with UNAUTHORISED and the reason, and nobody is greeted", (_, dialer, acceptor, why) => {
  const { dialed, accepted } = meet("client", dialer, acceptor);
  expect([...dialed.got, ...accepted.got]).toEqual([]);
  for (const side of [dialed, accepted]) {
    expect(side.ended()).toMatchObject({ code: "UNAUTHORISED", message: expect.stringMatching(why) });
    expect(side.connection.who).toBeNull();
  }
});

test("a secret allows its role and lesser ones; a dialer that knows only a lesser one claims that", () => {
  const node = secretTrust(1, ["peer", "p".repeat(20)], ["client", "c".repeat(20)], ["read-only", "r".repeat(20)]);
  const granted = (role: AccessRole, ...known: readonly (readonly [AccessRole, string])[]): AccessRole | undefined =>
    meet(role, secretTrust(2, ...known), node).accepted.connection.who?.role;
  expect(granted("client", ["client", "c".repeat(20)])).toBe("client");
  expect(granted("client", ["peer", "p".repeat(20)])).toBe("client");
  expect(granted("client", ["read-only", "r".repeat(20)])).toBe("read-only");
  expect(granted("admin", ["client", "c".repeat(20)])).toBe("client");
  // A client's secret does not become a member's by another name in the file.
  expect(granted("peer", ["peer", "c".repeat(20)])).toBeUndefined();
  expect(granted("admin", ["admin", "r".repeat(20)])).toBeUndefined();
});

test("a dialer without a secret for members does not even try to be one", () => {
  const { dialed } = meet("peer", secretTrust(1, ["admin", SECRET]), everyRole(2));
  expect(dialed.ended()).toMatchObject({
    code: "UNAUTHORISED",
    message: expect.stringMatching(/no secret for the role peer/),
  });
});

test("secrets can be changed one side at a time: both lines of a role are accepted, the first is used", () => {
  const both = secretTrust(1, ["peer", "the new secret of the town"], ["peer", SECRET]);
  expect(types(meet("peer", everyRole(2), both).dialed)).toEqual(["helloAnswer"]);
  expect(types(meet("peer", both, everyRole(2, "the new secret of the town")).dialed)).toEqual(["helloAnswer"]);
});

const transcript: Transcript = {
  hello: { ...hello("peer"), nonce: new Uint8Array(32).fill(1) },
  challenge: { nonce: new Uint8Array(32).fill(2), clusterId: null, node: member(1) },
};

test("a proof is for its direction, its nonces, its role, its cluster and both its nodes", () => {
  const { hello: sent, challenge } = transcript;
  const cluster = "7f3a00112233ccdd" as Challenge["clusterId"];
  const others: readonly Transcript[] = [
    { hello: { ...sent, nonce: new Uint8Array(32).fill(3) }, challenge },
    { hello: { ...sent, role: "admin" }, challenge },
    { hello: { ...sent, clusterId: cluster }, challenge },
    { hello: { ...sent, node: member(3) }, challenge },
    { hello: { ...sent, features: ["x"] }, challenge },
    { hello: { ...sent, version: WIRE.protocolVersion + 1 }, challenge },
    { hello: sent, challenge: { ...challenge, nonce: new Uint8Array(32).fill(3) } },
    { hello: sent, challenge: { ...challenge, clusterId: cluster } },
    { hello: sent, challenge: { ...challenge, node: member(3) } },
  ];
  const secrets = [{ role: "peer", key: key(SECRET) }] as const;
  const proof = prove("dialed", key(SECRET), transcript);
  expect(provenKey(proof, secrets, transcript)).toEqual(key(SECRET));
  for (const other of others) expect(provenKey(proof, secrets, other)).toBeNull();
  // Reflected: a node's own proof is not accepted by that node.
  expect(provenKey(prove("accepted", key(SECRET), transcript), secrets, transcript)).toBeNull();
  expect(isProof(proof, "accepted", key(SECRET), transcript)).toBe(false);
});

/** What the node at the other end of a fake stream wrote, by type. */
const wrote = (opened: ReturnType<typeof open>, type: string) =>
  opened.stream.written().find((message) => message.type === type);

test("a recorded proof opens nothing: the next challenge is another one", () => {
  const trust = everyRole(7);
  const introduce = () => ({ clusterId: null, node: member(1) });
  const first = open({ trust, introduce });
  const sent = { ...hello("client"), nonce: new Uint8Array(32).fill(9) };
  first.stream.onData(encodeMessage(sent));
  const challenge = wrote(first, "challenge") as Challenge;
  const proof = encodeMessage({ type: "proof", proof: prove("dialed", key(SECRET), { hello: sent, challenge }) });
  first.stream.onData(proof);
  expect(first.messages.map(({ type }) => type)).toEqual(["hello"]);
  const second = open({ trust, introduce });
  second.stream.onData(encodeMessage(sent));
  second.stream.onData(proof);
  expect(second.messages).toEqual([]);
  expect(wrote(second, "goodbye")).toMatchObject({ failure: { code: "UNAUTHORISED" } });
});

test("an acceptor that answers hello without a challenge, or with a wrong proof, is refused as a node", () => {
  for (const proof of [undefined, new Uint8Array(32)]) {
    const dialer = open({ side: "dialed", trust: everyRole(7) });
    dialer.connection.send(hello("client"));
    dialer.connection.flush();
    if (proof !== undefined)
      dialer.stream.onData(
        encodeMessage({ type: "challenge", nonce: new Uint8Array(32), clusterId: null, node: member(1) }),
      );
    dialer.stream.onData(encodeMessage(proof === undefined ? answer : { ...answer, proof }));
    expect(dialer.messages).toEqual([]);
    dialer.clock.pass(1);
    expect(wrote(dialer, "goodbye")).toMatchObject({ failure: { code: "UNAUTHORISED" } });
  }
});

test("a node that has received a hello but no proof waits no longer than for a hello", () => {
  const opened = open({ trust: everyRole(7), introduce: () => ({ clusterId: null, node: member(1) }) });
  opened.clock.pass(WIRE.helloTimeoutMs - 100);
  opened.stream.onData(encodeMessage({ ...hello("client"), nonce: new Uint8Array(32) }));
  opened.clock.pass(99);
  expect(wrote(opened, "goodbye")).toBeUndefined();
  opened.clock.pass(2);
  expect(wrote(opened, "goodbye")).toMatchObject({ failure: { code: "TIMEOUT" } });
});

test("who owes its proof may send no more than who owes its hello", () => {
  const opened = open({ trust: everyRole(1), introduce: () => ({ clusterId: null, node: member(1) }) });
  opened.stream.onData(encodeMessage({ ...hello("client"), nonce: new Uint8Array(32) }));
  expect(opened.stream.written().map(({ type }) => type)).toEqual(["challenge"]);
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, WIRE.maxHelloBytes + 1);
  opened.stream.onData(head);
  expect(opened.stream.written().at(-1)).toMatchObject({ type: "goodbye", failure: { code: "TOO_LARGE" } });
  expect(opened.stream.closed).toBe(true);
});

test("the time that TLS took counts into the time for the hello", () => {
  const identity = { role: "client", node: null } as const;
  const opened = open({ trust: { type: "certificate", identity, handshakeMs: WIRE.helloTimeoutMs - 100 } });
  opened.clock.pass(99);
  expect(wrote(opened, "goodbye")).toBeUndefined();
  opened.clock.pass(2);
  expect(wrote(opened, "goodbye")).toMatchObject({ failure: { code: "TIMEOUT" } });
});

test("before both sides know each other nothing but a greeting is decoded", () => {
  const greetings = ["hello", "helloAnswer", "challenge", "proof", "goodbye"];
  const others = EXAMPLES.filter(({ type }) => !greetings.includes(type));
  expect(others.length).toBeGreaterThan(15);
  const heartbeat = asPeerFrame({ type: "Heartbeat", term: 1, leaderCommit: 0, time: 0, readContext: 0 });
  for (const trust of [EVERYBODY, everyRole(1), certificate("peer", "n2")]) {
    for (const message of [...others, heartbeat]) {
      // Broken behind its type: decoding it would have been reported.
      const frame = encodeMessage(message);
      frame.fill(0xc1, 8);
      const opened = open({ trust, introduce: () => ({ clusterId: null, node: member(1) }) });
      opened.stream.onData(frame);
      expect(wrote(opened, "goodbye")).toMatchObject({
        failure: { message: expect.stringMatching(/first message is a hello/) },
      });
      expect(opened.messages).toEqual([]);
    }
  }
});

test("nothing of a stranger is read; the goodbye states why it is refused", () => {
  const opened = open({ trust: { type: "unauthenticated", why: "its certificate has expired" } });
  opened.stream.onData(encodeMessage(hello("client")));
  expect(opened.messages).toEqual([]);
  expect(wrote(opened, "goodbye")).toMatchObject({
    failure: { code: "UNAUTHORISED", message: "its certificate has expired" },
  });
});

test.each<[AccessRole, AccessRole, string | null, AccessRole | RegExp]>([
  ["client", "client", null, "client"],
  ["client", "read-only", null, "read-only"],
  ["admin", "client", null, "client"],
  ["admin", "peer", "n2", "admin"],
  ["client", "admin", null, "client"],
  ["peer", "peer", "n2", "peer"],
  ["peer", "peer", "n3", /the certificate names n3, the hello n2/],
  ["peer", "admin", null, /for the role admin, not for a node/],
  ["peer", "client", null, /for the role client, not for a node/],
])("a hello as %s with the certificate of %s %p gets %p", (role, certified, node, expected) => {
  const { accepted, dialed } = meet(role, certificate("peer", "n1"), certificate(certified, node));
  if (typeof expected === "string") {
    expect(accepted.connection.who).toEqual({ role: expected, node: node as NodeId | null });
    expect(types(dialed)).toEqual(["helloAnswer"]);
    return;
  }
  expect(dialed.ended()).toMatchObject({ code: "UNAUTHORISED", message: expect.stringMatching(expected) });
  expect([...dialed.got, ...accepted.got]).toEqual([]);
});

test.each<[AccessRole, string | null]>([
  ["peer", "n3"],
  ["admin", null],
  ["client", null],
])("a dialer takes no node whose certificate is that of %s %p, but which claims to be n1", (role, node) => {
  const { dialed } = meet("client", certificate(role, node), certificate("client"));
  expect(dialed.got).toEqual([]);
  expect(dialed.ended()).toMatchObject({ code: "UNAUTHORISED", message: expect.stringMatching(/claims to be n1/) });
});

test("who claims a role takes the least secret that suffices, else the most it has, but never a member's place", () => {
  const secret = (role: AccessRole): Secret => ({ role, key: key(role) });
  for (const wanted of ROLES) {
    expect(claimFor(wanted, ROLES.map(secret))).toEqual({ role: wanted, key: key(wanted) });
    expect(claimFor(wanted, [])).toBeNull();
  }
  expect(claimFor("client", [secret("peer"), secret("admin")])).toEqual({ role: "client", key: key("admin") });
  expect(claimFor("admin", [secret("read-only"), secret("client")])).toEqual({ role: "client", key: key("client") });
  expect(claimFor("peer", [secret("admin")])).toBeNull();
});
