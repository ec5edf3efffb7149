// Checks JSON that was read from a file or a socket. What is wrong is reported in the words of its schema: what the text itself holds must
// not reach a terminal.
import type { BaseIssue } from "valibot";

/** Of the first of the issues: `nodes.0.pid should be number`. */
export function problemIn([issue]: readonly [BaseIssue<unknown>, ...BaseIssue<unknown>[]]): string {
  if (issue.type === "parse_json") return "it is no JSON";
  const path = issue.path ?? [];
  // Keys that the schema does not know are the text's own.
  const isUnknownKey = issue.type === "strict_object" && issue.expected === "never";
  const known = (isUnknownKey ? path.slice(0, -1) : path).map(({ key }) => String(key)).join(".");
  const where = known === "" ? "the whole" : known;
  if (isUnknownKey) return `${where} has a field that is not known here`;
  if (path.at(-1)?.origin === "key") return `${where} is missing`;
  return `${where} should be ${issue.expected ?? issue.message}`;
}
