/**
 * Sample members, configurations, entries and messages for every test that needs some. `n1`, `n2`, ... name members, "n1@..." one
 * incarnation of a member.
 */
import { encodeConfiguration } from "../../src/raft/configuration.ts";
import { encodeEntry, type Draft, type Entry } from "../../src/raft/entry.ts";
import type { AppendEntries, RaftMessage, RequestVote } from "../../src/raft/messages.ts";
import {
  type Configuration,
  isIncarnation,
  isMemberId,
  isNodeId,
  memberId,
  type Member,
  type MemberId,
  type NodeId,
} from "../../src/raft/types.ts";

export const TIMES = { heartbeatMs: 50, electionMinMs: 300, electionMaxMs: 600 };

/** Of one Raft, without what it has recovered. */
export const RAFT_SETTINGS = {
  ...TIMES,
  maxAppendBytes: 4_096,
  maxInflightMessages: 16,
  maxInflightBytes: 64 * 1_024,
  maxUncommittedBytes: 1_024 * 1_024,
  keepLogBytes: 0,
};

export function nodeId(text: string): NodeId {
  if (!isNodeId(text)) throw new Error(text);
  return text;
}

/** Member `n1`, first incarnation unless another digit is given. */
export function member(id: string, incarnation = "1"): Member {
  const text = incarnation.padEnd(16, "0");
  if (!isIncarnation(text)) throw new Error(text);
  return { id: nodeId(id), incarnation: text, address: `127.0.0.1:3${id.slice(1).padStart(3, "0")}` };
}

export function idOf(id: string, incarnation = "1"): MemberId {
  const text = id.includes("@") ? id : memberId(member(id, incarnation));
  if (!isMemberId(text)) throw new Error(text);
  return text;
}

const NO_BODY = new Uint8Array(0);

export function configuration(...voters: string[]): Configuration {
  return { voters: voters.map((name) => member(name)), outgoing: [], learners: [], removed: [] };
}

export function draft(text = "x", kind: Draft["kind"] = "command"): Draft {
  return {
    kind,
    session: 0,
    number: 0,
    acknowledgedThrough: 0,
    body: text === "" ? NO_BODY : new TextEncoder().encode(text),
  };
}

export function entry(index: number, term: number, text = `${index}/${term}`): Entry {
  return encodeEntry({ index, term, time: index, wall: 0 }, draft(text));
}

export function configEntry(index: number, term: number, what: Configuration): Entry {
  const body = encodeConfiguration(what);
  return encodeEntry({ index, term, time: index, wall: 0 }, { ...draft(""), kind: "config", body });
}

/** Entry 1 names n1, n2, n3; then one entry per given term. */
export function logOf(...terms: number[]): Entry[] {
  return [configEntry(1, 1, configuration("n1", "n2", "n3")), ...terms.map((term, at) => entry(at + 2, term))];
}

export function requestVote(
  term: number,
  lastLogIndex: number,
  lastLogTerm: number,
  more: Partial<RequestVote> = {},
): RequestVote {
  return { type: "RequestVote", term, preVote: false, transfer: false, lastLogIndex, lastLogTerm, ...more };
}

export function appendEntries(
  term: number,
  prevLogIndex: number,
  prevLogTerm: number,
  entries: Entry[],
  leaderCommit = 0,
): AppendEntries {
  return { type: "AppendEntries", term, prevLogIndex, prevLogTerm, leaderCommit, entries };
}

export function heartbeat(term: number, leaderCommit = 0, readContext = 0, time = 0): RaftMessage {
  return { type: "Heartbeat", term, leaderCommit, time, readContext };
}

export function acknowledge(term: number, matchIndex: number): RaftMessage {
  return {
    type: "AppendEntriesReply",
    term,
    success: true,
    matchIndex,
    rejectedIndex: 0,
    hintIndex: 0,
    hintTerm: 0,
    diskLow: false,
  };
}

export function refuse(term: number, rejectedIndex: number, hintIndex: number, hintTerm: number): RaftMessage {
  return {
    type: "AppendEntriesReply",
    term,
    success: false,
    matchIndex: 0,
    rejectedIndex,
    hintIndex,
    hintTerm,
    diskLow: false,
  };
}
