// Who gets a stream over real TLS, and what does every other side receive? Certificates of every kind against the system's network.
import { afterEach, expect, test } from "bun:test";
import { connect as connectPlain, createServer as createPlainServer } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { createAuthority, issue } from "../../src/cluster/certificates.ts";
import { WIRE } from "../../src/config.ts";
import { must } from "../../src/lib/assert.ts";
import type { ByteStream, DialResult, Listener } from "../../src/wire/network.ts";
import { createTcpNetwork, type Credentials, type TcpLimits } from "../../src/wire/tcp.ts";
import { identityIn, materialProblem, type TlsMaterial } from "../../src/wire/tls.ts";

const DAY = 24 * 3_600_000;
const now = Date.now();
const valid = { from: now - DAY, to: now + DAY };
const expired = { from: now - 2 * DAY, to: now - DAY };
const early = { from: now + DAY, to: now + 2 * DAY };

const ours = await createAuthority("ours", valid);
const foreign = await createAuthority("foreign", valid);

async function materialOf(uri: string, authority = ours, validity = valid, trusted = ours): Promise<TlsMaterial> {
  return { ...(await issue(authority, "somebody", uri, validity)), ca: trusted.cert };
}
const node = await materialOf("raftq:node:n1");
const client = await materialOf("raftq:role:client");

const atEnd: (() => void)[] = [];
afterEach(() => {
  for (const end of atEnd.splice(0)) end();
});

/** Credentials that a test can renew. */
function tls(first: TlsMaterial): Credentials & { readonly type: "tls"; renew(next: TlsMaterial): void } {
  let material = first;
  const listeners: ((material: TlsMaterial) => void)[] = [];
  return {
    type: "tls",
    material: () => material,
    onRenewed: (listener) => void listeners.push(listener),
    renew: (next) => {
      material = next;
      for (const listener of listeners) listener(next);
    },
  };
}

interface Town {
  readonly port: number;
  readonly accepted: ByteStream[];
  readonly refused: string[];
}

/** A node's port; what it accepts is echoed. */
async function listen(credentials: Credentials | null, limits: TcpLimits = WIRE): Promise<Town> {
  const accepted: ByteStream[] = [];
  const refused: string[] = [];
  const network = createTcpNetwork(limits, credentials, (_, why) => refused.push(why));
  const listener = await new Promise<Listener>((resolve, reject) =>
    network.listen(
      "127.0.0.1",
      0,
      (stream) => {
        accepted.push(stream);
        stream.onData = (data) => stream.write(data.slice());
        atEnd.push(() => stream.close());
      },
      (error, bound) => (bound === null ? reject(error as Error) : resolve(bound)),
    ),
  );
  atEnd.push(() => listener.close());
  return { port: listener.port, accepted, refused };
}

async function dial(port: number, credentials: Credentials | null): Promise<DialResult> {
  const result = await new Promise<DialResult>((resolve) =>
    createTcpNetwork(WIRE, credentials).dial(`127.0.0.1:${port}`, 3_000, resolve),
  );
  if (result.ok) atEnd.push(() => result.stream.close());
  return result;
}

async function until<T>(probe: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    await Bun.sleep(2);
  }
}

/** What the stream brings until it ends, or until `bytes` are there. */
async function read(stream: ByteStream, bytes = Number.MAX_SAFE_INTEGER): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  await new Promise<void>((resolve) => {
    stream.onClose = () => resolve();
    stream.onData = (data) => {
      chunks.push(data.slice());
      size += data.length;
      if (size >= bytes) resolve();
    };
  });
  return Buffer.concat(chunks);
}

test("both sides learn from the certificate who the other one is", async () => {
  const { port, accepted } = await listen(tls(node));
  const dialed = await dial(port, tls(client));
  if (!dialed.ok) throw new Error(dialed.why);
  expect(dialed.stream.trust).toMatchObject({ type: "certificate", identity: { role: "peer", node: "n1" } });
  const stream = await until(() => accepted[0]);
  expect(stream.trust).toMatchObject({ type: "certificate", identity: { role: "client", node: null } });
});

test("megabytes in odd chunks come back through TLS as they were sent", async () => {
  const { port } = await listen(tls(node));
  const dialed = await dial(port, tls(client));
  if (!dialed.ok) throw new Error(dialed.why);
  const sent = Buffer.alloc(3 * 1024 * 1024 + 17);
  for (let at = 0; at < sent.length; at++) sent[at] = (at * 31 + (at >> 8)) & 0xff;
  const back = read(dialed.stream, sent.length);
  for (let at = 0, size = 1; at < sent.length; at += size, size = (size * 3 + 1) % 100_003)
    dialed.stream.write(Uint8Array.from(sent.subarray(at, at + size)));
  expect(Bun.hash(await back)).toBe(Bun.hash(sent));
}, 20_000);

/** What a dialer with these credentials is to the node, whatever it believes of the node itself. */
async function strangerness(port: number, accepted: ByteStream[], material: Partial<TlsMaterial>): Promise<string> {
  const { cert, key } = material;
  const own: ConnectionOptions = cert === undefined || key === undefined ? {} : { cert, key };
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, ...own });
  socket.on("error", () => {});
  atEnd.push(() => socket.destroy());
  const { trust } = await until(() => accepted[0]);
  return trust.type === "unauthenticated" ? trust.why : trust.type;
}

test.each<[string, Partial<TlsMaterial>, RegExp]>([
  ["no certificate", {}, /asks for a certificate: give --tls-cert/],
  ["one of another authority", await materialOf("raftq:node:n1", foreign), /not from the authority/],
  ["an expired one", await materialOf("raftq:role:client", ours, expired), /your certificate has expired/],
  ["one that is not valid yet", await materialOf("raftq:role:client", ours, early), /not valid yet/],
  ["one that names nobody", await materialOf("https://example.org"), /names neither a node nor a role/],
  ["one that claims to be a peer by role", await materialOf("raftq:role:peer"), /names neither a node nor a role/],
])("a dialer with %s is a stranger, and the reason is at hand", async (_, material, why) => {
  const { port, accepted } = await listen(tls(node));
  expect(await strangerness(port, accepted, material)).toMatch(why);
});

test.each<[string, TlsMaterial, RegExp]>([
  [
    "of another authority",
    await materialOf("raftq:node:n1", foreign, valid, ours),
    /its certificate is not from the authority in --tls-ca/,
  ],
  ["that has expired", await materialOf("raftq:node:n1", ours, expired), /its certificate has expired/],
  ["that names nobody", await materialOf("https://example.org"), /names no node/],
])("a dialer takes no node with a certificate %s, and reports why", async (_, material, why) => {
  const { port } = await listen(tls(material));
  expect(await dial(port, tls(client))).toMatchObject({
    ok: false,
    unauthorised: true,
    why: expect.stringMatching(why),
  });
});

test("plain bytes on a TLS port are refused and reported, on both sides", async () => {
  const { port, accepted, refused } = await listen(tls(node));
  const dialed = await dial(port, null);
  if (!dialed.ok) throw new Error(dialed.why);
  dialed.stream.write(Uint8Array.of(0, 0, 0, 1, 0x80));
  // The first byte of a TLS alert, from which the deframer knows what it is.
  expect((await read(dialed.stream, 1))[0]).toBe(0x15);
  expect(await until(() => refused[0])).toMatch(/does not speak TLS/);
  expect(accepted).toEqual([]);
});

test("TLS on a plain port ends with the probable cause", async () => {
  const plain = createPlainServer((socket) => socket.end("\0\0\0\u0001\u0080").on("error", () => {}));
  await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
  atEnd.push(() => plain.close());
  const { port } = plain.address() as { port: number };
  expect(await dial(port, tls(client))).toMatchObject({
    ok: false,
    unauthorised: true,
    why: expect.stringMatching(/does not speak TLS: one of the two was started without --tls-cert/),
  });
});

test("TLS 1.2 is refused", async () => {
  const { port, refused } = await listen(tls(node));
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, maxVersion: "TLSv1.2", ...client });
  atEnd.push(() => socket.destroy());
  const code = await new Promise((resolve) =>
    socket.on("error", (error) => resolve("code" in error ? error.code : "")),
  );
  expect(code).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  expect(await until(() => refused[0])).toMatch(/handshake failed/);
});

test("a side that is silent instead of shaking hands is cut off in time", async () => {
  const { port, refused } = await listen(tls(node), { ...WIRE, helloTimeoutMs: 100 });
  const socket = connectPlain(port, "127.0.0.1");
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  socket.on("error", () => {});
  await closed;
  expect(await until(() => refused[0])).toBe("the TLS handshake was not complete in time");
});

test("beyond the limit of handshakes under way newcomers are closed at once; afterwards they are let in", async () => {
  const { port } = await listen(tls(node), { ...WIRE, maxHandshakes: 2 });
  const silent = [1, 2].map(() => connectPlain(port, "127.0.0.1"));
  await Promise.all(silent.map((socket) => new Promise<void>((resolve) => socket.on("connect", () => resolve()))));
  expect(await dial(port, tls(client))).toMatchObject({ ok: false });
  for (const socket of silent) socket.destroy();
  await until(async () => ((await dial(port, tls(client))).ok ? true : undefined));
});

test("renewed credentials count for new connections, and the open ones stay", async () => {
  const credentials = tls(node);
  const { port, accepted } = await listen(credentials);
  const before = await dial(port, tls(client));
  if (!before.ok) throw new Error(before.why);
  await until(() => accepted[0]);
  // Another authority, and another certificate of the same node.
  credentials.renew(await materialOf("raftq:node:n1", foreign, valid, foreign));
  const outdated = await dial(port, tls(client));
  expect(outdated).toMatchObject({ ok: false, unauthorised: true });
  const renewed = await dial(port, tls(await materialOf("raftq:role:client", foreign, valid, foreign)));
  if (!renewed.ok) throw new Error(renewed.why);
  expect(
    (await until(() => accepted.find((stream, at) => at > 0 && stream.trust.type === "certificate"))).trust,
  ).toBeDefined();
  // The rest of the rules stay: no older TLS, no resumption, a certificate asked for.
  const old = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, maxVersion: "TLSv1.2" });
  atEnd.push(() => old.destroy());
  expect(await new Promise((resolve) => old.on("error", () => resolve("refused")))).toBe("refused");
  let sessions = 0;
  const anonymous = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
  atEnd.push(() => anonymous.destroy());
  anonymous.on("session", () => sessions++).on("error", () => {});
  await until(() => accepted.find(({ trust }) => trust.type === "unauthenticated"));
  expect(sessions).toBe(0);
  const echoed = read(before.stream, 3);
  before.stream.write(Uint8Array.of(1, 2, 3));
  expect([...(await echoed)]).toEqual([1, 2, 3]);
});

test("two authorities can be trusted at once: the way from one to the other", async () => {
  const both = `${ours.cert}${foreign.cert}`;
  const { port, accepted } = await listen(tls({ ...node, ca: both }));
  for (const authority of [ours, foreign]) {
    const dialed = await dial(port, tls({ ...(await materialOf("raftq:role:client", authority)), ca: both }));
    expect(dialed.ok).toBe(true);
  }
  await until(() => accepted[1]);
  expect(accepted.map(({ trust }) => trust.type)).toEqual(["certificate", "certificate"]);
});

test("no session is resumed: a certificate that was good once would come back with it", async () => {
  const { port, accepted } = await listen(tls(node));
  let session: Buffer | undefined;
  for (const _ of [1, 2]) {
    const reuse = session === undefined ? {} : { session };
    const socket = connectTls({ port, host: "127.0.0.1", checkServerIdentity: () => undefined, ...client, ...reuse });
    atEnd.push(() => socket.destroy());
    socket.on("session", (given) => (session = given));
    await new Promise<void>((resolve) => socket.on("secureConnect", resolve));
    const count = accepted.length;
    socket.write("x");
    await new Promise((resolve) => socket.once("data", resolve));
    expect(socket.isSessionReused()).toBe(false);
    expect(count).toBeLessThanOrEqual(2);
  }
  expect(session).toBeUndefined();
});

test("only exactly one name of ours is believed, and nothing that could be read in two ways", async () => {
  expect(identityIn("URI:raftq:node:n1")).toEqual({ node: "n1" as never, role: "peer" });
  expect(identityIn("DNS:example.org, URI:raftq:role:read-only, IP Address:127.0.0.1")).toEqual({
    node: null,
    role: "read-only",
  });
  for (const names of [
    undefined,
    "",
    "DNS:raftq:node:n1",
    "URI:raftq:node:",
    "URI:raftq:node:N1",
    "URI:raftq:node:n1/../n2",
    "URI:raftq:role:root",
    "URI:raftq:node:n1, URI:raftq:node:n2",
    "URI:raftq:node:n1, URI:raftq:role:admin",
    "URI:raftq:node:n1, URI:raftq:node:..",
    'URI:"x, URI:raftq:node:n1"',
    'URI:"x, URI:raftq:node:n1, y"',
    "xURI:raftq:node:n1",
  ])
    expect(identityIn(names)).toBeNull();
  // What the system makes of a name with a comma in it.
  const tricky = await issue(ours, "x", "x, URI:raftq:node:n1, y", valid);
  expect(materialProblem({ ...tricky, ca: ours.cert })).toMatch(/names neither a node nor a role/);
});

test("material that does not fit together is refused before it is used", async () => {
  expect(materialProblem(node)).toBeNull();
  expect(materialProblem({ ...node, key: client.key })).not.toBeNull();
  expect(materialProblem({ ...node, cert: "nothing" })).not.toBeNull();
  expect(materialProblem({ ...node, ca: "nothing" })).not.toBeNull();
  expect(must(materialProblem(await materialOf("https://example.org")), "a problem")).toContain("raftq:node:<id>");
});
