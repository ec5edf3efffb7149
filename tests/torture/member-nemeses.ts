// Which changes of membership come in between? Leadership is handed over; a member is removed, and comes back with an empty disk.
import { CLUSTER } from "../../src/config.ts";
import { flaw, hold, type Nemesis } from "./nemesis.ts";
import { run, until } from "./shell.ts";
import { addressesOf, becomesVoter, claim, isVoter, names, release, type World } from "./world.ts";

const cluster = (world: World, args: readonly string[]): ReturnType<typeof run> =>
  run([world.binary, "cluster", ...args, "--addr", addressesOf(world)], CLUSTER.membershipTimeoutMs + 10_000);

/** 1: no leader took it over in time; 3: nobody could be asked; 5: unclear; 6: another change is under way. */
const MAY_FAIL = [1, 3, 5, 6];
const STILL_MEMBER_MS = 5_000;

const transfer: Nemesis = {
  name: "transfer",
  needs: [],
  strike: async (world, random) => {
    const to = world.nodes[random.below(world.nodes.length)];
    if (to === undefined || to.standing !== "member") return null;
    const { code, text } = await cluster(world, ["transfer", to.id]);
    if (code !== 0 && !MAY_FAIL.includes(code ?? 0)) world.blame(`transfer to ${to.id} exited with ${code}: ${text}`);
    return { what: `to ${to.id}: ${code === 0 ? "done" : text}`, holdMs: 10, heal: async () => undefined };
  },
};

const removeAndAdd: Nemesis = {
  name: "remove-and-add",
  needs: [],
  strike: async (world, random) => {
    if (world.nodes.some((node) => node.standing !== "member")) return null;
    const nodes = claim(world, 1, random);
    const [node] = nodes ?? [];
    if (nodes === null || node === undefined) return null;
    flaw(nodes, "remove-and-add");
    node.standing = "outside";
    const { code, text } = await cluster(world, ["remove", node.id]);
    return {
      what: `${names(nodes)}: ${code === 0 ? "removed" : text}`,
      holdMs: hold(random, world, 200, 5_000),
      heal: async () => {
        // What was refused left it a member; what was unclear may have removed it.
        if (code === 0 || !(await until(STILL_MEMBER_MS, () => isVoter(world, node)))) {
          await node.kill();
          node.wipe();
          node.start({ joinOnly: true });
          await becomesVoter(world, node);
        }
        node.standing = "member";
        release(nodes, "remove-and-add");
      },
    };
  },
};

export const MEMBER_NEMESES: readonly Nemesis[] = [transfer, removeAndAdd];
