// The members of the present configuration, and their addresses.
import type { Raft } from "../raft/raft.ts";
import { type Member, type MemberId, memberId } from "../raft/types.ts";
import type { MemberRole } from "../wire/protocol.ts";

/** Every member of the configuration once: a voter of both halves of a joint configuration is a voter. */
export function membersOf(raft: Raft): readonly { readonly member: Member; readonly role: MemberRole }[] {
  const { voters, outgoing, learners } = raft.configuration;
  const seen = new Map<MemberId, { readonly member: Member; readonly role: MemberRole }>();
  const add = (members: readonly Member[], role: MemberRole): void => {
    for (const member of members) if (!seen.has(memberId(member))) seen.set(memberId(member), { member, role });
  };
  add(voters, "voter");
  add(outgoing, "outgoing");
  add(learners, "learner");
  return [...seen.values()];
}

export function leaderAddressOf(raft: Raft): string | null {
  if (raft.leader === null) return null;
  return membersOf(raft).find(({ member }) => memberId(member) === raft.leader)?.member.address ?? null;
}
