// A link that is slow: everything through it passes in small pieces, both ways, at so many bytes a millisecond. A timer that is late on
// a busy machine does not make it slower still: what is due by the clock passes.
import { connect, createServer, type Socket } from "node:net";
import { freePorts } from "../kit/free-ports.ts";

const PIECE_BYTES = 8 * 1024;

export interface SlowLink {
  readonly address: string;
  close(): void;
}

export function startSlowLink(target: string, bytesPerMs: number): Promise<SlowLink> {
  const [host = "", port = ""] = target.split(":");
  const [own = 0] = freePorts(1);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), host);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (bytes: Buffer) => pass(bytes, from, to, bytesPerMs));
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  return new Promise((resolve) => {
    server.listen(own, "127.0.0.1", () => {
      const close = (): void => {
        server.close();
        for (const socket of sockets) socket.destroy();
      };
      resolve({ address: `127.0.0.1:${own}`, close });
    });
  });
}

function pass(bytes: Buffer, from: Socket, to: Socket, bytesPerMs: number): void {
  from.pause();
  const began = performance.now();
  let at = 0;
  const next = (): void => {
    const due = (performance.now() - began) * bytesPerMs;
    for (; at <= due && at < bytes.length; at += PIECE_BYTES) to.write(bytes.subarray(at, at + PIECE_BYTES));
    if (to.destroyed) return void from.resume();
    setTimeout(at < bytes.length ? next : () => void from.resume(), (at - due) / bytesPerMs);
  };
  next();
}
