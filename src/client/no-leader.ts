// What is told when no leader was found? Nobody listens, or: who is missing for a majority, and what to start.
import { type Failure, failure } from "../lib/errors.ts";
import type { NodeStatus } from "../wire/protocol.ts";
import type { Finding } from "./seek.ts";

export function noLeader(finding: Finding): Failure {
  if (finding.reached.size === 0) {
    if (finding.fatal !== null) return finding.fatal;
    const tried = [...finding.unreachable].map(([address, why]) => `${address} (${why})`);
    return failure("UNREACHABLE", `cannot reach ${tried.join(", ")}`, { applied: "no" });
  }
  if (finding.status === null) {
    const [why] = finding.recovering.values();
    if (why !== undefined) return failure("NO_LEADER", `No Leader: ${why}`);
    const nodes = [...finding.reached.values()].map(({ node }) => node.id);
    return failure("NO_LEADER", `No Leader: ${nodes.join(", ")} answered, but know no leader that can be reached`);
  }
  return failure("NO_LEADER", missingMembers(finding.status, finding));
}

/** `1 of 2 members reachable, 2 needed. Start n3001, or …` */
function missingMembers(status: NodeStatus, finding: Finding): string {
  const voters = status.members.filter(({ role }) => role === "voter");
  const missing = voters.filter(({ address, reachable }) => !reachable && !finding.reached.has(address));
  const lost = voters.filter(({ address }) => finding.recovering.has(address));
  const reachable = voters.length - missing.length - lost.length;
  const needed = Math.floor(voters.length / 2) + 1;
  const names = (members: typeof voters, or: string): string =>
    members.map(({ id, address }) => `${id} (${address})`).join(or);
  const count = `No Leader: ${reachable} of ${voters.length} members reachable, ${needed} needed.`;
  if (reachable >= needed) return `${count} An election is under way: wait a moment, then try again.`;
  const waiting =
    lost.length === 0 ? "" : ` ${names(lost, " and ")} lost the data and cannot come back without a majority.`;
  return `${count}${waiting}${missing.length === 0 ? "" : ` Start ${names(missing, ", or ")}.`}`;
}
