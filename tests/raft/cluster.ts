// Runs several Rafts together in one test: virtual time, ordered links, disks that lose what was not synced, and oracles
// that look at every message and every commit.
import type { Refusal } from "../../src/lib/errors.ts";
import { assert, must } from "../../src/lib/assert.ts";
import { seededRandom } from "../../src/lib/random.ts";
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import type {
  ChangeResult,
  Effects,
  Input,
  MembershipChange,
  Outgoing,
  Persist,
  ProposeResult,
  ReadResult,
  Transition,
} from "../../src/raft/effects.ts";
import { encodeEntry, fieldsOf, type Entry } from "../../src/raft/entry.ts";
import { checkCluster, checkDeep } from "../../src/raft/invariants.ts";
import type { RaftMessage } from "../../src/raft/messages.ts";
import { createRaft, metaAt, nextTickAt, step, takeEffects, type Raft } from "../../src/raft/raft.ts";
import type { HardState, LogIndex, MemberId, SnapshotMeta } from "../../src/raft/types.ts";
import { idOf, member, nodeId, RAFT_SETTINGS, TIMES } from "../kit/raft-samples.ts";
import { createScheduler, pass, passUntil, type Scheduler } from "../kit/scheduler.ts";

const PARTS = 3;
const SNAPSHOT_PLACES = 2;

export interface Disk {
  hardState: HardState;
  snapshot: SnapshotMeta | null;
  entries: Entry[];
}

export interface TestNode {
  readonly id: MemberId;
  readonly disk: Disk;
  /** null while crashed. */
  raft: Raft | null;
  /** The disk answers no persist while true. */
  hung: boolean;
  /** So many entries still fit on the disk; and so many snapshot frames when none do. */
  room: number;
  places: number;
  /** Storage has reported that something had no space, and not yet that there is some again. */
  waitsForRoom: boolean;
  diskMs: number;
  paused: boolean;
  inbox: Input[];
  writing: Persist | null;
  /** Applied commands and their index. */
  applied: { readonly index: LogIndex; readonly text: string }[];
  appliedIndex: LogIndex;
  readonly stored: Map<LogIndex, SnapshotMeta>;
  readonly transitions: Transition[];
  readonly installs: LogIndex[];
  stopped: Refusal | null;
  wake: (() => void) | null;
  planned: boolean;
  lives: number;
}

export interface Sent {
  readonly from: MemberId;
  readonly to: MemberId;
  readonly message: RaftMessage;
}

export interface Settings extends Partial<typeof RAFT_SETTINGS> {
  readonly seed?: number;
}

export type Cluster = ReturnType<typeof createCluster>;

/** `names` found the cluster: all start with the same entry 1. */
export function createCluster(names: readonly string[], { seed = 1, ...limits }: Settings = {}) {
  const scheduler: Scheduler = createScheduler();
  const random = seededRandom(seed);
  const nodes = new Map<MemberId, TestNode>();
  const downPairs = new Set<string>();
  const blackholes = new Set<string>();
  /** Numbers of the connections that are up, by dialer and acceptor. */
  const connections = new Map<string, number>();
  const sent: Sent[] = [];
  const history = new Map<LogIndex, Entry>();
  const leaders = new Map<number, MemberId>();
  const answers = { proposed: [] as ProposeResult[], changed: [] as ChangeResult[], read: [] as ReadResult[] };
  let connectionCount = 0;
  let tokens = 0;
  let latencyMs = (): number => 1;
  let watch: ((sent: Sent) => "pass" | "drop") | null = null;
  const founders = names.map((name) => member(name));
  const body = encodeConfiguration({ voters: founders, outgoing: [], learners: [], removed: [] });
  const firstEntry = encodeEntry(
    { index: 1, term: 1, time: 0, wall: 0 },
    { kind: "config", session: 0, number: 0, acknowledgedThrough: 0, body },
  );

  function addNode(id: MemberId, entries: Entry[]): TestNode {
    const node: TestNode = {
      id,
      disk: { hardState: { currentTerm: entries.length > 0 ? 1 : 0, votedFor: null }, snapshot: null, entries },
      raft: null,
      hung: false,
      room: Infinity,
      places: SNAPSHOT_PLACES,
      waitsForRoom: false,
      diskMs: 1,
      paused: false,
      inbox: [],
      writing: null,
      applied: [],
      appliedIndex: 0,
      stored: new Map(),
      transitions: [],
      installs: [],
      stopped: null,
      wake: null,
      planned: false,
      lives: 0,
    };
    nodes.set(id, node);
    start(id);
    return node;
  }

  const at = (name: string): TestNode => must(nodes.get(idOf(name)), `node ${name}`);
  const raftOf = (name: string): Raft => must(at(name).raft, `${name} runs`);

  // --- Starting and stopping

  function start(name: string): void {
    const node = at(name);
    assert(node.raft === null, `${node.id} does not run yet`);
    const { hardState, snapshot, entries } = node.disk;
    node.raft = createRaft({
      self: node.id,
      random: random.fork(),
      ...RAFT_SETTINGS,
      ...limits,
      recovered: { hardState, snapshot, entries: [...entries] },
      now: scheduler.now(),
      wall: 1_000 + scheduler.now(),
    });
    node.lives++;
    node.appliedIndex = snapshot?.index ?? 0;
    node.applied = commandsUpTo(node.appliedIndex);
    if (snapshot !== null) node.stored.set(snapshot.index, snapshot);
    plan(node);
    for (const other of nodes.values()) if (other !== node && other.raft !== null) connect(node.id, other.id);
  }

  /** What was being written is lost, or only its hard state got through, or all of it. */
  function crash(name: string, lost: "all" | "entries" | "nothing" = "all"): void {
    const node = at(name);
    if (node.writing !== null && lost !== "all") {
      if (lost === "nothing") writeTo(node.disk, whatFits(node, node.writing).written);
      else if (node.writing.hardState !== null) node.disk.hardState = node.writing.hardState;
    }
    node.wake?.();
    Object.assign(node, {
      raft: null,
      inbox: [],
      writing: null,
      wake: null,
      planned: false,
      hung: false,
      paused: false,
      waitsForRoom: false,
    });
    node.lives++;
    for (const other of nodes.values()) if (other !== node) disconnect(node.id, other.id);
  }

  // --- Links

  const pair = (a: MemberId, b: MemberId): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
  const way = (from: MemberId, to: MemberId): string => `${from} ${to}`;

  function connect(a: MemberId, b: MemberId): void {
    if (downPairs.has(pair(a, b))) return;
    for (const [from, to] of [[a, b] as const, [b, a] as const]) {
      if (connections.has(way(from, to)) || at(from).raft === null || at(to).raft === null) continue;
      connections.set(way(from, to), ++connectionCount);
      give(from, { type: "linkUp", member: to });
    }
  }

  function disconnect(a: MemberId, b: MemberId): void {
    for (const [from, to] of [[a, b] as const, [b, a] as const]) {
      if (!connections.delete(way(from, to))) continue;
      // Acknowledgements on the old connection are void: what waits unread of it is dropped.
      const node = at(from);
      node.inbox = node.inbox.filter((input) => input.type !== "message" || input.from !== to || input.link !== 0);
      if (node.raft !== null) give(from, { type: "linkDown", member: to });
    }
  }

  function cut(a: string, b: string): void {
    downPairs.add(pair(idOf(a), idOf(b)));
    disconnect(idOf(a), idOf(b));
  }

  function heal(): void {
    downPairs.clear();
    for (const blocked of blackholes) {
      const [a, b] = blocked.split(" ");
      disconnect(idOf(a ?? ""), idOf(b ?? ""));
    }
    blackholes.clear();
    const all = [...nodes.keys()];
    for (const a of all) for (const b of all) if (a < b) connect(a, b);
  }

  /** Cuts `group` off from everybody else. */
  function isolate(...group: string[]): void {
    const inside = new Set(group.map((name) => idOf(name)));
    for (const a of nodes.keys()) for (const b of nodes.keys()) if (inside.has(a) && !inside.has(b)) cut(a, b);
  }

  /** Messages from `from` to `to` are lost, those the other way arrive, and neither end notices. */
  function cutOneWay(from: string, to: string): void {
    blackholes.add(way(idOf(from), idOf(to)));
  }

  function transmit(node: TestNode, out: Outgoing): void {
    const { to, message } = out;
    checkClaim(node, out);
    sent.push({ from: node.id, to, message });
    if (watch !== null && watch({ from: node.id, to, message }) === "drop") return;
    const dialed = out.link === 0;
    const route = dialed ? way(node.id, to) : way(to, node.id);
    const connection = connections.get(route);
    if (connection === undefined || (!dialed && connection !== out.link)) return;
    if (blackholes.has(way(node.id, to))) return;
    const due = Math.max(scheduler.now() + latencyMs(), busyUntil.get(`${connection} ${dialed}`) ?? 0);
    busyUntil.set(`${connection} ${dialed}`, due);
    scheduler.after(due - scheduler.now(), () => {
      if (connections.get(route) !== connection) return;
      give(to, { type: "message", from: node.id, link: dialed ? connection : 0, message });
    });
  }
  const busyUntil = new Map<string, number>();

  // --- Turns

  function give(name: string, input: Input): void {
    const node = at(name);
    if (node.raft === null) return;
    node.inbox.push(input);
    plan(node);
  }

  function plan(node: TestNode): void {
    if (node.planned || node.raft === null || node.paused) return;
    node.wake?.();
    node.wake = null;
    if (node.inbox.length > 0) {
      node.planned = true;
      const life = node.lives;
      scheduler.after(0, () => node.lives === life && turn(node));
      return;
    }
    const due = nextTickAt(node.raft);
    const life = node.lives;
    if (due !== Infinity) node.wake = scheduler.after(due - scheduler.now(), () => node.lives === life && turn(node));
  }

  function turn(node: TestNode): void {
    node.planned = false;
    if (node.raft === null || node.paused) return;
    const inputs = node.inbox;
    node.inbox = [];
    for (const input of inputs) step(node.raft, input);
    step(node.raft, { type: "tick", now: scheduler.now(), wall: 1_000 + scheduler.now() });
    obey(node, takeEffects(node.raft));
    checkDurable(node);
    plan(node);
  }

  function obey(node: TestNode, effects: Effects): void {
    for (const out of effects.send) transmit(node, out);
    if (effects.persist !== null) write(node, effects.persist);
    for (const part of effects.sendParts) {
      if (!node.stored.has(part.meta.index)) continue;
      const { term, meta } = part;
      const empty = new Uint8Array(0);
      const message = {
        type: "InstallSnapshot",
        term,
        meta,
        manifest: empty,
        part: part.part,
        parts: PARTS,
        offset: 0,
        bytes: empty,
      } as const;
      transmit(node, { to: part.to, link: 0, message });
    }
    for (const { from, link, meta, part, parts } of effects.storeParts) {
      later(node, () => {
        if (part === parts - 1) node.stored.set(meta.index, meta);
        give(node.id, { type: "partStored", from, link, meta, nextPart: part + 1, nextOffset: 0, parts });
      });
    }
    if (effects.installSnapshot !== null) {
      node.appliedIndex = effects.installSnapshot.index;
      node.applied = commandsUpTo(node.appliedIndex);
      node.installs.push(node.appliedIndex);
    }
    for (const entry of effects.committed) apply(node, entry);
    answers.proposed.push(...effects.proposed);
    answers.changed.push(...effects.changed);
    answers.read.push(...effects.read);
    for (const transition of effects.transitions) {
      node.transitions.push(transition);
      if (transition.role !== "leader") continue;
      const other = leaders.get(transition.term);
      assert(
        other === undefined || other === node.id,
        `term ${transition.term} has one leader, not ${other} and ${node.id}`,
      );
      leaders.set(transition.term, node.id);
    }
    if (effects.stop !== null) {
      node.stopped = effects.stop;
      crash(node.id);
    }
  }

  function later(node: TestNode, run: () => void): void {
    const life = node.lives;
    scheduler.after(node.diskMs, () => node.lives === life && run());
  }

  function write(node: TestNode, persist: Persist): void {
    assert(node.writing === null, "one persist at a time");
    node.writing = persist;
    if (!node.hung) later(node, () => finishWrite(node));
  }

  function finishWrite(node: TestNode): void {
    const persist = node.writing;
    if (persist === null || node.hung) return;
    node.writing = null;
    const { written, unwritten } = whatFits(node, persist);
    const before = node.disk.entries.length + written.entries.length;
    writeTo(node.disk, written);
    if (written.snapshot !== null) later(node, () => makeRoom(node.id, before - node.disk.entries.length));
    if (unwritten !== null) {
      node.waitsForRoom = true;
      give(node.id, { type: "unwritten", seq: persist.seq, ...unwritten });
      return;
    }
    for (const out of persist.sendAfter) transmit(node, out);
    give(node.id, { type: "persisted", seq: persist.seq });
  }

  /** Space for so many entries more. */
  function makeRoom(name: string, entries: number): void {
    const node = at(name);
    if (entries <= 0) return;
    node.room += entries;
    node.places = SNAPSHOT_PLACES;
    if (!node.waitsForRoom) return;
    node.waitsForRoom = false;
    give(node.id, { type: "spaceFound" });
  }

  function hang(name: string, hung = true): void {
    const node = at(name);
    node.hung = hung;
    if (!hung) finishWrite(node);
  }

  // --- Oracles

  function apply(node: TestNode, entry: Entry): void {
    assert(entry.index === node.appliedIndex + 1, `${node.id} applies ${entry.index} after ${node.appliedIndex}`);
    const known = history.get(entry.index);
    assert(
      known === undefined || Buffer.compare(known.record, entry.record) === 0,
      `entry ${entry.index} commits only once`,
    );
    history.set(entry.index, entry);
    node.appliedIndex = entry.index;
    if (entry.kind === "command") node.applied.push({ index: entry.index, text: textOf(entry) });
  }

  function commandsUpTo(index: LogIndex): { index: LogIndex; text: string }[] {
    const found = [];
    for (let at = 1; at <= index; at++) {
      const entry = history.get(at);
      if (entry?.kind === "command") found.push({ index: at, text: textOf(entry) });
    }
    return found;
  }

  /** A message claims nothing that its sender's disk does not hold. */
  function checkClaim(node: TestNode, { to, message }: Outgoing): void {
    const { hardState, entries, snapshot } = node.disk;
    const last = entries.at(-1)?.index ?? snapshot?.index ?? 0;
    const asksOnly = message.type === "RequestVote" && message.preVote;
    assert(
      asksOnly || message.term <= hardState.currentTerm,
      `${node.id} sends term ${message.term} before it is durable`,
    );
    if (message.type === "AppendEntriesReply" && message.success) {
      assert(message.matchIndex <= last, `${node.id} claims entry ${message.matchIndex} with ${last} durable`);
    }
    if (message.type === "InstallSnapshotReply") {
      assert(
        message.matchIndex <= Math.max(last, snapshot?.index ?? 0),
        `${node.id} claims a snapshot before it is durable`,
      );
    }
    if (
      message.type === "RequestVoteReply" &&
      message.voteGranted &&
      !message.preVote &&
      message.term === hardState.currentTerm
    ) {
      assert(hardState.votedFor === to, `${node.id} votes for ${to} before that is durable`);
    }
  }

  /** What raft takes to be durable is on the disk. */
  function checkDurable({ id, raft, disk }: TestNode): void {
    if (raft === null) return;
    const covered = disk.snapshot?.index ?? 0;
    const first = disk.entries[0]?.index ?? 0;
    for (let index = Math.max(raft.firstIndex, covered + 1); index <= raft.durableIndex; index++) {
      // Where it is if none is missing before it: this is asked for every entry after every turn.
      const expected = disk.entries[index - first];
      const stored = expected?.index === index ? expected : disk.entries.find((entry) => entry.index === index);
      if (stored?.term !== raft.termAt(index)) assert(false, `entry ${index}, durable for ${id}, is on its disk`);
    }
    assert(
      raft.durableIndex <= Math.max(covered, disk.entries.at(-1)?.index ?? 0),
      `${id} takes entry ${raft.durableIndex} to be durable, and its disk holds less`,
    );
  }

  function check(): void {
    const running = [...nodes.values()].flatMap((node) => (node.raft === null ? [] : [node.raft]));
    for (const raft of running) checkDeep(raft);
    checkCluster(running);
  }

  // --- What tests do

  function run(ms: number): void {
    pass(scheduler, ms);
    check();
  }

  function runUntil(what: string, holds: () => boolean, withinMs = 5_000): void {
    assert(passUntil(scheduler, holds, withinMs), `within ${withinMs}ms: ${what}`);
    check();
  }

  function leader(): TestNode | null {
    let found: TestNode | null = null;
    for (const node of nodes.values()) {
      if (node.raft?.role !== "leader") continue;
      if (found === null || node.raft.currentTerm > (found.raft?.currentTerm ?? 0)) found = node;
    }
    return found;
  }

  /** A leader that has committed in its term; optionally one of these. */
  function elect(...among: string[]): TestNode {
    const wanted = among.map((name) => idOf(name));
    const ready = (): TestNode | null => {
      const node = leader();
      if (node?.raft?.leadership === null || node === null || node.raft === null) return null;
      if (wanted.length > 0 && !wanted.includes(node.id)) return null;
      return node.raft.commitIndex >= must(node.raft.leadership, "a leadership").noopIndex ? node : null;
    };
    runUntil(`a leader${among.length > 0 ? ` among ${among.join(", ")}` : ""}`, () => ready() !== null);
    return must(ready(), "the leader");
  }

  /** Makes `name` the leader by letting its timer run out first. */
  function electNode(name: string): TestNode {
    if (leader()?.id === idOf(name)) return elect(name);
    const current = leader();
    if (current === null) {
      give(name, { type: "tick", now: scheduler.now() + TIMES.electionMaxMs, wall: 0 });
      return elect(name);
    }
    elect();
    const result = transfer(name);
    runUntil(`${name} takes over`, () => answers.changed.some((answer) => answer.token === result));
    return elect(name);
  }

  function propose(name: string, text: string): number {
    const token = ++tokens;
    const draft = {
      kind: "command",
      session: 0,
      number: 0,
      acknowledgedThrough: 0,
      body: new TextEncoder().encode(text),
    } as const;
    give(name, { type: "propose", token, draft });
    return token;
  }

  function change(name: string, what: MembershipChange): number {
    const token = ++tokens;
    give(name, { type: "change", token, change: what });
    return token;
  }

  function transfer(to: string | null, from = must(leader(), "a leader").id): number {
    const token = ++tokens;
    give(from, { type: "transfer", token, to: to === null ? null : nodeId(to) });
    return token;
  }

  function read(name: string): number {
    const token = ++tokens;
    give(name, { type: "read", token });
    return token;
  }

  function changed(token: number, withinMs = 10_000): ChangeResult {
    const find = () => answers.changed.find((answer) => answer.token === token);
    runUntil(`an answer to ${token}`, () => find() !== undefined, withinMs);
    return must(find(), "the answer");
  }

  function readAnswer(token: number, withinMs = 5_000): ReadResult {
    const find = () => answers.read.find((answer) => answer.token === token);
    runUntil(`an answer to ${token}`, () => find() !== undefined, withinMs);
    return must(find(), "the answer");
  }

  function snapshot(name: string): SnapshotMeta {
    const node = at(name);
    const meta = metaAt(raftOf(name), node.appliedIndex);
    later(node, () => {
      node.stored.set(meta.index, meta);
      give(node.id, { type: "snapshotSaved", meta });
    });
    return meta;
  }

  const texts = (name: string): string[] => at(name).applied.map(({ text }) => text);

  function converge(withinMs = 10_000): void {
    const running = () => [...nodes.values()].filter((node) => node.raft !== null);
    runUntil(
      "all have applied the same",
      () => {
        const lead = leader()?.raft;
        if (!lead) return false;
        const inConfiguration = running().filter((node) => lead.members.all.includes(node.id));
        return inConfiguration.every((node) => node.appliedIndex === lead.lastIndex && node.raft?.leader === lead.self);
      },
      withinMs,
    );
  }

  for (const name of names) addNode(idOf(name), [firstEntry]);

  return {
    scheduler,
    random,
    nodes,
    sent,
    history,
    leaders,
    answers,
    at,
    raftOf,
    start,
    crash,
    cut,
    heal,
    isolate,
    cutOneWay,
    hang,
    makeRoom,
    give,
    run,
    runUntil,
    leader,
    elect,
    electNode,
    propose,
    change,
    changed,
    transfer,
    read,
    readAnswer,
    snapshot,
    texts,
    converge,
    check,
    join: (name: string, incarnation = "1") => addNode(idOf(name, incarnation), []),
    disconnect: (a: string, b: string) => disconnect(idOf(a), idOf(b)),
    reconnect: (a: string, b: string) => connect(idOf(a), idOf(b)),
    setLatency: (ms: () => number) => (latencyMs = ms),
    setWatch: (watcher: ((sent: Sent) => "pass" | "drop") | null) => (watch = watcher),
    pause: (name: string) => (at(name).paused = true),
    resume: (name: string) => {
      at(name).paused = false;
      plan(at(name));
    },
  };
}

export function textOf(entry: Entry): string {
  return new TextDecoder().decode(fieldsOf(entry).body);
}

interface Fitting {
  readonly written: Persist;
  readonly unwritten: { readonly entriesFrom: LogIndex | null; readonly snapshot: boolean } | null;
}

/** In the order of the frames: the snapshot, then the entries. Takes up the room. */
function whatFits(node: TestNode, persist: Persist): Fitting {
  const { snapshot, entries } = persist;
  if (snapshot !== null && node.room === 0) {
    if (node.places === 0) {
      const written = { ...persist, snapshot: null, entries: [] };
      return { written, unwritten: { entriesFrom: entries[0]?.index ?? null, snapshot: true } };
    }
    node.places--;
  }
  const fitting = entries.slice(0, node.room);
  node.room -= fitting.length;
  const cutOff = entries[fitting.length];
  const unwritten = cutOff === undefined ? null : { entriesFrom: cutOff.index, snapshot: false };
  return { written: { ...persist, entries: fitting }, unwritten };
}

function writeTo(disk: Disk, persist: Persist): void {
  if (persist.hardState !== null) disk.hardState = persist.hardState;
  const { snapshot, entries } = persist;
  if (snapshot !== null) {
    if (snapshot.reset) disk.entries = [];
    disk.snapshot = snapshot.meta;
  }
  const [first] = entries;
  if (first !== undefined) {
    const lastIndex = disk.entries.at(-1)?.index ?? disk.snapshot?.index ?? 0;
    assert(first.index <= lastIndex + 1, `entry ${first.index} is written behind ${lastIndex} without a gap`);
    disk.entries = disk.entries.filter((entry) => entry.index < first.index);
    disk.entries.push(...entries);
  }
  if (snapshot !== null) disk.entries = disk.entries.filter((entry) => entry.index >= snapshot.keepFrom);
}
