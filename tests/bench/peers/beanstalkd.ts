// How does beanstalkd serve as a queue? Its own protocol: put, reserve, delete; one command at a time on a connection.
import { mkdirSync } from "node:fs";
import { freePortRow } from "../../kit/free-ports.ts";
import { createExchange, type Exchange, openConnection } from "./connection.ts";
import { HOST, type Peer, type QueueClient, withClient } from "./peer.ts";
import { serverProcess } from "./processes.ts";

/** Before a reserved job is given to somebody else, in seconds: never, as far as we are concerned. */
const TIME_TO_RUN = 3_600;
/** Connections that empty the queue together. */
const DRAINERS = 16;

interface Answer {
  readonly line: string;
  readonly body: Buffer;
}

interface BeanstalkClient extends QueueClient {
  depth(): Promise<number>;
}

const NO_BODY = Buffer.alloc(0);

/** Each whole answer in `bytes`; the number of bytes they take. */
function takeAnswers(bytes: Buffer, onAnswer: (answer: Answer) => void): number {
  let at = 0;
  for (;;) {
    const end = bytes.indexOf("\r\n", at, "latin1");
    if (end < 0) return at;
    const line = bytes.toString("latin1", at, end);
    const hasBody = line.startsWith("RESERVED ") || line.startsWith("OK ");
    const length = hasBody ? Number(line.slice(line.lastIndexOf(" ") + 1)) : 0;
    const begin = end + 2;
    const next = hasBody ? begin + length + 2 : begin;
    if (bytes.length < next) return at;
    onAnswer({ line, body: hasBody ? bytes.subarray(begin, begin + length) : NO_BODY });
    at = next;
  }
}

async function openBeanstalk(port: number): Promise<BeanstalkClient> {
  const exchange: Exchange<Answer> = createExchange(() => connection);
  const take = (bytes: Buffer): number => takeAnswers(bytes, exchange.answered);
  const connection = await openConnection(port, take, exchange.failAll);
  const expect = async (wanted: string, ...command: readonly (Buffer | string)[]): Promise<Answer> => {
    const answer = await exchange.ask(...command);
    if (!answer.line.startsWith(wanted)) throw new Error(`beanstalkd answered ${answer.line}`);
    return answer;
  };
  return {
    enqueue: async (body) => {
      await expect("INSERTED", `put 0 0 ${TIME_TO_RUN} ${body.length}\r\n`, body, "\r\n");
    },
    dequeue: async () => {
      const { line, body } = await expect("RESERVED", "reserve\r\n");
      const [, id] = line.split(" ");
      await expect("DELETED", `delete ${id}\r\n`);
      return body;
    },
    depth: async () => {
      const { body } = await expect("OK", "stats-tube default\r\n");
      return Number(/current-jobs-ready: (\d+)/.exec(body.toString())?.[1] ?? 0);
    },
    close: () => connection.close(),
  };
}

export function createBeanstalkd(directory: string): Peer {
  const port = freePortRow(1);
  const log = `${directory}/beanstalkd/log`;
  mkdirSync(log, { recursive: true });
  const command = ["beanstalkd", "-l", HOST, "-p", String(port), "-b", log, "-f", "0"];
  const open = (): Promise<BeanstalkClient> => openBeanstalk(port);
  const depth = (): Promise<number> => withClient(open, (client) => client.depth());
  return {
    nodes: [serverProcess(command, `${directory}/beanstalkd`)],
    others: [],
    inFlightPerConnection: 1,
    prepare: () => Promise.resolve(),
    leader: () => Promise.resolve(0),
    connect: open,
    depth,
    clear: async () => {
      let left = await depth();
      const clients = await Promise.all(Array.from({ length: DRAINERS }, open));
      const drain = async (client: BeanstalkClient): Promise<void> => {
        while (left-- > 0) await client.dequeue();
      };
      await Promise.all(clients.map(drain));
      for (const client of clients) client.close();
    },
  };
}
