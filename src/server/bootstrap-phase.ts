// The phase in which a node may found a cluster together with others: what it states to them, and what ends the phase.
import { must } from "../lib/assert.ts";
import { RaftqError } from "../lib/errors.ts";
import type { Entry } from "../raft/entry.ts";
import { entryAt } from "../raft/log.ts";
import type { ClusterId, Member } from "../raft/types.ts";
import type { Storage } from "../storage/types.ts";
import { type BootstrapResult, startBootstrap, statementReceived, stopBootstrap } from "./bootstrap.ts";
import { bootstrapEntryFrom, bootstrapSet, type BootstrapStatement, isUnusedAndAlone } from "./bootstrap-rules.ts";
import type { Replica } from "./replica.ts";
import { endRun, type Entering, type Run } from "./run.ts";
import { requestJoin, writeFirstEntry } from "./serve.ts";
import { stopJoin } from "./join.ts";

export function bootstrapTogether(run: Run, storage: Storage, self: Member): void {
  const { settings, ports } = run;
  const set = bootstrapSet(settings.join, settings.advertise);
  const expect = settings.expect ?? set.length;
  if (set.length !== expect) {
    const why = `--expect ${expect} does not fit the ${set.length} founders named: ${set.join(", ")}`;
    return endRun(run, new RaftqError("USAGE", why));
  }
  const { network, clock, log } = ports;
  const statement = { expect, set, fresh: true, record: null };
  const bootstrap = startBootstrap({ network, clock, log }, self, statement, (result) =>
    bootstrapped(run, storage, self, result),
  );
  run.phase = { type: "bootstrapping", bootstrap, isFresh: true };
}

function bootstrapped(run: Run, storage: Storage, self: Member, result: BootstrapResult): void {
  const { phase, settings } = run;
  if (phase.type !== "bootstrapping") return;
  switch (result.type) {
    case "founded": {
      const entering: Entering = { type: "entering", isFresh: phase.isFresh, firstEntry: null };
      run.phase = entering;
      if (run.join !== null) stopJoin(run.join);
      run.join = null;
      return writeFirstEntry(run, storage, self, result.entry, () => {});
    }
    case "join": {
      phase.isFresh = false;
      const text = "a cluster exists there already: asking to be let in";
      run.ports.log({ level: "info", event: "joining", text });
      return requestJoin(run, self, otherAddresses(settings.join, self), null);
    }
    case "refused":
      return endRun(run, result.error);
  }
}

const otherAddresses = (addresses: readonly string[], self: Member): readonly string[] =>
  addresses.filter((address) => address !== self.address);

/** Another founder sends its own statement. The result is this node's, which answers it. */
export function founderStated(run: Run, from: Member, theirs: BootstrapStatement): BootstrapStatement {
  // Later, so that our statement still reaches the other side when theirs makes us refuse.
  run.ports.clock.after(0, () => {
    if (run.phase.type === "bootstrapping") statementReceived(run.phase.bootstrap, from, theirs);
  });
  return ownStatement(run);
}

/**
 * "Fresh" until its first entry is durable, also while it takes over another founder's. Only the lowest id concludes anything from
 * that, and it has written this very entry, unless its disk was lost meanwhile: then it may bootstrap once more with those that are
 * fresh. Both clusters have the same members' addresses, and each node belongs to one of them for good: only one ever has a
 * majority, so nothing acknowledged is lost; the nodes of the other one log CLUSTER_MISMATCH until a person wipes them. "Not fresh"
 * without an entry would be worse: its receiver would ask to be let into a cluster that may never begin.
 */
function ownStatement({ settings, phase }: Run): BootstrapStatement {
  const set = bootstrapSet(settings.join, settings.advertise);
  const expect = settings.expect ?? set.length;
  switch (phase.type) {
    case "bootstrapping":
      return { expect, set, fresh: phase.isFresh, record: null };
    case "entering":
      return { expect, set, fresh: phase.isFresh, record: phase.firstEntry?.record ?? null };
    case "serving":
      return { expect, set, fresh: false, record: firstEntryOf(phase.replica)?.record ?? null };
    case "opening":
    case "rejoining":
    case "joining":
    case "ended":
      return { expect, set, fresh: false, record: null };
  }
}

/** A founder that missed the bootstrap needs it to vote: it may be the one that makes a majority when others have lost their disks. */
function firstEntryOf({ raft, clusterId }: Replica): Entry | null {
  const first = entryAt(raft.log, 1);
  if (first !== undefined) return first.kind === "config" ? first : null;
  return bootstrapEntryFrom(raft.configuration, clusterId);
}

/** A member of another cluster dialed this address, and takes this very node for a member of that cluster. */
export function foreignMemberDialed(run: Run, theirs: ClusterId, from: Member): void {
  const { phase, settings } = run;
  if (phase.type === "bootstrapping") return abandonBootstrap(run, from);
  if (phase.type !== "serving" || settings.join.length > 0 || !isUnusedAndAlone(phase.replica.raft)) return;
  const why = `cluster ${theirs}, of ${from.id} at ${from.address}, has ${settings.id} as a member, but this node founded ${phase.replica.clusterId} alone`;
  const advice = `start it with an empty --data and --join ${from.address}`;
  endRun(run, new RaftqError("CLUSTER_MISMATCH", `${why}; ${advice}`));
}

/**
 * A member of a living cluster knows this address: this directory was wiped. The node must be let in again by that cluster, under a
 * new incarnation, and bootstraps no other one.
 */
function abandonBootstrap(run: Run, from: Member): void {
  const { phase, settings, ports } = run;
  // A founder of our own set that was quicker: asked, it gives us its first entry.
  if (phase.type !== "bootstrapping" || ownStatement(run).set.includes(from.address)) return;
  stopBootstrap(phase.bootstrap);
  run.phase = { type: "joining" };
  const text = `${from.id} of an existing cluster knows this address: asking to be let in`;
  ports.log({ level: "info", event: "joining", text });
  const self = must(run.self, "this node as a member");
  requestJoin(run, self, [from.address, ...otherAddresses(settings.join, self)], null);
}
