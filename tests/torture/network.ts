// How are the machines of a run connected, and how is a connection harmed? One bridge, one network namespace for each place;
// nftables on the bridge decides what passes from one place to another.
import { sh } from "./shell.ts";

export const PORT = 7000;
const SUBNET = "10.77.0";

export type Harm =
  | { readonly type: "drop"; readonly from: string; readonly to: string }
  | { readonly type: "loss"; readonly from: string; readonly to: string; readonly percent: number };

export interface Network {
  /** What to write before a command so that it runs at this place. */
  enter(place: string): readonly string[];
  ip(place: string): string;
  /** The undo. */
  harm(harms: readonly Harm[]): () => void;
  /** Nothing is lost between the two, in either direction. */
  isClean(a: string, b: string): boolean;
  /** Every packet to or from the node's port is answered with a reset, until the undo. */
  reset(place: string): () => void;
  /** The undo. */
  slow(place: string, kbit: number): () => void;
}

export function createNetwork(places: readonly string[]): Network {
  const ipOf = (place: string): string => `${SUBNET}.${places.indexOf(place) + 1}`;
  sh(["ip", "link", "add", "rqbr", "type", "bridge"]);
  sh(["ip", "addr", "add", `${SUBNET}.254/24`, "dev", "rqbr"]);
  sh(["ip", "link", "set", "rqbr", "up"]);
  for (const place of places) {
    const outside = veth(place);
    sh(["ip", "netns", "add", place]);
    sh(["ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", place]);
    sh(["ip", "link", "set", outside, "master", "rqbr", "up"]);
    sh(["ip", "-n", place, "addr", "add", `${ipOf(place)}/24`, "dev", "eth0"]);
    sh(["ip", "-n", place, "link", "set", "eth0", "up"]);
    sh(["ip", "-n", place, "link", "set", "lo", "up"]);
  }
  const active = new Set<Harm>();
  const enter = (place: string): readonly string[] => ["nsenter", `--net=/run/netns/${place}`, "--"];
  return {
    enter,
    ip: ipOf,
    harm: (harms) => {
      for (const one of harms) active.add(one);
      load(active);
      return () => {
        for (const one of harms) active.delete(one);
        load(active);
      };
    },
    isClean: (a, b) => ![...active].some(({ from, to }) => (from === a && to === b) || (from === b && to === a)),
    reset: (place) => {
      // Not the harness itself, which looks at nodes from outside.
      const rule = `ip saddr != ${SUBNET}.254 tcp`;
      const rules = [`${rule} dport ${PORT} reject with tcp reset`, `${rule} sport ${PORT} reject with tcp reset`];
      const chain = `chain c { type filter hook input priority 0; ${rules.join("; ")}; }`;
      sh([...enter(place), "nft", "-f", "-"], `table inet storm { ${chain}\n}\n`);
      return () => void sh([...enter(place), "nft", "delete", "table", "inet", "storm"]);
    },
    slow: (place, kbit) => {
      const bucket = ["tbf", "rate", `${kbit}kbit`, "burst", "8kb", "latency", "500ms"];
      sh(["tc", "qdisc", "add", "dev", veth(place), "root", ...bucket]);
      sh(["tc", "-n", place, "qdisc", "add", "dev", "eth0", "root", ...bucket]);
      return () => {
        sh(["tc", "qdisc", "del", "dev", veth(place), "root"]);
        sh(["tc", "-n", place, "qdisc", "del", "dev", "eth0", "root"]);
      };
    },
  };
}

const veth = (place: string): string => `rq-${place}`;

/** All rules at once, in one transaction. Address resolution always passes, or a healed link would stay dead for seconds. */
function load(harms: ReadonlySet<Harm>): void {
  const rules = [...harms].map((harm) => {
    const pair = `ether type ip iifname ${veth(harm.from)} oifname ${veth(harm.to)}`;
    return harm.type === "drop" ? `${pair} drop` : `${pair} numgen random mod 100 < ${harm.percent} drop`;
  });
  const chain = `chain c { type filter hook forward priority 0; ${rules.map((rule) => `${rule}; `).join("")}}`;
  sh(["nft", "-f", "-"], `table bridge harm\ndelete table bridge harm\ntable bridge harm { ${chain}\n}\n`);
}
