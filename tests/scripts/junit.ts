// How many tests passed and failed, by the report that `bun test` wrote?

export interface Totals {
  readonly passed: number;
  readonly failed: number;
}

/** A skipped test has shown nothing, so it counts as failed. A report that is missing or unreadable counts nothing. */
export async function parseJunit(path: string): Promise<Totals> {
  const file = Bun.file(path);
  if (!(await file.exists())) return { passed: 0, failed: 0 };
  const root = /<testsuites\b[^>]*>/.exec(await file.text())?.[0] ?? "";
  const attribute = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
  const failed = attribute("failures") + attribute("errors") + attribute("skipped");
  return { passed: Math.max(0, attribute("tests") - failed), failed };
}
