// How long was there no service although there should have been? The longest time without any answer while a majority of nodes
// was healthy and connected, to each other and to the clients.

export interface Silence {
  readonly ms: number;
  /** When it began, and what went on. */
  readonly at: number;
  readonly during: string;
}

export interface Service {
  answered(at: number): void;
  /** `calm`: a majority is healthy and connected. */
  look(at: number, calm: boolean, during: string): void;
  longest(): Silence;
}

export function createService(): Service {
  let since = Infinity;
  let what = "";
  let longest: Silence = { ms: 0, at: 0, during: "nothing" };
  const measure = (at: number): void => {
    if (at - since > longest.ms) longest = { ms: at - since, at: since, during: what };
  };
  return {
    answered: (at) => {
      if (since === Infinity) return;
      measure(at);
      since = at;
    },
    look: (at, calm, during) => {
      if (since !== Infinity) measure(at);
      if (!calm) since = Infinity;
      else if (since === Infinity) since = at;
      what = during;
    },
    longest: () => longest,
  };
}

/** Is there a majority of all of which every two are connected? */
export function hasConnectedMajority<T>(all: number, able: readonly T[], connected: (a: T, b: T) => boolean): boolean {
  const wanted = Math.floor(all / 2) + 1;
  const grow = (group: readonly T[], rest: readonly T[]): boolean =>
    group.length >= wanted ||
    rest.some((one, i) => group.every((other) => connected(one, other)) && grow([...group, one], rest.slice(i + 1)));
  return grow([], able);
}
