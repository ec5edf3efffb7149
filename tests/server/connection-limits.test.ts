// Which connections are admitted, which are refused, and which are evicted?
import { describe, expect, test } from "bun:test";
import { SERVER } from "../../src/config.ts";
import type { MemberId } from "../../src/raft/types.ts";
import { createRequestLimiter, type PendingCount } from "../../src/server/clients.ts";
import {
  addressOf,
  connectionLimitsWithin,
  countAccepted,
  countAdmin,
  countClient,
  countPeer,
  createBufferBudget,
  createConnectionLimiter,
  type MaxConnections,
  uncount,
} from "../../src/server/connection-limits.ts";

const LIMITS: MaxConnections = {
  maxUnauthenticated: 3,
  maxClients: 4,
  maxClientsPerAddress: 2,
  maxAdmins: 3,
  maxPeers: 4,
  maxPeersPerMember: 2,
};
const member = (name: string): MemberId => `${name}@0000000000000001` as MemberId;
const nobody = (): boolean => false;

/** Connections are names; `a1` comes from address `a`. */
function crowd(limits: MaxConnections = LIMITS) {
  const limiter = createConnectionLimiter<string>(limits);
  const enter = (name: string) => countAccepted(limiter, name, `${name[0]}:1`)?.connection ?? null;
  return {
    limiter,
    enter,
    client: (name: string) => {
      enter(name);
      return countClient(limiter, name)?.message ?? null;
    },
    admin: (name: string) => {
      enter(name);
      return countAdmin(limiter, name)?.connection ?? null;
    },
    peer: (name: string, id: string, isKnown: (id: MemberId) => boolean = nobody) => {
      enter(name);
      const { refused, eviction } = countPeer(limiter, name, member(id), isKnown);
      return refused?.message ?? eviction?.connection ?? null;
    },
  };
}

describe("before the hello", () => {
  test("the one that is silent the longest goes, of the address that has the most", () => {
    const { enter } = crowd();
    expect(["b1", "a1", "a2"].map(enter)).toEqual([null, null, null]);
    expect(enter("c1")).toBe("a1");
    // Now each has one.
    expect(enter("c2")).toBe("b1");
    expect(enter("d1")).toBe("c1");
  });

  test("a flood from one address never evicts another address", () => {
    const { enter, limiter } = crowd();
    enter("b1");
    for (let at = 0; at < 1_000; at++) expect(enter(`a${at}`)).not.toBe("b1");
    expect(countClient(limiter, "b1")).toBeNull();
  });

  test("a connection that has sent its hello, or is gone, makes room", () => {
    const { enter, limiter } = crowd();
    for (const name of ["a1", "a2", "a3"]) enter(name);
    countClient(limiter, "a1");
    expect(enter("b1")).toBeNull();
    uncount(limiter, "a2");
    expect(enter("b2")).toBeNull();
    expect(enter("b3")).toBe("b1");
  });
});

describe("clients", () => {
  test("are refused at the limit of their address, while others are let in", () => {
    const { client } = crowd();
    expect([client("a1"), client("a2")]).toEqual([null, null]);
    expect(client("a3")).toContain("2 clients of the address a");
    expect([client("b1"), client("b2")]).toEqual([null, null]);
  });

  test("are refused at their limit, and let in below it", () => {
    const { client, limiter } = crowd();
    for (const name of ["a1", "a2", "b1", "b2"]) expect(client(name)).toBeNull();
    expect(client("c1")).toContain("has its 4 clients");
    uncount(limiter, "b1");
    expect(client("c2")).toBeNull();
  });

  test("never take a place of a member, however many they are", () => {
    const { client, peer } = crowd();
    for (let at = 0; at < 100; at++) client(`${"abcdefgh"[at % 8]}${at}`);
    for (const id of ["n1", "n2", "n3", "n4"]) expect(peer(`a-${id}`, id)).toBeNull();
  });
});

describe("administrators", () => {
  test("have a limit of their own, which no flood of clients reaches", () => {
    const { admin, client } = crowd();
    for (let at = 0; at < 100; at++) client(`${"abcdefgh"[at % 8]}${at}`);
    expect(["a1", "a2", "b1"].map(admin)).toEqual([null, null, null]);
  });

  test("always get in: beyond the limit the oldest goes, of the address that has the most", () => {
    const { admin, limiter } = crowd();
    for (const name of ["b1", "a1", "a2"]) admin(name);
    expect(admin("c1")).toBe("a1");
    expect(admin("c2")).toBe("b1");
    uncount(limiter, "c2");
    expect(admin("d1")).toBeNull();
  });

  test("do not count as clients", () => {
    const { admin, client } = crowd();
    for (let at = 0; at < 100; at++) admin(`a${at}`);
    expect(["a1", "a2", "b1", "b2"].map((name) => client(`${name}-`))).toEqual([null, null, null, null]);
  });
});

describe("members", () => {
  test("have two connections each here: a third one evicts their oldest", () => {
    const { peer } = crowd();
    expect([peer("a1", "n1"), peer("a2", "n1"), peer("a3", "n1"), peer("a4", "n1")]).toEqual([null, null, "a1", "a2"]);
  });

  test("that nobody knows are refused at the limit; one that is known evicts such a one", () => {
    const { peer } = crowd();
    for (const id of ["n5", "n6", "n7", "n8"]) expect(peer(`a${id}`, id)).toBeNull();
    expect(peer("b1", "n9")).toContain("all 4 connections for members are in use");
    const isKnown = (id: MemberId): boolean => id === member("n1") || id === member("n5");
    expect(peer("c1", "n1", isKnown)).toBe("an6");
  });

  test("that are known are never evicted for another member", () => {
    const { peer } = crowd();
    const all = (): boolean => true;
    for (const id of ["n1", "n2", "n3", "n4"]) expect(peer(`a${id}`, id, all)).toBeNull();
    expect(peer("b1", "n5", all)).toContain("all 4 connections for members are in use");
  });
});

test.each([
  ["127.0.0.1:50000", "127.0.0.1"],
  ["[::ffff:10.1.2.3]:50000", "10.1.2.3"],
  ["[2001:db8:1:2:3:4:5:6]:50000", "2001:db8:1:2::/64"],
  ["[2001:db8:1:2::9]:50000", "2001:db8:1:2::/64"],
  ["[2001:db8::9]:50000", "2001:db8:0:0::/64"],
  ["[::1]:50000", "0:0:0:0::/64"],
  ["?:0", "?"],
])("a connection from %s counts for %s", (remote, address) => {
  expect(addressOf(remote)).toBe(address);
});

describe("what all connections hold", () => {
  const anyone = (remote: string) => ({ remote, isMember: false });
  const member = (remote: string) => ({ remote, isMember: true });

  test("above the limit the one without progress for the longest goes, of the address that holds the most", () => {
    const budget = createBufferBudget<string>(100);
    expect(budget.update("b1", anyone("b:1"), 30)).toEqual([]);
    expect(budget.update("a1", anyone("a:1"), 30)).toEqual([]);
    expect(budget.update("a2", anyone("a:1"), 30)).toEqual([]);
    expect(budget.update("c1", anyone("c:1"), 20)).toEqual(["a1"]);
    expect(budget.bytes).toBe(80);
  });

  test("a member goes only when nobody else holds anything, however much and however long it holds", () => {
    const budget = createBufferBudget<string>(100);
    budget.update("m1", member("a:1"), 60);
    budget.update("a1", anyone("a:2"), 30);
    budget.update("b1", anyone("b:1"), 10);
    expect(budget.update("c1", anyone("c:1"), 1)).toEqual(["a1"]);
    expect(budget.update("m2", member("b:2"), 50)).toEqual(["b1", "c1", "m1"]);
    expect(budget.bytes).toBe(50);
  });

  test("who completes a frame, or reads, has made progress; who only adds to it has not", () => {
    const budget = createBufferBudget<string>(100);
    for (const name of ["a1", "a2", "a3"]) budget.update(name, anyone("a:1"), 30);
    budget.update("a1", anyone("a:1"), 10);
    budget.update("a2", anyone("a:1"), 40);
    expect(budget.update("a3", anyone("a:1"), 60)).toEqual(["a2"]);
  });

  test("as many go as it takes, the newcomer itself if need be, and what is gone is forgotten", () => {
    const budget = createBufferBudget<string>(100);
    for (const name of ["a1", "a2", "a3"]) budget.update(name, anyone("a:1"), 30);
    expect(budget.update("a4", anyone("a:1"), 95)).toEqual(["a1", "a2", "a3"]);
    expect(budget.update("a5", anyone("a:1"), 101)).toEqual(["a4", "a5"]);
    budget.update("a6", anyone("a:1"), 50);
    budget.update("a6", anyone("a:1"), 0);
    budget.update("a7", anyone("a:1"), 20);
    budget.leave("a7");
    budget.leave("a7");
    expect(budget.bytes).toBe(0);
  });
});

describe("requests in flight", () => {
  const limits = {
    maxPendingPerConnection: 3,
    maxPendingBytesPerConnection: 100,
    maxPending: 5,
    maxPendingBytes: 150,
  };
  const own = (): PendingCount => ({ requests: 0, bytes: 0 });

  test("are counted for their connection and for all, in number and in bytes; each limit is named", () => {
    const limiter = createRequestLimiter(limits);
    const [a, b] = [own(), own()];
    for (let at = 0; at < 3; at++) expect(limiter.enter(a, 1)).toBeNull();
    expect(limiter.enter(a, 1)).toBe("more than 3 requests are pending on this connection");
    limiter.leave(a, 1);
    expect([limiter.enter(b, 1), limiter.enter(b, 1)]).toEqual([null, null]);
    expect(limiter.enter(b, 1)).toBe("more than 5 requests are pending on this node");
  });

  test("are counted by what is kept of them", () => {
    const limiter = createRequestLimiter(limits);
    const [a, b] = [own(), own()];
    expect(limiter.enter(a, 100)).toBeNull();
    expect(limiter.enter(a, 1)).toBe("more than 100 bytes of requests are pending on this connection");
    limiter.leave(a, 1);
    expect(limiter.enter(b, 51)).toBe("more than 150 bytes of requests are pending on this node");
    limiter.leave(b, 51);
    limiter.leave(a, 100);
    expect(limiter.enter(b, 100)).toBeNull();
  });
});

describe("with few files", () => {
  test("a node admits fewer connections, of every kind some, and together fewer than files", () => {
    for (const files of [0, 64, 128, 256, 1_024, 4_096, 20_000, 1_048_576, Number.MAX_SAFE_INTEGER]) {
      const { maxConnections, maxSockets } = connectionLimitsWithin(files);
      expect(Math.min(...Object.values(maxConnections))).toBeGreaterThan(0);
      expect(maxSockets).toBeGreaterThanOrEqual(
        maxConnections.maxClients +
          maxConnections.maxUnauthenticated +
          maxConnections.maxPeers +
          maxConnections.maxAdmins,
      );
      if (files >= 256) expect(maxSockets).toBeLessThanOrEqual(files - SERVER.otherFiles);
      expect(maxConnections.maxClientsPerAddress).toBeLessThanOrEqual(maxConnections.maxClients);
    }
    expect(connectionLimitsWithin(1_048_576).maxConnections).toEqual(SERVER.maxConnections);
  });
});
