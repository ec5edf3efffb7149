// Does a secured cluster let in whom it should, refuse everybody else with a reason, and need no thought? The binary, with real
// certificates and secrets.
import { expect } from "bun:test";
import { chmodSync, cpSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Certified, createAuthority, issue } from "../../src/cluster/certificates.ts";
import { connect } from "../../src/index.ts";
import { EXIT } from "../../src/lib/errors.ts";
import { freePorts } from "../kit/free-ports.ts";
import { type ClusterStatus, inWorld, type NodeProcess, waitFor, type World } from "./harness.ts";

const DAY = 24 * 3_600_000;
const now = Date.now();
const valid = { from: now - DAY, to: now + DAY };
const WAIT_MS = 20_000;

const authority = (name: string): Promise<Certified> => createAuthority(name, valid);

/** Writes a certificate for `uri`, its key and the authority to trust; the flags that use them. */
async function certify(
  world: World,
  owner: string,
  uri: string,
  from: Certified,
  more: { readonly validity?: typeof valid; readonly trusted?: Certified } = {},
): Promise<readonly string[]> {
  const { cert, key } = await issue(from, owner, uri, more.validity ?? valid);
  const path = (kind: string): string => join(world.directory, `${owner}.${kind}`);
  writeFileSync(path("crt"), cert);
  writeFileSync(path("key"), key, { mode: 0o600 });
  writeFileSync(path("ca"), (more.trusted ?? from).cert);
  return ["--tls-cert", path("crt"), "--tls-key", path("key"), "--tls-ca", path("ca")];
}

function secretFile(world: World, name: string, text: string, mode = 0o600): readonly string[] {
  const path = join(world.directory, name);
  writeFileSync(path, `${text}\n`, { mode });
  chmodSync(path, mode);
  return ["--secret-file", path];
}

const settled = (world: World, addresses: string, flags: readonly string[], voters: number): Promise<ClusterStatus> =>
  waitFor(`${voters} voters with a leader`, WAIT_MS, async () => {
    const { stdout } = await world.raftq(["cluster", "status", "--addr", addresses, "--json", ...flags]);
    const status = stdout.trim() === "" ? null : (JSON.parse(stdout) as ClusterStatus);
    const up = status?.nodes.filter(({ state }) => state === "leader" || state === "follower") ?? [];
    return status !== null && status.leader !== null && up.length === voters ? status : undefined;
  });

const waitForLog = (node: NodeProcess, text: string): Promise<true> =>
  waitFor(`${node.id} to log "${text}"`, WAIT_MS, () => (node.log().includes(text) ? true : undefined));

/** A node that founds alone; it leads when this is over. */
async function alone(world: World, flags: readonly string[], id = "n1"): Promise<NodeProcess> {
  const [port = 0] = freePorts(1);
  const node = world.node({ id, port, flags });
  await waitForLog(node, "leader in term");
  return node;
}

const MODE = 0o777;

inWorld(
  "cluster up --tls needs no further thought: clients, changes and restarts find their certificates",
  async (world) => {
    await world.up(3, ["--tls"]);
    const tls = (name: string): string => join(world.directory, ".raftq/default/tls", name);
    expect(["ca.key", "n1.key", "client.key"].map((name) => statSync(tls(name)).mode & MODE)).toEqual([
      0o600, 0o600, 0o600,
    ]);
    const run = async (...words: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await world.raftq(words);
      expect({ words, code, stderr: code === EXIT.ok ? "" : stderr }).toEqual({ words, code: EXIT.ok, stderr: "" });
      return stdout;
    };
    await run("client", "enqueue", "42");
    await run("cluster", "kill", "leader");
    expect(await run("client", "dequeue")).toBe("42\n");
    await run("cluster", "add");
    await run("cluster", "transfer");
    await run("client", "enqueue", "43");
    const up = JSON.parse(await run("cluster", "status", "--json")) as ClusterStatus;
    const addresses = up.nodes.map(({ address }) => address).join(",");
    // Given by hand, the addresses bring no certificates with them.
    expect(await world.raftq(["client", "dequeue", "--addr", addresses])).toMatchObject({
      code: EXIT.unauthorised,
      stderr: expect.stringMatching(/speaks TLS: give --tls-cert, --tls-key and --tls-ca/),
    });
    const credentials = (role: string): readonly string[] => [
      "--tls-cert",
      tls(`${role}.crt`),
      "--tls-key",
      tls(`${role}.key`),
      "--tls-ca",
      tls("ca.crt"),
    ];
    expect((await world.raftq(["client", "dequeue", "--addr", addresses, ...credentials("client")])).stdout).toBe(
      "43\n",
    );
    await run("cluster", "down");
    await run("cluster", "up", "--detach");
    await run("client", "enqueue", "44");
    await run("cluster", "down", "--purge", "--yes");
  },
  120_000,
);

inWorld(
  "certificates that are foreign, expired or of another name are refused with the reason on both sides",
  async (world) => {
    const ours = await authority("ours");
    const foreign = await authority("foreign");
    const node = await alone(world, await certify(world, "n1", "raftq:node:n1", ours));
    const client = async (flags: readonly string[], why: RegExp): Promise<void> =>
      expect(await world.raftq(["client", "enqueue", "1", "--addr", node.address, ...flags])).toMatchObject({
        code: EXIT.unauthorised,
        stdout: "",
        stderr: expect.stringMatching(why),
      });
    const past = { from: now - 2 * DAY, to: now - DAY };
    await client(
      await certify(world, "c1", "raftq:role:client", foreign, { trusted: ours }),
      /your certificate is not from the authority/,
    );
    await waitForLog(node, "refused 127.0.0.1: your certificate is not from the authority");
    await client(
      await certify(world, "c2", "raftq:role:client", ours, { validity: past }),
      /your certificate has expired/,
    );
    await waitForLog(node, "refused 127.0.0.1: your certificate has expired");
    await client(await certify(world, "c3", "raftq:role:client", foreign), /its certificate is not from the authority/);
    await waitForLog(node, "refused 127.0.0.1: the other side ended the TLS handshake");
    await client([], /the other side speaks TLS: give --tls-cert/);
    await waitForLog(node, "does not speak TLS");
    const impostor = await alone(world, await certify(world, "n8", "raftq:node:n8", ours), "n7");
    const fine = await certify(world, "c4", "raftq:role:client", ours);
    expect(await world.raftq(["client", "enqueue", "1", "--addr", impostor.address, ...fine])).toMatchObject({
      code: EXIT.unauthorised,
      stderr: expect.stringMatching(/claims to be n7, but its certificate is for n8/),
    });
    // As a member: n9 shows the certificate of n8 to a cluster that would let n9 in.
    const [port = 0] = freePorts(1);
    const flags = await certify(world, "n8b", "raftq:node:n8", ours);
    const joiner = world.node({ id: "n9", port, join: [node.address], flags });
    expect(await joiner.ended()).toBe(EXIT.unauthorised);
    expect(joiner.log()).toContain("the certificate names n8, the request n9");
    await waitForLog(node, "the certificate names n8, the request n9");
    expect(await world.raftq(["client", "enqueue", "1", "--addr", node.address, ...fine])).toMatchObject({
      code: EXIT.ok,
    });
    // A plain node, and a client that expects TLS.
    const plain = await alone(world, [], "n6");
    expect(await world.raftq(["client", "enqueue", "1", "--addr", plain.address, ...fine])).toMatchObject({
      code: EXIT.unauthorised,
      stderr: expect.stringMatching(/does not speak TLS: one of the two was started without --tls-cert/),
    });
    await waitForLog(plain, "the other side speaks TLS, and this one was started without --tls-cert");
  },
  120_000,
);

inWorld("a certificate allows what its role may do, and nothing more", async (world) => {
  const ours = await authority("ours");
  const node = await alone(world, await certify(world, "n1", "raftq:node:n1", ours));
  const as = async (role: string, ...words: readonly string[]) =>
    world.raftq([...words, "--addr", node.address, ...(await certify(world, role, `raftq:role:${role}`, ours))]);
  const refused = { code: EXIT.unauthorised, stderr: expect.stringMatching(/needs the role/) };
  expect(await as("read-only", "client", "enqueue", "1")).toMatchObject(refused);
  expect(await as("read-only", "client", "log")).toMatchObject({ code: EXIT.ok });
  expect(await as("client", "client", "enqueue", "1")).toMatchObject({ code: EXIT.ok });
  expect(await as("client", "cluster", "remove", "n1")).toMatchObject(refused);
  expect(await as("client", "cluster", "status")).toMatchObject({ code: EXIT.ok });
  expect(
    await world.raftq([
      "client",
      "dequeue",
      "--addr",
      node.address,
      ...(await certify(world, "n2", "raftq:node:n2", ours)),
    ]),
  ).toMatchObject({
    code: EXIT.unauthorised,
    stderr: expect.stringMatching(/yours is that of the node n2/),
  });
  const issued = await certify(world, "lib", "raftq:role:client", ours);
  const [cert = "", key = "", ca = ""] = [1, 3, 5].map((at) => readFileSync(issued[at] as string, "utf8"));
  const queue = await connect({ addresses: [node.address], id: "lib", tls: { cert, key, ca } });
  await queue.enqueue(2);
  await queue.close();
  const refusal: unknown = await connect({ addresses: [node.address], id: "lib" }).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "UNAUTHORISED" });
  expect(await as("admin", "client", "dequeue")).toMatchObject({ code: EXIT.ok, stdout: "1\n" });
  expect(await as("admin", "cluster", "remove", "n1")).toMatchObject({ code: EXIT.unhealthy });
});

inWorld("SIGHUP changes the certificates for later connections, and drops none", async (world) => {
  const before = await authority("before");
  const after = await authority("after");
  const flags = await certify(world, "n1", "raftq:node:n1", before);
  const node = await alone(world, flags);
  const old = await certify(world, "c1", "raftq:role:client", before);
  const answers: string[] = [];
  const pipe = world.pipe(["client", "--id", "c1", "--addr", node.address, ...old], (line) => answers.push(line));
  const answered = (count: number): Promise<true> =>
    waitFor(`${count} answers`, WAIT_MS, () => (answers.length === count ? true : undefined));
  pipe.write("enqueue(1)");
  await answered(1);
  await certify(world, "n1", "raftq:node:n1", after);
  node.signal("SIGHUP");
  await waitForLog(node, "the credentials were read again");
  pipe.write("enqueue(2)");
  await answered(2);
  expect(answers.every((line) => line.startsWith("ok "))).toBe(true);
  expect(pipe.stderr()).not.toContain("lost");
  const dequeue = ["client", "dequeue", "--addr", node.address];
  expect(await world.raftq([...dequeue, ...old])).toMatchObject({ code: EXIT.unauthorised });
  expect(await world.raftq([...dequeue, ...(await certify(world, "c2", "raftq:role:client", after))])).toMatchObject({
    stdout: "1\n",
  });
  // What cannot be used changes nothing.
  writeFileSync(join(world.directory, "n1.crt"), "nothing");
  node.signal("SIGHUP");
  await waitForLog(node, "the credentials stay as they were");
  expect(await world.raftq([...dequeue, ...(await certify(world, "c2", "raftq:role:client", after))])).toMatchObject({
    stdout: "2\n",
  });
  expect(await pipe.end()).toBe(EXIT.ok);
  expect(await node.stop()).toBe(EXIT.ok);
});

inWorld(
  "three nodes and their clients share a secret: who knows another one, or none, is refused",
  async (world) => {
    const lines = [
      "peer:one for the nodes alone 1",
      "admin:one to change members 2",
      "client:one for all clients 3",
      "read-only:one to look at it 4",
    ];
    const all = secretFile(world, "nodes.secret", `# every role\n${lines.join("\n")}`);
    const [p1 = 0, p2 = 0, p3 = 0, p4 = 0] = freePorts(4);
    const addresses = [p1, p2, p3].map((port) => `127.0.0.1:${port}`);
    const nodes = [p1, p2, p3].map((port, i) =>
      world.node({ id: `n${i + 1}`, port, join: addresses, expect: 3, flags: all }),
    );
    const addr = addresses.join(",");
    await settled(world, addr, all, 3);
    const only = (role: number): readonly string[] => secretFile(world, `${role}.secret`, lines[role] as string);
    const run = (flags: readonly string[], ...words: readonly string[]) =>
      world.raftq([...words, "--addr", addr, ...flags]);
    expect(await run(only(2), "client", "enqueue", "7")).toMatchObject({ code: EXIT.ok });
    expect(await run(only(1), "client", "dequeue")).toMatchObject({ code: EXIT.ok, stdout: "7\n" });
    expect(await run(only(3), "client", "log")).toMatchObject({ code: EXIT.ok });
    const refused = (why: RegExp) => ({ code: EXIT.unauthorised, stdout: "", stderr: expect.stringMatching(why) });
    expect(await run(only(3), "client", "enqueue", "8")).toMatchObject(
      refused(/"open" needs the role client; yours is read-only/),
    );
    expect(await run(only(2), "cluster", "transfer")).toMatchObject(refused(/"transfer" needs the role admin/));
    expect(await run(only(1), "cluster", "transfer")).toMatchObject({ code: EXIT.ok });
    const wrong = secretFile(world, "wrong.secret", "client:quite another secret 3");
    expect(await run(wrong, "client", "enqueue", "8")).toMatchObject(refused(/the shared secret is another one here/));
    expect(await run([], "client", "enqueue", "8")).toMatchObject(
      refused(/asks for a shared secret: give --secret-file/),
    );
    await Promise.race(nodes.map((node) => waitForLog(node, "asks for a shared secret")));
    await Promise.race(nodes.map((node) => waitForLog(node, "the shared secret is another one here")));
    expect(await run(wrong, "cluster", "status")).toMatchObject(refused(/the shared secret is another one here/));
    expect(await run([], "cluster", "transfer")).toMatchObject(refused(/asks for a shared secret/));
    // A client's secret does not let a node in.
    const spy = world.node({ id: "n4", port: p4, join: addresses, flags: only(2) });
    expect(await spy.ended()).toBe(EXIT.unauthorised);
    const library = await connect({ addresses, id: "lib", secret: lines[2] as string });
    await library.close();
    // Environment variables do as flags do.
    const env = { RAFTQ_SECRET_FILE: only(2)[1] as string, RAFTQ_ADDR: addr };
    expect(await world.raftq(["client", "enqueue", "9"], { env })).toMatchObject({ code: EXIT.ok });
  },
  120_000,
);

inWorld(
  "files that others can read, halves of credentials and open doors are refused before anything starts",
  async (world) => {
    const good = secretFile(world, "good.secret", "a secret that is long enough");
    const refusal = async (flags: readonly string[], why: RegExp): Promise<void> =>
      expect(await world.raftq(["node", "--port", "1", ...flags])).toMatchObject({
        code: EXIT.usage,
        stderr: expect.stringMatching(why),
      });
    await refusal(
      secretFile(world, "open.secret", "a secret that is long enough", 0o640),
      /can be read by others: chmod 600/,
    );
    await refusal(secretFile(world, "short.secret", "peer:short"), /secret of 5 bytes; it needs 16/);
    await refusal(secretFile(world, "empty.secret", "# nothing"), /holds no secret/);
    await refusal(secretFile(world, "typo.secret", "clint:a secret that is long enough"), /"clint" is no role/);
    await refusal(["--secret-file", "nowhere"], /cannot read --secret-file nowhere/);
    await refusal(["--tls-cert", "x"], /all three of --tls-cert, --tls-key and --tls-ca/);
    const tls = await certify(world, "n1", "raftq:node:n1", await authority("ours"));
    await refusal([...tls, ...good], /--secret-file is instead of TLS/);
    const [certFlag = "", , ...rest] = tls;
    await certify(world, "n2", "raftq:node:n2", await authority("ours"));
    await refusal([certFlag, join(world.directory, "n2.crt"), ...rest], /cannot be used/);
    chmodSync(join(world.directory, "n1.key"), 0o644);
    await refusal(tls, /--tls-key .* can be read by others/);
    const open = ["--host", "0.0.0.0", "--advertise", "127.0.0.1:1"];
    await refusal(open, /--tls-cert, --tls-key and --tls-ca; or --secret-file.*; or --insecure/);
    const [port = 0] = freePorts(1);
    const guarded = world.node({
      id: "n1",
      port,
      flags: ["--host", "0.0.0.0", "--advertise", `127.0.0.1:${port}`, ...good],
    });
    await waitForLog(guarded, "leader in term");
    const enqueue = ["client", "enqueue", "1", "--addr", guarded.address];
    expect(await world.raftq([...enqueue, ...good])).toMatchObject({ code: EXIT.ok });
    expect(await world.raftq(enqueue)).toMatchObject({ code: EXIT.unauthorised });
  },
);

inWorld("a node that was removed is refused when it comes back, and both logs state why", async (world) => {
  await world.up(3, ["--tls"]);
  const status = JSON.parse((await world.raftq(["cluster", "status", "--json"])).stdout) as ClusterStatus;
  const gone = status.nodes.find(({ id }) => id !== status.leader);
  const others = status.nodes.filter(({ id }) => id !== gone?.id);
  expect(await world.raftq(["cluster", "remove", gone?.id ?? ""])).toMatchObject({ code: EXIT.ok });
  const [port = 0] = freePorts(1);
  const tls = (name: string): string => join(world.directory, ".raftq/default/tls", name);
  const back = world.node({
    id: gone?.id ?? "",
    port,
    flags: ["--tls-cert", tls(`${gone?.id}.crt`), "--tls-key", tls(`${gone?.id}.key`), "--tls-ca", tls("ca.crt")],
  });
  // With all that it knew: on the data that the removal kept.
  await back.kill();
  rmSync(back.data, { recursive: true, force: true });
  cpSync(join(world.directory, ".raftq/default", gone?.id ?? ""), back.data, { recursive: true, force: true });
  back.start({ join: others.map(({ address }) => address) });
  await waitForLog(back, `${gone?.id} is no member of this cluster any more`);
  const logs = await waitFor("the leader to log it too", WAIT_MS, async () => {
    const { stdout } = await world.raftq(["cluster", "logs", status.leader ?? ""]);
    return stdout.includes(`refused ${"127.0.0.1"}: ${gone?.id} is no member of this cluster any more`)
      ? stdout
      : undefined;
  });
  expect(logs).toContain("removed, or replaced");
  expect(await world.raftq(["client", "enqueue", "1"])).toMatchObject({ code: EXIT.ok });
  // With a fresh directory and its old certificate neither, until an administrator lets it.
  await back.kill();
  rmSync(back.data, { recursive: true, force: true });
  back.start();
  await waitForLog(back, "it was removed");
  expect(await back.ended()).toBe(EXIT.refused);
  const addr = others.map(({ address }) => address).join(",");
  const admin = ["--tls-cert", tls("admin.crt"), "--tls-key", tls("admin.key"), "--tls-ca", tls("ca.crt")];
  const added = await world.raftq(["cluster", "add", gone?.id ?? "", "--addr", addr, ...admin]);
  expect(added).toMatchObject({ code: EXIT.ok, stdout: expect.stringContaining(`--id ${gone?.id} --join ${addr}`) });
  back.start();
  await waitFor("the node to vote again", WAIT_MS, async () => {
    const { stdout } = await world.raftq(["client", "status", "--json"]);
    const { members } = JSON.parse(stdout) as { members: readonly { id: string; role: string }[] };
    return members.some(({ id, role }) => id === gone?.id && role === "voter") ? true : undefined;
  });
});
