// Who gets a place, who is refused, and who must go for whom?
import { describe, expect, test } from "bun:test";
import { placesWithin, SERVER } from "../../src/config.ts";
import type { MemberId } from "../../src/raft/types.ts";
import { createHeld } from "../../src/server/held.ts";
import { createInFlight, type Waiting } from "../../src/server/in-flight.ts";
import { addressOf, createPlaces, type PlaceLimits } from "../../src/server/places.ts";

const LIMITS: PlaceLimits = {
  maxStrangers: 3,
  maxClients: 4,
  maxClientsPerAddress: 2,
  maxAdmins: 3,
  maxPeers: 4,
  maxPeersPerMember: 2,
};
const member = (name: string): MemberId => `${name}@0000000000000001` as MemberId;
const nobody = (): boolean => false;

/** Connections are names; `a1` comes from address `a`. */
function crowd(limits: PlaceLimits = LIMITS) {
  const places = createPlaces<string>(limits);
  const enter = (name: string) => places.enter(name, `${name[0]}:1`)?.connection ?? null;
  return {
    places,
    enter,
    client: (name: string) => {
      enter(name);
      return places.becomeClient(name)?.message ?? null;
    },
    admin: (name: string) => {
      enter(name);
      return places.becomeAdmin(name)?.connection ?? null;
    },
    peer: (name: string, id: string, isKnown: (id: MemberId) => boolean = nobody) => {
      enter(name);
      const { refused, leaving } = places.becomePeer(name, member(id), isKnown);
      return refused?.message ?? leaving?.connection ?? null;
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

  test("a flood from one address never takes the place of another address", () => {
    const { enter, places } = crowd();
    enter("b1");
    for (let at = 0; at < 1_000; at++) expect(enter(`a${at}`)).not.toBe("b1");
    expect(places.becomeClient("b1")).toBeNull();
  });

  test("whoever says hello, or is gone, makes room", () => {
    const { enter, places } = crowd();
    for (const name of ["a1", "a2", "a3"]) enter(name);
    places.becomeClient("a1");
    expect(enter("b1")).toBeNull();
    places.leave("a2");
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

  test("are refused when all places for clients are taken, and let in when one is free again", () => {
    const { client, places } = crowd();
    for (const name of ["a1", "a2", "b1", "b2"]) expect(client(name)).toBeNull();
    expect(client("c1")).toContain("has its 4 clients");
    places.leave("b1");
    expect(client("c2")).toBeNull();
  });

  test("never take a place of a member, however many they are", () => {
    const { client, peer } = crowd();
    for (let at = 0; at < 100; at++) client(`${"abcdefgh"[at % 8]}${at}`);
    for (const id of ["n1", "n2", "n3", "n4"]) expect(peer(`a-${id}`, id)).toBeNull();
  });
});

describe("administrators", () => {
  test("have places of their own, which no flood of clients takes", () => {
    const { admin, client } = crowd();
    for (let at = 0; at < 100; at++) client(`${"abcdefgh"[at % 8]}${at}`);
    expect(["a1", "a2", "b1"].map(admin)).toEqual([null, null, null]);
  });

  test("always get in: beyond the limit the oldest goes, of the address that has the most", () => {
    const { admin, places } = crowd();
    for (const name of ["b1", "a1", "a2"]) admin(name);
    expect(admin("c1")).toBe("a1");
    expect(admin("c2")).toBe("b1");
    places.leave("c2");
    expect(admin("d1")).toBeNull();
  });

  test("take no places of clients", () => {
    const { admin, client } = crowd();
    for (let at = 0; at < 100; at++) admin(`a${at}`);
    expect(["a1", "a2", "b1", "b2"].map((name) => client(`${name}-`))).toEqual([null, null, null, null]);
  });
});

describe("members", () => {
  test("have two places each here: a third connection takes that of their oldest", () => {
    const { peer } = crowd();
    expect([peer("a1", "n1"), peer("a2", "n1"), peer("a3", "n1"), peer("a4", "n1")]).toEqual([null, null, "a1", "a2"]);
  });

  test("that nobody knows are refused when all places are taken; one that is known takes the place of such a one", () => {
    const { peer } = crowd();
    for (const id of ["n5", "n6", "n7", "n8"]) expect(peer(`a${id}`, id)).toBeNull();
    expect(peer("b1", "n9")).toContain("all 4 places for members are taken");
    const isKnown = (id: MemberId): boolean => id === member("n1") || id === member("n5");
    expect(peer("c1", "n1", isKnown)).toBe("an6");
  });

  test("that are known keep their places: none goes for another member", () => {
    const { peer } = crowd();
    const all = (): boolean => true;
    for (const id of ["n1", "n2", "n3", "n4"]) expect(peer(`a${id}`, id, all)).toBeNull();
    expect(peer("b1", "n5", all)).toContain("all 4 places for members are taken");
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
    const held = createHeld<string>(100);
    expect(held.note("b1", anyone("b:1"), 30)).toEqual([]);
    expect(held.note("a1", anyone("a:1"), 30)).toEqual([]);
    expect(held.note("a2", anyone("a:1"), 30)).toEqual([]);
    expect(held.note("c1", anyone("c:1"), 20)).toEqual(["a1"]);
    expect(held.bytes).toBe(80);
  });

  test("a member goes only when nobody else holds anything, however much and however long it holds", () => {
    const held = createHeld<string>(100);
    held.note("m1", member("a:1"), 60);
    held.note("a1", anyone("a:2"), 30);
    held.note("b1", anyone("b:1"), 10);
    expect(held.note("c1", anyone("c:1"), 1)).toEqual(["a1"]);
    expect(held.note("m2", member("b:2"), 50)).toEqual(["b1", "c1", "m1"]);
    expect(held.bytes).toBe(50);
  });

  test("who completes a frame, or reads, has made progress; who only adds to it has not", () => {
    const held = createHeld<string>(100);
    for (const name of ["a1", "a2", "a3"]) held.note(name, anyone("a:1"), 30);
    held.note("a1", anyone("a:1"), 10);
    held.note("a2", anyone("a:1"), 40);
    expect(held.note("a3", anyone("a:1"), 60)).toEqual(["a2"]);
  });

  test("as many go as it takes, the newcomer itself if need be, and what is gone is forgotten", () => {
    const held = createHeld<string>(100);
    for (const name of ["a1", "a2", "a3"]) held.note(name, anyone("a:1"), 30);
    expect(held.note("a4", anyone("a:1"), 95)).toEqual(["a1", "a2", "a3"]);
    expect(held.note("a5", anyone("a:1"), 101)).toEqual(["a4", "a5"]);
    held.note("a6", anyone("a:1"), 50);
    held.note("a6", anyone("a:1"), 0);
    held.note("a7", anyone("a:1"), 20);
    held.leave("a7");
    held.leave("a7");
    expect(held.bytes).toBe(0);
  });
});

describe("requests in flight", () => {
  const limits = {
    maxInFlightPerConnection: 3,
    maxInFlightBytesPerConnection: 100,
    maxInFlight: 5,
    maxInFlightBytes: 150,
  };
  const own = (): Waiting => ({ requests: 0, bytes: 0 });

  test("are counted for their connection and for all, in number and in bytes; each limit is named", () => {
    const flight = createInFlight(limits);
    const [a, b] = [own(), own()];
    for (let at = 0; at < 3; at++) expect(flight.enter(a, 1)).toBeNull();
    expect(flight.enter(a, 1)).toBe("more than 3 requests are under way on this connection");
    flight.leave(a, 1);
    expect([flight.enter(b, 1), flight.enter(b, 1)]).toEqual([null, null]);
    expect(flight.enter(b, 1)).toBe("more than 5 requests are under way on this node");
  });

  test("are counted by what is kept of them", () => {
    const flight = createInFlight(limits);
    const [a, b] = [own(), own()];
    expect(flight.enter(a, 100)).toBeNull();
    expect(flight.enter(a, 1)).toBe("more than 100 bytes of requests are under way on this connection");
    flight.leave(a, 1);
    expect(flight.enter(b, 51)).toBe("more than 150 bytes of requests are under way on this node");
    flight.leave(b, 51);
    flight.leave(a, 100);
    expect(flight.enter(b, 100)).toBeNull();
  });
});

describe("with few files", () => {
  test("a node has fewer places, of every kind some, and together fewer than files", () => {
    for (const files of [0, 64, 128, 256, 1_024, 4_096, 20_000, 1_048_576, Number.MAX_SAFE_INTEGER]) {
      const { places, maxSockets } = placesWithin(files);
      expect(Math.min(...Object.values(places))).toBeGreaterThan(0);
      expect(maxSockets).toBeGreaterThanOrEqual(
        places.maxClients + places.maxStrangers + places.maxPeers + places.maxAdmins,
      );
      if (files >= 256) expect(maxSockets).toBeLessThanOrEqual(files - SERVER.otherFiles);
      expect(places.maxClientsPerAddress).toBeLessThanOrEqual(places.maxClients);
    }
    expect(placesWithin(1_048_576).places).toEqual(SERVER.places);
  });
});
