// Which targets are there?
import { control } from "./control-target.ts";
import { conversation } from "./conversation-target.ts";
import { directories, records } from "./disk-targets.ts";
import { commands, log, replies } from "./queue-targets.ts";
import { state } from "./state-target.ts";
import type { FuzzTarget } from "./target.ts";
import { codec, frames } from "./wire-targets.ts";

export const TARGETS: readonly FuzzTarget[] = [
  frames,
  codec,
  commands,
  replies,
  log,
  state,
  records,
  directories,
  control,
  conversation,
];

export function findTarget(name: string): FuzzTarget {
  const found = TARGETS.find((target) => target.name === name);
  if (found === undefined)
    throw new Error(`there is no target "${name}"; there are ${TARGETS.map((target) => target.name).join(", ")}`);
  return found;
}
