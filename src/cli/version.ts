// Which raftq is this? The version in package.json, compiled in.
import packageJson from "../../package.json" with { type: "json" };

export const VERSION: string = packageJson.version;
