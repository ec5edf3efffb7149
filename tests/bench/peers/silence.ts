// How long is there no acknowledgement when the leader is killed, and is everything acknowledged still there afterwards?
// A kill is no power cut: this proves nothing about the disk.
import { Late, type Peer, pause, type QueueClient, type System, within } from "./peer.ts";
import { coldStart, stopAll } from "./start.ts";

export interface Silence {
  readonly firstAckMs: number;
  /** The longest time without an acknowledgement that began before or within a second of the kill; infinite: it never ended. */
  readonly silenceMs: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly duplicated: number;
}

const WRITERS = 16;
const READERS = 64;
const READER_CONNECTIONS = 8;
const SETTLE_MS = 2_000;
const BEFORE_KILL_MS = 3_000;
const AFTER_RECOVERY_MS = 3_000;
const RECOVERY_LIMIT_MS = 45_000;
/** What comes so soon after the kill may have been under way before it. */
const UNDER_WAY_MS = 50;
const LATE_MS = 1_000;
const BETWEEN_WRITES_MS = 2;
const BEFORE_RETRY_MS = 10;
const REJOIN_MS = 6_000;
const NOTHING_MORE_MS = 3_000;

/** What the writers of one run share. */
interface Writing {
  readonly peer: Peer;
  readonly pool: (Promise<QueueClient> | null)[];
  readonly acknowledgedAt: number[];
  readonly acknowledged: Set<string>;
  serial: number;
  stopped: boolean;
}

/** Unique messages, each tried through one node after the other until it is acknowledged. */
async function write(writing: Writing, first: number): Promise<void> {
  const { peer } = writing;
  let node = first % peer.nodes.length;
  while (!writing.stopped) {
    const id = (writing.serial++).toString().padStart(16, "0");
    while (!writing.stopped && !(await wrote(writing, node, id))) {
      node = (node + 1) % peer.nodes.length;
      await pause(BEFORE_RETRY_MS);
    }
    await pause(BETWEEN_WRITES_MS);
  }
}

async function wrote(
  { peer, pool, acknowledgedAt, acknowledged }: Writing,
  node: number,
  id: string,
): Promise<boolean> {
  try {
    const client = await within(LATE_MS, "a connection", (pool[node] ??= peer.connect(node, WRITERS, "producer")));
    const sent = client.enqueue(Buffer.from(id)).then(() => {
      acknowledgedAt.push(performance.now());
      acknowledged.add(id);
    });
    await within(LATE_MS, "an acknowledgement", sent);
    return true;
  } catch (error) {
    // A slow node keeps its connection: others have writes under way on it.
    if (!(error instanceof Late)) pool[node] = null;
    return false;
  }
}

export async function measureSilence(system: System, directory: string): Promise<Silence> {
  const { peer, firstAckMs } = await coldStart(system, directory);
  try {
    await pause(SETTLE_MS);
    await peer.clear();
    const leader = await peer.leader();
    const { silenceMs, acknowledged } = await killUnderLoad(peer, leader);
    const seen = await readBack(peer, leader);
    const lost = [...acknowledged].filter((id) => !seen.has(id)).length;
    const duplicated = [...seen.values()].reduce((sum, times) => sum + times - 1, 0);
    return { firstAckMs, silenceMs, acknowledged: acknowledged.size, lost, duplicated };
  } finally {
    await stopAll(peer);
  }
}

async function killUnderLoad(
  peer: Peer,
  leader: number,
): Promise<{ readonly silenceMs: number; readonly acknowledged: ReadonlySet<string> }> {
  const pool = peer.nodes.map(() => null);
  const writing: Writing = { peer, pool, acknowledgedAt: [], acknowledged: new Set(), serial: 0, stopped: false };
  const writers = Array.from({ length: WRITERS }, (_, i) => write(writing, i));
  await pause(BEFORE_KILL_MS);
  const killedAt = performance.now();
  await peer.nodes[leader]?.kill();
  const recovered = (): boolean => (writing.acknowledgedAt.at(-1) ?? 0) > killedAt + UNDER_WAY_MS;
  while (performance.now() < killedAt + RECOVERY_LIMIT_MS && !recovered()) await pause(20);
  const hasRecovered = recovered();
  await pause(AFTER_RECOVERY_MS);
  writing.stopped = true;
  await Promise.all(writers);
  for (const client of writing.pool) void client?.then((open) => open.close()).catch(() => undefined);
  const silenceMs = hasRecovered ? longestSilence(writing.acknowledgedAt, killedAt) : Number.POSITIVE_INFINITY;
  return { silenceMs, acknowledged: writing.acknowledged };
}

function longestSilence(acknowledgedAt: readonly number[], killedAt: number): number {
  const times = acknowledgedAt.toSorted((a, b) => a - b);
  let longest = 0;
  for (const [i, time] of times.entries()) {
    const before = times[i - 1] ?? time;
    if (time > killedAt && before < killedAt + 1_000) longest = Math.max(longest, time - before);
  }
  return longest;
}

/** The killed node comes back, and everything is read: how often each message came. */
async function readBack(peer: Peer, killed: number): Promise<ReadonlyMap<string, number>> {
  peer.nodes[killed]?.start();
  await pause(REJOIN_MS);
  const seen = new Map<string, number>();
  const survivor = (killed + 1) % peer.nodes.length;
  const connecting = Array.from({ length: READER_CONNECTIONS }, () =>
    peer.connect(survivor, READERS / READER_CONNECTIONS, "consumer"),
  );
  const clients = await Promise.all(connecting);
  let last = performance.now();
  let isReading = true;
  const read = async (client: QueueClient): Promise<void> => {
    while (isReading) {
      const id = Buffer.from(await client.dequeue()).toString();
      last = performance.now();
      seen.set(id, (seen.get(id) ?? 0) + 1);
    }
  };
  for (let i = 0; i < READERS; i++) {
    // Those that still wait in the end fail with their connection.
    read(clients[i % clients.length] as QueueClient).catch(() => undefined);
  }
  while (performance.now() - last < NOTHING_MORE_MS) await pause(100);
  isReading = false;
  for (const client of clients) client.close();
  return seen;
}
