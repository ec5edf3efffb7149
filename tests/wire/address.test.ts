// Which texts are addresses, and what does somebody learn who wrote another one?
import { expect, test } from "bun:test";
import { RaftqError } from "../../src/lib/errors.ts";
import { formatAddress, isAddress, MAX_ADDRESS_BYTES, parseAddress } from "../../src/wire/address.ts";

test.each([
  ["127.0.0.1:3000", "127.0.0.1", 3000],
  ["localhost:3000", "localhost", 3000],
  ["[::1]:3000", "::1", 3000],
  ["[::]:1", "::", 1],
  ["[2001:db8::8:800:200c:417a]:65535", "2001:db8::8:800:200c:417a", 65_535],
  ["[1:2:3:4:5:6:7:8]:3000", "1:2:3:4:5:6:7:8", 3000],
  ["[::ffff:10.0.0.1]:3000", "::ffff:10.0.0.1", 3000],
  ["[1:2:3:4:5:6:7::]:3000", "1:2:3:4:5:6:7::", 3000],
  ["[1:2:3:4:5:6:1.2.3.4]:3000", "1:2:3:4:5:6:1.2.3.4", 3000],
  ["[ABCD::eF]:3000", "ABCD::eF", 3000],
  ["node-1.example.com:80", "node-1.example.com", 80],
  ["my_service:3000", "my_service", 3000],
  ["3com.example:3000", "3com.example", 3000],
])("%s is an address and is written the same again", (text, host, port) => {
  expect(parseAddress(text)).toEqual({ host, port });
  expect(formatAddress(host, port)).toBe(text);
});

test.each([
  ["", /port is missing/],
  ["localhost", /port is missing/],
  [":3000", /host is missing/],
  ["localhost:", /port is not a number/],
  ["localhost:http", /port is not a number/],
  ["localhost:0", /from 1 to 65535/],
  ["localhost:65536", /from 1 to 65535/],
  ["localhost:03000", /from 1 to 65535/],
  ["localhost:-1", /port is not a number/],
  ["localhost:3000 ", /port is not a number/],
  ["::1:3000", /stands in brackets/],
  ["[]:3000", /host is missing/],
  ["[::1:3000", /stands in brackets/],
  ["[1::2::3]:3000", /not an IPv6/],
  ["[1:2:3]:3000", /not an IPv6/],
  ["[fe80::1%eth0]:3000", /not an IPv6/],
  ["[127.0.0.1]:3000", /not an IPv6/],
  ["[1:2:3:4:5:6:7:8:9]:3000", /not an IPv6/],
  ["[1::2:3:4:5:6:7:8]:3000", /not an IPv6/],
  ["[::12345]:3000", /not an IPv6/],
  ["[::01.2.3.4]:3000", /not an IPv6/],
  ["[::1.2.3.4:5]:3000", /not an IPv6/],
  ["[::1%]:3000", /not an IPv6/],
  ["[ ::1]:3000", /not an IPv6/],
  ["256.0.0.1:3000", /IPv4 address has four/],
  ["1.2.3:3000", /IPv4 address has four/],
  ["01.2.3.4:3000", /IPv4 address has four/],
  ["-host:3000", /neither a name/],
  ["a b:3000", /neither a name/],
  ["http://x:3000", /stands in brackets/],
  ["x/y:3000", /neither a name/],
  ["\u001b[31m:3000", /neither a name/],
])("%p is refused with the reason and an example", (text, why) => {
  expect(isAddress(text)).toBe(false);
  try {
    parseAddress(text);
    throw new Error("it was taken for an address");
  } catch (error) {
    expect(error).toBeInstanceOf(RaftqError);
    expect((error as RaftqError).code).toBe("USAGE");
    expect((error as RaftqError).message).toMatch(why);
    expect((error as RaftqError).message).toContain("127.0.0.1:3000");
  }
});

test("no address is longer than the wire allows", () => {
  const name = (length: number): string => `${"a".repeat(63)}.`.repeat(3) + "a".repeat(length - 192);
  expect(isAddress(`${name(253)}:65535`)).toBe(true);
  expect(`${name(253)}:65535`.length).toBeLessThanOrEqual(MAX_ADDRESS_BYTES);
  expect(isAddress(`${name(254)}:65535`)).toBe(false);
});
