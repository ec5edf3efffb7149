// How does a test sit at a terminal? It starts the binary on a pseudo-terminal, types, and reads what appears.
import { BINARY } from "../scripts/project.ts";

export interface Terminal {
  /** What has appeared since the last call, once `expected` is in it. */
  until(expected: string): Promise<string>;
  press(keys: string): void;
  /** Types a line, and gives what appears until `expected` does. */
  type(line: string, expected: string): Promise<string>;
  /** What is left to see when the program has ended. */
  rest(): Promise<string>;
  readonly exited: Promise<number>;
}

/** `raftq …words`; with `shell` a line of sh in which "$@" is that command. */
export function openTerminal(
  words: readonly string[],
  options: {
    readonly directory?: string;
    readonly environment?: Record<string, string>;
    readonly shell?: string;
  } = {},
): Terminal {
  let seen = "";
  const decoder = new TextDecoder();
  const command = [BINARY, ...words];
  const child = Bun.spawn(options.shell === undefined ? command : ["sh", "-c", options.shell, "sh", ...command], {
    cwd: options.directory ?? import.meta.dir,
    env: { PATH: process.env["PATH"] ?? "", TERM: "xterm", ...options.environment },
    terminal: {
      cols: 200,
      rows: 50,
      data: (_, bytes) => {
        seen += decoder.decode(bytes, { stream: true });
      },
    },
  });
  const take = (): string => {
    const found = seen;
    seen = "";
    return found;
  };
  const until = async (expected: string): Promise<string> => {
    const end = performance.now() + 4_000;
    while (!seen.includes(expected)) {
      if (performance.now() > end) throw new Error(`"${expected}" did not appear in ${JSON.stringify(seen)}`);
      await Bun.sleep(5);
    }
    return take();
  };
  return {
    until,
    press: (keys) => void child.terminal?.write(keys),
    type: (line, expected) => {
      child.terminal?.write(`${line}\r`);
      return until(expected);
    },
    rest: async () => {
      await child.exited;
      await Bun.sleep(20);
      return take();
    },
    exited: child.exited,
  };
}
