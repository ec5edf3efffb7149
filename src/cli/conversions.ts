// Converts the text of a flag or a variable: to a number, a duration, a list, a choice; or reports what is allowed.
import { parseDuration } from "../lib/durations.ts";
import { RaftqError } from "../lib/errors.ts";
import { nearest } from "./suggest.ts";

/** `name` is what the user knows it by: `--port`, `RAFTQ_PORT`, `<node>`. Throws RaftqError USAGE. */
export type Convert<T> = (text: string, name: string) => T;

const usage = (message: string): RaftqError => new RaftqError("USAGE", message);

export const didYouMean = (near: string | undefined): string => (near === undefined ? "" : ` Did you mean ${near}?`);

export const integer = (min: number, max: number): Convert<number> => {
  return (text, name) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw usage(`${name} is a whole number from ${min} to ${max}, not "${text}".`);
  };
};

export const duration: Convert<number> = (text, name) => {
  const value = parseDuration(text);
  if (value !== undefined) return value;
  throw usage(`${name} is a duration such as 50ms, 5s or 0, not "${text}".`);
};

/** Of addresses. */
export const list: Convert<readonly string[]> = (text, name) => {
  const words = text.split(",").map((word) => word.trim());
  if (!words.includes("")) return words;
  throw usage(`${name} is a list between commas (host:port,host:port), not "${text}".`);
};

export const choice = <const Option extends string>(...options: readonly Option[]): Convert<Option> => {
  return (text, name) => {
    const option = options.find((one) => one === text);
    if (option !== undefined) return option;
    throw usage(`${name} is one of ${options.join(", ")}, not "${text}".${didYouMean(nearest(text, options))}`);
  };
};

export const nonEmpty: Convert<string> = (text, name) => {
  if (text !== "") return text;
  throw usage(`${name} is empty: give it a value.`);
};

const convertTruth = choice("1", "true", "0", "false");
/** A variable behind a flag that takes no value. */
export const truth: Convert<boolean> = (text, name) => ["1", "true"].includes(convertTruth(text.toLowerCase(), name));
