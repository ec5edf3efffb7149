// Which themes are there? Apart from `themes.ts`, which loads the product: a mutant is planted before that, and may have a theme.
export const THEME_NAMES = [
  "shortLeaderships",
  "longTails",
  "lateNews",
  "changingMembers",
  "tightDisks",
  "handovers",
  "slowLinks",
  "fewPlaces",
  "lateReplies",
  "deafLeaders",
  "wrongStates",
  "scarceRoom",
  "silentClients",
  "lateWrites",
  "failingDisks",
  "suspensions",
  "oldDisks",
] as const;

export type ThemeName = (typeof THEME_NAMES)[number];

export function themeCalled(name: string): ThemeName {
  const found = THEME_NAMES.find((known) => known === name);
  if (found === undefined) throw new Error(`no theme is called ${name}; there are: ${THEME_NAMES.join(", ")}`);
  return found;
}
