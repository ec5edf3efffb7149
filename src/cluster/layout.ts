// The paths of a local cluster's files: everything of cluster `default` is under `.raftq/default/`.
import { join, relative } from "node:path";
import { RaftqError } from "../lib/errors.ts";

/** Below the working directory: clusters, and the directories of single nodes. */
export const ROOT = ".raftq";

const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

export interface Layout {
  readonly name: string;
  /** `.raftq/<name>`, created by `cluster up`. */
  readonly directory: string;
  readonly stateFile: string;
  /** Shows that `cluster up` created the directory: only then may a purge delete it. */
  readonly marker: string;
  /** Relative to the working directory where that is shorter: the path of a socket is limited to about 107 bytes. */
  readonly controlSocket: string;
  readonly supervisorLog: string;
  /** The cluster's own certificate authority and all that it issued; absent without `--tls`. */
  readonly tlsDirectory: string;
}

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** The paths of the files of one certificate: of the node `n1`, or of `admin`, `client`, `read-only`. */
export function tlsFiles(layout: Layout, owner: string): TlsFiles {
  const file = (base: string): string => join(layout.tlsDirectory, base);
  return { cert: file(`${owner}.crt`), key: file(`${owner}.key`), ca: file("ca.crt") };
}

/** A name that `cluster up` takes, "nodes" left out: that one is for the directories of `raftq node`. */
export const isClusterName = (name: string): boolean => NAME.test(name) && name !== "nodes";

export function clusterLayout(root: string, name: string): Layout {
  if (!NAME.test(name)) {
    throw new RaftqError(
      "USAGE",
      `--name "${name}" is no cluster name: use 1 to 32 small letters, digits and "-", and start with a letter or digit`,
    );
  }
  if (name === "nodes") {
    throw new RaftqError(
      "USAGE",
      '--name "nodes" is reserved for the directories of `raftq node`: choose another name',
    );
  }
  const directory = join(root, name);
  const file = (base: string): string => join(directory, base);
  return {
    name,
    directory,
    stateFile: file("cluster.json"),
    marker: file(".created-by-raftq-cluster-up"),
    controlSocket: shorter(file("control.sock")),
    supervisorLog: file("supervisor.log"),
    tlsDirectory: file("tls"),
  };
}

export function nodeDirectory(layout: Layout, id: string): string {
  return join(layout.directory, id);
}

export function nodeLog(layout: Layout, id: string): string {
  return join(layout.directory, `${id}.log`);
}

function shorter(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.length < path.length ? fromHere : path;
}
