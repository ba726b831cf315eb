/** Each operation of the HTTP API: the request that asks for it, and what its answer means. */

import { checkWellFormed } from "./canonical.js";
import { errorOf, ofBody, UnexpectedAnswer } from "./errors.js";
import type { Operation, Response } from "./messages.js";
import type { components } from "./openapi.js";
import type { Entry, Hit, Miss, Stored, TagUsage, Usage } from "./results.js";
import { bytesOfBase64, type Encoded } from "./values.js";

type Schemas = components["schemas"];

export interface EntryOptions {
  /** Seconds, a week when it is not given. */
  ttl?: number;
  tags?: string | readonly string[];
  /** What making the value cost, in US dollars, such as "0.04". Money is never a binary number. */
  cost?: string;
}

export interface Conditions {
  /** Replace only the version of this etag. */
  ifMatch?: string;
  /** Create only. */
  ifAbsent?: boolean;
  /** Fill the entry as the holder of this lease. */
  lease?: string;
}

export interface Filter {
  tag?: string | readonly string[];
  prefix?: string;
}

export interface Period {
  /** A Date, "2026-11-20" or "2026-11-20T10:00:00Z", in UTC, which starts an hour, day or month as `groupBy` says. */
  start?: string | Date;
  /** The same; not included. */
  end?: string | Date;
  /** "day" when it is not given. */
  groupBy?: "hour" | "day" | "month";
  /** A row for each of them. */
  by?: "api_key" | "tag";
}

export interface Page {
  readonly entries: readonly Entry[];
  readonly nextCursor: string | null;
}

type Headers = Record<string, string>;

const CACHE = "/api/v1/cache";
export const JSON_HEADERS: Headers = { "content-type": "application/json" };
const LEASE = "x-cache-lease";
const DOT_SEGMENT = /(^|\/)(\.|%2e){1,2}(\/|$)/i;

/**
 * Whether the key has a segment that fetch, or a proxy on the way, would take for one of a relative path. Such keys travel
 * in the body of a batch, where there are neither leases, nor conditions, nor values other than JSON.
 */
export function hasDotSegments(key: string): boolean {
  return DOT_SEGMENT.test(key);
}

export function get(key: string, lease?: number, wait?: number): Operation<Hit | Miss> {
  if (wait !== undefined && lease === undefined) {
    throw new TypeError("wait: it waits for the fill of a lease; give lease too");
  }
  const otherwise = (): Miss => ({ hit: false, key });
  if (hasDotSegments(key)) {
    refuseInBatch({ lease });
    return { ...batched({ op: "get", key }, (body) => hitOrMiss(body as HitOrMiss)), otherwise };
  }
  const target = item(key) + query({ lease, wait: wait || undefined });
  return {
    request: { method: "GET", target, repeatable: true, wait: wait ?? 0 },
    parse: (response) => hitOrMiss(content<HitOrMiss>(response), response.headers),
    otherwise,
  };
}

export function put(
  key: string,
  value: Encoded,
  options: EntryOptions = {},
  { ifMatch, ifAbsent, lease }: Conditions = {},
): Operation<Stored | undefined> {
  const otherwise = (): undefined => undefined;
  const fields = fieldsOf(options);
  if (hasDotSegments(key)) {
    refuseInBatch({ ifMatch, ifAbsent: ifAbsent || undefined, lease, contentType: value.contentType });
    const operation = withValue({ op: "put", key, ...fields }, value.json ?? "");
    return { ...batched(operation, (body) => stored(body as Schemas["StoredEntry"])), otherwise };
  }
  const conditions = headers({ "if-match": ifMatch, "if-none-match": ifAbsent ? "*" : undefined, [LEASE]: lease });
  const isJson = value.json !== undefined;
  return {
    request: {
      method: "PUT",
      target: isJson ? item(key) : item(key) + query({ ttl: fields.ttl, tag: fields.tags, cost: fields.cost }),
      body: isJson ? withValue(fields, value.json) : value.bytes,
      headers: { ...(isJson ? JSON_HEADERS : headers({ "content-type": value.contentType })), ...conditions },
      // Done twice, a conditional write would find the first time's and fail. So would one whose lease is then used.
      repeatable: ifMatch === undefined && !ifAbsent && lease === undefined,
    },
    parse: (response) => stored(content(response), response.headers),
    otherwise,
  };
}

/** Undefined when there is no entry. It may be done twice: the entry keeps its etag. */
export function touch(
  key: string,
  options: Pick<EntryOptions, "ttl" | "tags">,
  ifMatch?: string,
): Operation<Stored | undefined> {
  return {
    request: {
      method: "PATCH",
      target: item(key),
      body: JSON.stringify(fieldsOf(options)),
      headers: { ...JSON_HEADERS, ...headers({ "if-match": ifMatch }) },
      repeatable: true,
    },
    parse: (response) => (isMiss(response) ? undefined : stored(content(response), response.headers)),
    otherwise: () => undefined,
  };
}

export function remove(key: string, ifMatch?: string): Operation<boolean> {
  const otherwise = (): boolean => false;
  if (hasDotSegments(key)) {
    refuseInBatch({ ifMatch });
    return { ...batched({ op: "delete", key }, (body) => (body as Schemas["Deleted"]).deleted), otherwise };
  }
  return {
    request: {
      method: "DELETE",
      target: item(key),
      headers: headers({ "if-match": ifMatch }),
      repeatable: ifMatch === undefined,
    },
    parse: (response) => content<Schemas["Deleted"]>(response).deleted,
    otherwise,
  };
}

export function release(key: string, lease: string): Operation<boolean> {
  return {
    request: { method: "DELETE", target: item(key), headers: headers({ [LEASE]: lease }), repeatable: true },
    parse: (response) => content<Schemas["Deleted"]>(response).deleted,
    otherwise: () => false,
  };
}

export function page(filter: Filter, limit: number, stats: boolean, cursor?: string): Operation<Page> {
  const include = stats ? "stats" : undefined;
  const target = CACHE + query({ ...filterOf(filter), limit, include, cursor });
  return {
    request: { method: "GET", target, repeatable: true },
    parse: (response) => {
      const { keys, next_cursor } = content<Schemas["Page"]>(response);
      return { entries: keys.map(entry), nextCursor: next_cursor ?? null };
    },
  };
}

export function clear(filter: Filter, all: boolean): Operation<number> {
  const { tag, prefix } = filterOf(filter);
  if (all === (tag.length > 0 || !!prefix)) {
    // so that an empty variable, which was to hold a tag, never clears all
    throw new TypeError("clear: give tag, prefix or both, or all: true alone");
  }
  return {
    request: { method: "DELETE", target: CACHE + (all ? "?all=true" : query({ tag, prefix })), repeatable: true },
    parse: (response) => content<Schemas["DeletedEntries"]>(response).deleted,
  };
}

export function usage({ start, end, groupBy, by }: Period): Operation<Usage | TagUsage> {
  const target = "/api/v1/usage" + query({ from: timeText(start), to: timeText(end), group_by: groupBy, by });
  return { request: { method: "GET", target, repeatable: true }, parse: (response) => content<Usage | TagUsage>(response) };
}

// What answers mean.

export type HitOrMiss = Schemas["CacheHit"] | Schemas["CacheMiss"];

export function content<T>(response: Response): T {
  if (response.status < 200 || response.status >= 300) throw errorOf(response);
  return JSON.parse(response.body) as T;
}

/** A route that is not there is a 404 too, but no miss. */
function isMiss(response: Response): boolean {
  return response.status === 404 && response.headers.get("x-cache") === "MISS";
}

export function hitOrMiss(body: HitOrMiss, answered?: globalThis.Headers): Hit | Miss {
  if (!body.hit) {
    const lease = body.lease;
    return { hit: false, key: body.key, ...(typeof lease === "string" && { lease }) };
  }
  const { key, value, content_type: contentType } = body;
  const [etag, age] = [answered?.get("etag"), answered?.get("age")];
  return {
    hit: true,
    key,
    value: contentType ? bytesOfBase64(value as string) : value,
    ...(contentType && { contentType }),
    createdAt: new Date(body.created_at),
    expiresAt: new Date(body.expires_at),
    ...(etag && { etag }),
    ...(age && { age: Number(age) }),
  };
}

export function stored(body: Schemas["StoredEntry"], answered?: globalThis.Headers): Stored {
  const etag = answered?.get("etag");
  return {
    key: body.key,
    createdAt: new Date(body.created_at),
    expiresAt: new Date(body.expires_at),
    sizeBytes: body.size_bytes,
    ...(etag && { etag }),
  };
}

function entry(row: Schemas["ListedEntry"]): Entry {
  return {
    key: row.key,
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
    sizeBytes: row.size_bytes,
    tags: row.tags,
    ...(row.hits !== undefined && {
      hits: row.hits,
      lastHitAt: row.last_hit_at ? new Date(row.last_hit_at) : null,
      savedUsd: row.saved_usd ?? null,
    }),
  };
}

// What requests are made of.

/** A batch of one operation, whose result is what the operation alone would have been answered. */
function batched<T>(
  operation: string | Schemas["GetOperation"] | Schemas["DeleteOperation"],
  parse: (body: unknown) => T,
): Operation<T> {
  const text = typeof operation === "string" ? operation : JSON.stringify(operation);
  return {
    request: {
      method: "POST",
      target: "/api/v1/batch",
      body: `{"operations":[${text}]}`,
      headers: JSON_HEADERS,
      repeatable: true,
    },
    parse: (response) => {
      const result = content<Schemas["BatchAnswer"]>(response).results[0];
      if (!result || result.status >= 300) {
        throw (result && ofBody(result.status, result.body)) ?? new UnexpectedAnswer("A batch without a result.");
      }
      return parse(result.body);
    },
  };
}

function refuseInBatch(options: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) throw new TypeError(`${name}: it cannot be given for a key with a "." or ".." segment`);
  }
}

/** The path of a key that has no dot segments. */
function item(key: string): string {
  if (hasDotSegments(key)) throw new TypeError('A key with a "." or ".." segment has no leases, and is not touched');
  return `${CACHE}/${encodeURIComponent(checked(key))}`;
}

function checked(key: string): string {
  if (typeof key !== "string" || key === "") throw new TypeError("key: give a string of 1 to 512 bytes");
  checkWellFormed(key);
  return key;
}

/** What goes with a value. */
export function fieldsOf({ ttl, tags, cost }: EntryOptions): { ttl?: number; tags?: string[]; cost?: string } {
  if (cost !== undefined && typeof cost !== "string") {
    throw new TypeError('cost: give US dollars as a string such as "0.04"');
  }
  return { ...(ttl !== undefined && { ttl }), ...(tags !== undefined && { tags: listed(tags) }), ...(cost !== undefined && { cost }) };
}

/** JSON text of the fields and of a value that is JSON already, so that it is not parsed and made again. */
export function withValue(fields: Record<string, unknown>, value: string): string {
  const text = JSON.stringify(fields);
  return text === "{}" ? `{"value":${value}}` : `${text.slice(0, -1)},"value":${value}}`;
}

function filterOf({ tag = [], prefix }: Filter): { tag: string[]; prefix: string | undefined } {
  return { tag: listed(tag), prefix };
}

/** Tags, of which a single one may come as it is. */
function listed(tags: string | readonly string[]): string[] {
  return typeof tags === "string" ? [tags] : [...tags];
}

/** The query of those that are not undefined; a list repeats its name. */
function query(parameters: Record<string, string | number | readonly string[] | undefined>): string {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((each) => [name, String(each)]),
  );
  return pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : "";
}

/** The service's times have whole seconds. */
function timeText(time: string | Date | undefined): string | undefined {
  return time instanceof Date ? time.toISOString().replace(/\.\d+Z$/, "Z") : time;
}

function headers(pairs: Record<string, string | undefined>): Headers {
  const given: Headers = {};
  for (const [name, value] of Object.entries(pairs)) {
    if (value === undefined) continue;
    if (!/^[ -~]*$/.test(value)) throw new TypeError(`${name}: a header takes printable ASCII only`);
    given[name] = value;
  }
  return given;
}
