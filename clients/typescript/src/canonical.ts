/**
 * Canonical JSON after RFC 8785: one text for all that mean the same, so that its digest can be a key.
 *
 * No white space; members sorted by the UTF-16 code units of their names; strings with the fewest escapes and numbers
 * as ECMAScript writes them, which `JSON.stringify` does.
 */

const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * The canonical text of plain objects, arrays, strings, numbers, booleans and null. A member that is `undefined` is not
 * there, as for `JSON.stringify`.
 *
 * Throws TypeError for anything else, a BigInt included, and RangeError for what has no one meaning in every language: a
 * number that is not finite or beyond 2^53 - 1, and a lone surrogate.
 */
export function canonicalJson(value: unknown): string {
  const parts: string[] = [];
  try {
    write(value, parts);
  } catch (error) {
    throw isStackOverflow(error) ? new RangeError("It is nested too deeply, or contains itself.") : error;
  }
  return parts.join("");
}

/** Throws RangeError for a text with half of a surrogate pair in it. */
export function checkWellFormed(text: string): void {
  if (LONE_SURROGATE.test(text)) {
    throw new Refused("A text has a lone surrogate, which is no character.");
  }
}

class Refused extends RangeError {
  override readonly name = "RangeError";
}

function write(value: unknown, parts: string[]): void {
  if (value === null || typeof value === "boolean") {
    parts.push(String(value));
  } else if (typeof value === "string") {
    parts.push(string(value));
  } else if (typeof value === "number") {
    parts.push(number(value));
  } else if (Array.isArray(value)) {
    writeArray(value, parts);
  } else if (isPlainObject(value)) {
    writeObject(value, parts);
  } else {
    throw new TypeError(`${kind(value)} is not JSON: give a plain object, array, string, number, boolean or null.`);
  }
}

function writeArray(value: readonly unknown[], parts: string[]): void {
  parts.push("[");
  for (let index = 0; index < value.length; index += 1) {
    if (index > 0) parts.push(",");
    write(value[index], parts);
  }
  parts.push("]");
}

function writeObject(value: Record<string, unknown>, parts: string[]): void {
  parts.push("{");
  const names = Object.keys(value).filter((name) => value[name] !== undefined);
  for (const [index, name] of names.sort().entries()) {
    parts.push(index > 0 ? "," : "", string(name), ":");
    write(value[name], parts);
  }
  parts.push("}");
}

function string(text: string): string {
  checkWellFormed(text);
  return JSON.stringify(text);
}

function number(value: number): string {
  if (!Number.isFinite(value)) {
    throw new Refused(`${value} is not JSON.`);
  }
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) {
    throw new Refused("A number is beyond 2^53 - 1: give it as a string.");
  }
  return JSON.stringify(value);
}

/** Also one of another realm, whose Object.prototype is another one. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function kind(value: unknown): string {
  return typeof value === "object" ? (value?.constructor?.name ?? "object") : typeof value;
}

/** V8 and JavaScriptCore throw a RangeError, SpiderMonkey an InternalError. */
function isStackOverflow(error: unknown): boolean {
  return error instanceof Error && !(error instanceof Refused) && !(error instanceof TypeError);
}
