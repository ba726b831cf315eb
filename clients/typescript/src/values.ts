/** Values on their way to the service and back: JSON, or bytes with a content type. */

const JSON_TYPE = "application/json";
const BYTES_TYPE = "application/octet-stream";

const HAVE_JSON = new Set(["Object", "Array", "String", "Number", "Boolean"]); // though they have no members of their own

export type Encoded =
  | { readonly json: string; readonly bytes?: undefined; readonly contentType?: undefined }
  | { readonly json?: undefined; readonly bytes: Uint8Array; readonly contentType: string };

/**
 * Bytes are stored as they are, of `contentType` or application/octet-stream; so is text that has a content type, in
 * UTF-8. All else becomes JSON. Bytes of the type application/json are JSON already, and stored as they are.
 *
 * Throws TypeError for what is not JSON.
 */
export function encode(value: unknown, contentType?: string): Encoded {
  const bytes = bytesOf(value);
  if (bytes) {
    const type = contentType ?? BYTES_TYPE;
    return isJson(type) ? { json: jsonOfBytes(bytes) } : { bytes, contentType: type };
  }
  if (contentType === undefined || isJson(contentType)) return { json: jsonOf(value) };
  if (typeof value === "string") return { bytes: new TextEncoder().encode(value), contentType };
  throw new TypeError(`A value of type ${contentType} must be bytes or a string, not ${typeof value}.`);
}

/** The value as a hit would give it, made anew each time. */
export function decode(encoded: Encoded): unknown {
  return encoded.json === undefined ? encoded.bytes.slice() : JSON.parse(encoded.json);
}

/** The bytes of base64, in which a JSON answer has a value with a content type. */
export function bytesOfBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function bytesOf(value: unknown): Uint8Array | undefined {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** Checked, since it is put between the other fields of a request: what is no JSON could be taken for them. */
function jsonOfBytes(bytes: Uint8Array): string {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  try {
    JSON.parse(text);
  } catch (error) {
    throw new TypeError(`The bytes are not JSON: ${(error as Error).message}`);
  }
  return text;
}

function jsonOf(value: unknown): string {
  const text: string | undefined = JSON.stringify(value, refuseSilentLosses);
  if (text === undefined) throw new TypeError(`A value of type ${typeof value} is not JSON.`);
  return text;
}

/** Of numbers, which would silently become null, and of what would become {}: a Promise, a Map, a Blob, an Error. */
function refuseSilentLosses(_name: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${value} is not JSON.`);
  if (typeof value === "object" && value !== null && Object.keys(value).length === 0) {
    const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
    if (!HAVE_JSON.has(kind)) throw new TypeError(`A ${kind} is not JSON.`);
  }
  return value;
}

function isJson(contentType: string): boolean {
  return contentType.split(";", 1)[0]?.trim().toLowerCase() === JSON_TYPE;
}
