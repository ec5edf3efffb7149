// Where in the source is a function declared? A planted bug names the function that it changes and not the file, so that it outlives
// moves, renames of files and changes elsewhere.
import { join } from "node:path";
import { Glob } from "bun";
import { type Expression, parseSync, type Program, type PropertyKey, Visitor } from "oxc-parser";

const ROOT = join(import.meta.dir, "..", "..");

export interface Edit {
  /** The function, the method, or the constant outside of any function; see `Anchors.spanOf`. */
  readonly in: string;
  /** Occurs in it exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** A piece of a source file, as offsets into its text. */
interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

interface Declaration extends Span {
  readonly name: string;
}

export interface Anchors {
  /**
   * Where `text` occurs within the declaration that `anchor` names: a function, a method, or a constant outside of any function.
   * Where several have that name, folders or the file's name come before it, as in `raft/send`. Throws unless there is exactly one
   * declaration, with exactly one such text in it.
   */
  spanOf(anchor: string, text: string): Span;
  readonly sources: ReadonlyMap<string, string>;
}

/** `sources`: the text of each file by its path. A file is parsed when a name that occurs in it is asked for. */
export function createAnchors(sources: ReadonlyMap<string, string>): Anchors {
  const parsed = new Map<string, readonly Declaration[]>();

  const declarationsIn = (file: string, source: string): readonly Declaration[] => {
    const known = parsed.get(file) ?? parse(file, source);
    parsed.set(file, known);
    return known;
  };

  const declarationOf = (anchor: string): Declaration => {
    const where = anchor.split("/");
    const name = where.pop() ?? "";
    const found: Declaration[] = [];
    for (const [file, source] of sources)
      if (isBelow(file, where) && source.includes(name))
        found.push(...declarationsIn(file, source).filter((declaration) => declaration.name === name));
    const [only] = found;
    if (only === undefined) throw new Error(`no function and no constant is declared as ${anchor}`);
    if (found.length > 1) {
      const places = found.map(({ file, start }) => `${file}:${lineAt(sources.get(file) ?? "", start)}`);
      throw new Error(`${anchor} is declared ${found.length} times: ${places.join(", ")}`);
    }
    return only;
  };

  return {
    sources,
    spanOf: (anchor, text) => {
      const { file, start, end } = declarationOf(anchor);
      const source = sources.get(file) ?? "";
      const times = source.slice(start, end).split(text).length - 1;
      if (times !== 1) throw new Error(`${anchor} in ${file} has ${times} times, not once: ${text}`);
      const at = source.indexOf(text, start);
      return { file, start: at, end: at + text.length };
    },
  };
}

/** The files that the edits change, with their new texts. Throws when an edit finds no place, or more than one, or that of another. */
export function applyEdits({ sources, spanOf }: Anchors, edits: readonly Edit[]): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const placed = edits.map((edit) => ({ ...spanOf(edit.in, edit.find), edit }));
  // From the end to the front, so that offsets stay right.
  const ordered = placed.toSorted((one, other) => other.start - one.start);
  for (const [at, { file, start, end, edit }] of ordered.entries()) {
    const behind = ordered.slice(0, at).find((other) => other.file === file && other.start < end);
    if (behind !== undefined) throw new Error(`two edits overlap in ${file}: ${edit.find} and ${behind.edit.find}`);
    const text = files.get(file) ?? sources.get(file) ?? "";
    files.set(file, text.slice(0, start) + edit.replace + text.slice(end));
  }
  return files;
}

/** The anchors of raftq's own source, read once. */
export const productAnchors: () => Promise<Anchors> = (() => {
  let once: Promise<Anchors> | null = null;
  return () => (once ??= readSources().then(createAnchors));
})();

async function readSources(): Promise<ReadonlyMap<string, string>> {
  const paths = [...new Glob("src/**/*.ts").scanSync(ROOT)].toSorted();
  const texts = await Promise.all(paths.map((path) => Bun.file(join(ROOT, path)).text()));
  return new Map(paths.map((path, at) => [path, texts[at] ?? ""]));
}

/** `where` are folders in the order of the path, at last maybe the file's own name. */
function isBelow(file: string, where: readonly string[]): boolean {
  return where.length === 0 || `/${file.replace(/\.ts$/, "")}/`.includes(`/${where.join("/")}/`);
}

function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

function parse(file: string, source: string): readonly Declaration[] {
  const { program, errors } = parseSync(file, source);
  const [problem] = errors;
  if (problem !== undefined) throw new Error(`${file} cannot be parsed: ${problem.message}`);
  return [...functionsIn(file, program), ...constantsIn(file, program)];
}

function functionsIn(file: string, program: Program): readonly Declaration[] {
  const found: Declaration[] = [];
  const add = (name: string | null, { start, end }: { readonly start: number; readonly end: number }): void => {
    if (name !== null) found.push({ file, name, start, end });
  };
  new Visitor({
    FunctionDeclaration: (node) => add(node.id?.name ?? null, node),
    VariableDeclarator: (node) => {
      if (node.id.type === "Identifier" && isFunction(node.init)) add(node.id.name, node);
    },
    Property: (node) => {
      if (isFunction(node.value)) add(nameOf(node.key), node);
    },
    MethodDefinition: (node) => add(nameOf(node.key), node),
    PropertyDefinition: (node) => {
      if (isFunction(node.value)) add(nameOf(node.key), node);
    },
  }).visit(program);
  return found;
}

/** Of constants, those outside of any function: a local one is found by the function around it. */
function constantsIn(file: string, program: Program): readonly Declaration[] {
  return program.body.flatMap((statement) => {
    const declared = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (declared?.type !== "VariableDeclaration") return [];
    return declared.declarations.flatMap(({ id, init, start, end }) =>
      id.type === "Identifier" && !isFunction(init) ? [{ file, name: id.name, start, end }] : [],
    );
  });
}

function isFunction(node: Expression | { readonly type: string } | null): boolean {
  return node?.type === "ArrowFunctionExpression" || node?.type === "FunctionExpression";
}

function nameOf(key: PropertyKey): string | null {
  if (key.type === "Identifier" || key.type === "PrivateIdentifier") return key.name;
  return key.type === "Literal" && typeof key.value === "string" ? key.value : null;
}
