// Which profiles are there? Apart from `profiles.ts`, which loads the product: a mutant is planted before that, and may have a profile.
export const PROFILE_NAMES = [
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

export type ProfileName = (typeof PROFILE_NAMES)[number];

export function profileCalled(name: string): ProfileName {
  const found = PROFILE_NAMES.find((known) => known === name);
  if (found === undefined) throw new Error(`no profile is called ${name}; there are: ${PROFILE_NAMES.join(", ")}`);
  return found;
}
