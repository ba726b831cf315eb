/**
 * Keys made of what an answer depends on. The same input has the same key in every client: the Python client is tested
 * with the same vectors.
 *
 * A key is `<kind>:<SHA-256 in hex>` or `<kind>:<version>:<SHA-256 in hex>`: nothing personal stands in it, and the
 * entries of a kind and version can be listed and cleared by their prefix.
 */

import { canonicalJson, checkWellFormed } from "./canonical.js";

/** Null and undefined: none. */
export type Version = string | number | null | undefined;

/** A request to a model, as its API takes it. `version` is no part of it. */
export interface ModelRequest {
  model: unknown;
  messages: unknown; // and any parameters
  version?: Version;
}

export type Content = ArrayBuffer | ArrayBufferView | Blob;

// The characters of Unicode's property White_Space: what a language's own trim takes differs.
const WHITE_SPACE = /[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
const VERSION = /^[A-Za-z0-9._@/+-]{1,100}$/;

/**
 * The key of a request to a model: of the canonical JSON (RFC 8785) of all that is given but `version`.
 *
 * Nothing is filled in, and nothing left out but what is undefined: `temperature: null` is another request than one
 * without it. Rejects with TypeError or RangeError for what `canonicalJson` refuses.
 */
export async function cacheKey<R extends ModelRequest>({ version, ...request }: R): Promise<string> {
  if (request.model === undefined || request.messages === undefined) {
    throw new TypeError("cacheKey: give model and messages.");
  }
  return digestKey("request", version, canonicalJson(request));
}

/** The key of bytes, or of a Blob or File, which is read into memory. In Node, `openAsBlob(path)` makes one. */
export async function contentKey(content: Content, options: { version?: Version } = {}): Promise<string> {
  return digestKey("content", options.version, content instanceof Blob ? await content.arrayBuffer() : content);
}

/** The key of a text; of all texts that `normalized` makes the same, unless `normalize` is false. */
export async function textKey(
  text: string,
  options: { normalize?: boolean; version?: Version } = {},
): Promise<string> {
  const exact = options.normalize === false ? text : normalized(text);
  checkWellFormed(exact);
  return digestKey("text", options.version, exact);
}

/**
 * In lower case without regard to a language, white space collapsed to single spaces and trimmed, in NFC.
 *
 * Lower case is Unicode's full mapping with its final sigma, as `toLowerCase` and Python's `str.lower` both have it;
 * white space is the 25 characters of Unicode's property White_Space.
 */
export function normalized(text: string): string {
  return text.toLowerCase().replace(WHITE_SPACE, " ").replace(/^ | $/g, "").normalize("NFC");
}

async function digestKey(kind: string, version: Version, content: string | ArrayBuffer | ArrayBufferView): Promise<string> {
  if (version !== undefined && version !== null && !VERSION.test(String(version))) {
    throw new RangeError(`version: ${JSON.stringify(version)} is not 1 to 100 letters, digits and . _ @ / + -`);
  }
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return version === undefined || version === null ? `${kind}:${hex}` : `${kind}:${version}:${hex}`;
}
