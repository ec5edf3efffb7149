// Which faults strike the way back to a leader? Its messages arrive, and the replies to it come very late, or not at all.
import type { Random } from "../../src/lib/random.ts";
import type { FaultTools, Strike } from "./faults.ts";
import type { LeaderFaultClass, Plan } from "./plan.ts";
import type { Machine } from "./world.ts";

/** After so many election timeouts in which a leader receives nothing, another one leads: it takes one or two to step down. */
const DEAF = 8;
const MAJORITIES_FROM = 3;

export function leaderFaults({
  world,
  plan,
  ceased,
  transfer,
  hit,
  fail,
}: FaultTools): Record<LeaderFaultClass, Strike> {
  const { electionMaxMs } = plan.settings;
  const mustElect = isCalmBut(plan, "deafLeader");
  /** One at a time, of each. */
  let lateReplies = 0;
  let deafLeaders = 0;

  const leads = ({ life }: Machine): boolean => life?.inspect()?.raft.role === "leader";
  const termOf = ({ life }: Machine): number => life?.inspect()?.raft.currentTerm ?? 0;

  /**
   * All replies are so late that the leader is followed by another one, and still receives those to its earlier heartbeats. Answers how
   * long that takes.
   */
  function deposedBeforeReplies(leader: Machine, others: readonly Machine[], chance: Random): number {
    const ms = chance.between(Math.floor(1.5 * electionMaxMs), 3 * electionMaxMs);
    const deposedAfter = ms + chance.below(ms);
    const cutMs = chance.between(electionMaxMs, ms + electionMaxMs);
    const losesFlight = chance.chance(50);
    for (const other of others) world.after(deposedAfter + cutMs, world.lateLink(other, leader, ms, ms));
    world.after(deposedAfter, () => {
      if (ceased() || !leads(leader)) return;
      const what = `${leader.id} leads, hears late and is not heard`;
      world.after(
        cutMs,
        world.cut(what, (from) => from === leader, losesFlight),
      );
      world.watch((machine) => {
        if (ceased() || !leads(leader)) return true;
        if (!leads(machine) || termOf(machine) <= termOf(leader)) return false;
        hit("another led while late replies kept a leader in office");
        return true;
      });
    });
    return deposedAfter + cutMs;
  }

  /** One member's replies are so late that the leader has handed over, and leads again in a later term, when they come. */
  function reelectedBeforeReplies(leader: Machine, others: readonly Machine[], chance: Random): number {
    const at = chance.below(others.length);
    const [late, heir] = [others[at]!, others[(at + 1) % others.length]!];
    const ms = chance.between(electionMaxMs, 2 * electionMaxMs);
    let over = false;
    const whenLeads = (machine: Machine, run: () => void): void =>
      when(
        () => leads(machine),
        () => over,
        run,
      );
    world.after(3 * ms, world.lateLink(late, leader, ms, ms));
    world.after(ms, () => {
      if (ceased() || !leads(leader)) return;
      transfer(leader, heir);
      whenLeads(heir, () => {
        transfer(heir, leader);
        whenLeads(leader, () => hit("a leader led again while replies of its earlier term were late"));
      });
    });
    world.after(2 * ms, () => {
      over = true;
    });
    return 3 * ms;
  }

  /**
   * The leader's requests to one member wait for the network until it is a candidate again: then they arrive together with what it
   * asks as that, and the member's are the first replies.
   */
  function candidateBeforeRequests(leader: Machine, others: readonly Machine[], chance: Random): number {
    const at = chance.below(others.length);
    const [late, heir] = [others[at]!, others[(at + 1) % others.length]!];
    const term = termOf(leader);
    const ms = chance.between(electionMaxMs, 2 * electionMaxMs);
    let over = false;
    const isOver = (): boolean => over;
    const what = `${leader.id} is not heard by ${late.id}`;
    const heal = world.cut(what, (from, to) => from === leader && to === late, false);
    const asksAgain = (): boolean => leader.life?.inspect()?.raft.role === "candidate" && termOf(leader) > term;
    world.after(chance.below(electionMaxMs), () => {
      if (ceased() || !leads(leader)) return;
      transfer(leader, heir);
      when(
        () => leads(heir),
        isOver,
        () => transfer(heir, leader),
      );
      when(asksAgain, isOver, () => {
        hit("requests of an earlier term arrived with the leader's next campaign");
        heal();
        for (const other of others) if (other !== late) world.after(ms, world.lateLink(other, leader, ms, 1));
      });
    });
    world.after(2 * ms, () => {
      over = true;
      heal();
    });
    return 3 * ms;
  }

  const when = (isSo: () => boolean, isOver: () => boolean, run: () => void): void =>
    world.watch(() => {
      if (isOver() || ceased() || !isSo()) return isOver();
      run();
      return true;
    });

  return {
    lateReplies: (chance) => {
      const leader = world.machines.find(leads);
      const others = world.machines.filter((machine) => machine !== leader && machine.life !== null);
      if (leader === undefined || others.length < MAJORITIES_FROM - 1 || lateReplies > 0) return;
      lateReplies++;
      const faults = [reelectedBeforeReplies, deposedBeforeReplies, candidateBeforeRequests] as const;
      const fault = faults[chance.below(faults.length)] ?? reelectedBeforeReplies;
      world.after(fault(leader, others, chance), () => {
        lateReplies--;
      });
    },
    deafLeader: (chance) => {
      const leader = world.machines.find(leads);
      if (leader === undefined || world.presentVoters().length < MAJORITIES_FROM || deafLeaders > 0) return;
      const term = termOf(leader);
      const ms = DEAF * electionMaxMs;
      let isFollowed = false;
      world.watch((machine) => {
        isFollowed ||= leads(machine) && termOf(machine) > term;
        return isFollowed;
      });
      deafLeaders++;
      const heal = world.cut(`${leader.id} leads and hears nobody`, (_, to) => to === leader, chance.chance(50));
      world.after(ms, () => {
        deafLeaders--;
        heal();
        if (isFollowed) return hit("a leader that received nothing was followed by another");
        if (mustElect && !ceased())
          fail(`${leader.id} heard nobody for ${ms}ms from term ${term} on, and nobody else came to lead`);
      });
    },
  };
}

/** No other fault strikes in this world, and the weather keeps nobody from electing. */
function isCalmBut({ faults, network, settings, disk, clockRates }: Plan, fault: LeaderFaultClass): boolean {
  const isAlone = Object.entries(faults).every(([name, ms]) => name === fault || ms === 0);
  const isQuick = network.delayMaxMs < settings.heartbeatMs && disk.slowSyncPercent === 0;
  return isAlone && isQuick && (network.lossPercent ?? 0) === 0 && clockRates.to - clockRates.from < 0.1;
}
