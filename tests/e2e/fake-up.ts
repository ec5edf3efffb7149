// A supervisor in a process of its own, so that a test can kill it: `bun fake-up.ts <root> <size> <base port>`.
import { clusterLayout } from "../../src/cluster/layout.ts";
import { bringUp } from "../../src/cluster/up.ts";
import { FAKE_PROGRAM } from "./place.ts";

const [root = "", size = "", basePort = ""] = process.argv.slice(2);
const result = await bringUp({
  layout: clusterLayout(root, "default"),
  request: { name: "default", size: Number(size), basePort: Number(basePort) },
  program: FAKE_PROGRAM,
  nodeFlags: [],
  tls: false,
  onNodeDied: () => {},
});
console.log(result.kind);
