// Is there a message that, as somebody's first word after the greeting, harms a node? Every one of the protocol, from everybody, in
// every scene, on a connection of its own; the fuzzer sends them in any order, and broken.
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/lib/random.ts";
import { FRAMES } from "../../src/wire/layouts.ts";
import { PEER_MESSAGES } from "../../src/wire/peer-layouts.ts";
import type { WireMessage } from "../../src/wire/protocol.ts";
import { asPeerFrame, EXAMPLES, PEER_EXAMPLES } from "../kit/messages.ts";
import { judged, lieInWait, visit } from "./conversation-target.ts";
import { buildScene, DIALING, type Scene, SCENES, type SceneName } from "./scenes.ts";
import { DIALED_STANDINGS, DIALING_STANDINGS, type Side, type Standing, type Stranger } from "./stranger.ts";

/** Hello and its answer also as where a secret is shared. */
const PROVING = EXAMPLES.flatMap((message): readonly WireMessage[] => {
  if (message.type === "hello") return [{ ...message, nonce: new Uint8Array(32) }];
  return message.type === "helloAnswer" ? [{ ...message, proof: new Uint8Array(32) }] : [];
});
const MESSAGES: readonly WireMessage[] = [
  ...EXAMPLES,
  ...PROVING,
  ...PEER_EXAMPLES.map((message) => asPeerFrame(message)),
];
const TYPES = [...Object.keys(FRAMES).filter((type) => type !== "peer"), ...Object.keys(PEER_MESSAGES)];
/** A trusted member, and a member of another cluster that knows the address of a lone node. */
const MAY_END: ReadonlySet<Standing> = new Set(["member", "foreigner", "another"]);
/** Who has no cluster yet, or none any more, depends on what it receives. */
const UNSETTLED: ReadonlySet<SceneName> = new Set(["founder", "joiner", "rejoining", "let in"]);
/** In virtual time. */
const DIAL_AGAIN_MS = 8_000;
const MOST_CAUGHT = 1_000;

/** The next connection to speak on; null: nobody is at home any more. */
type Meet = () => Stranger | null;

function meeting(scene: Scene, side: Side): Meet {
  const caught = lieInWait(scene, MOST_CAUGHT);
  let next = 0;
  if (side === "dials") return () => visit(scene, scene.nodes[next++ % scene.nodes.length]!);
  return () => {
    for (let waited = 0; caught.length === 0 && waited < DIAL_AGAIN_MS; waited += 20) scene.testCluster.pass(20);
    return caught.shift() ?? null;
  };
}

/** Sends one message after the other; a scene that was ended by a trusted member, as it may be, is built anew for the next one. */
function sendAll(
  name: SceneName,
  side: Side,
  standing: Standing,
): { readonly words: Set<string>; readonly scenes: number } {
  const words = new Set<string>();
  const choices = seededRandom(1);
  const left = MESSAGES.slice();
  let scenes = 0;
  for (; left.length > 0 && scenes <= MESSAGES.length; scenes++) {
    const scene = buildScene(name, choices);
    const meet = meeting(scene, side);
    const outcome = judged(scene, () => {
      while (left.length > 0 && scene.nodes.every(({ stopped }) => stopped() === undefined)) {
        const stranger = meet();
        if (stranger === null) break;
        stranger.become(standing, { ...choices, chance: () => true });
        const message = left.shift()!;
        stranger.send(message);
        scene.testCluster.pass(4);
        stranger.close();
      }
    });
    for (const word of outcome.split("\n")) words.add(word);
  }
  return { words, scenes };
}

const CASES = SCENES.flatMap((name) => [
  ...DIALING_STANDINGS.map((standing) => [name, "dials", standing] as const),
  ...(DIALING.has(name) ? DIALED_STANDINGS.map((standing) => [name, "dialed", standing] as const) : []),
]);

test("the messages that are sent are those of the protocol", () => {
  const sent = MESSAGES.map((message) => (message.type === "peer" ? message.message.type : message.type));
  expect([...new Set<string>(sent)].sort()).toEqual(TYPES.toSorted());
});

test.each(CASES)("in the scene %s, a stranger that %s and is %s can send everything", (name, side, standing) => {
  const { words, scenes } = sendAll(name, side, standing);
  const who = `${name} ${side === "dials" ? "" : "dialed "}${standing}`;
  expect(TYPES.filter((type) => !words.has(`${who} sends ${type}`))).toEqual([]);
  if (!MAY_END.has(standing) && !UNSETTLED.has(name)) expect(scenes).toBe(1);
});
