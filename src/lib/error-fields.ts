// The fields that every error begins with, in a failure as in a refused reply. The class is among them so that a person who reads bytes,
// or a client in another language, needs no table of codes.
import { type Applied, type ErrorClass, type ErrorCode, ERRORS, isErrorCode } from "./errors.ts";
import { choice, type Field, text, textOf } from "./layout.ts";

const MAX_CODE_BYTES = 64;
const APPLIED = ["no", "yes", "unknown"] as const satisfies readonly Applied[];

export interface ErrorFields {
  readonly code: ErrorCode;
  readonly class: string;
  readonly applied: Applied;
  readonly message: string;
}

export function errorFields(maxMessageBytes: number): {
  readonly [Name in keyof ErrorFields]: Field<ErrorFields[Name]>;
} {
  return {
    code: textOf("error code", MAX_CODE_BYTES, isErrorCode),
    class: text(MAX_CODE_BYTES),
    applied: choice("answer to `applied`", APPLIED),
    message: text(maxMessageBytes),
  };
}

export const classOf = (code: ErrorCode): ErrorClass => ERRORS[code].class;

/** Why the class is not that of the code, or null. */
export const wrongClass = ({ code, class: found }: Pick<ErrorFields, "code" | "class">): string | null =>
  found === classOf(code) ? null : `${code} is of class ${classOf(code)}`;
