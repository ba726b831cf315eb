/** The client. */

import { batches, type BatchOperation, type BatchResult, type BatchResults } from "./batches.js";
import { Engine } from "./engine.js";
import { cacheKey, type ModelRequest } from "./keys.js";
import { type CreateOptions, Filler } from "./leases.js";
import * as operations from "./operations.js";
import type { Conditions, EntryOptions, Filter, Period } from "./operations.js";
import type { Entry, Hit, Miss, Stored, TagUsage, Usage } from "./results.js";
import { type CacheOptions, fromEnvironment, settingsOf } from "./settings.js";
import { encode } from "./values.js";

export interface CallOptions {
  /** Ends the call: it then rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface GetOptions extends CallOptions {
  /** Ask for the right to fill a missing entry within so many seconds: exactly one caller's miss has the `lease`. */
  lease?: number;
  /** The seconds for which the others' call waits for the fill, or for the lease should its holder fail. */
  wait?: number;
}

export interface PutOptions extends EntryOptions, Conditions, CallOptions {
  /** Of bytes or text that is not JSON. Bytes without one are application/octet-stream. */
  contentType?: string;
}

export interface TouchOptions extends Pick<EntryOptions, "ttl" | "tags">, CallOptions {
  /** Touch only the version of this etag. */
  ifMatch?: string;
}

export interface DeleteOptions extends CallOptions {
  /** Delete only the version of this etag. */
  ifMatch?: string;
}

export interface ListOptions extends Filter, CallOptions {
  /** Also each entry's hits, last hit and what they saved. */
  stats?: boolean;
  /** 1 to 1000, the default. */
  pageSize?: number;
}

export interface ClearOptions extends Filter, CallOptions {
  /** Delete every entry. Alone, without tag and prefix. */
  all?: boolean;
}

export interface UsageOptions extends Period, CallOptions {}

/** A cache of one service, for as many callers as there are; make one and keep it. */
export class Cache {
  readonly #engine: Engine;
  readonly #filler: Filler;
  /** What may be shown: all but the API key. */
  readonly #shown: { readonly url: string; readonly onError: string };

  /** Throws TypeError and RangeError for options that are wrong; sends nothing. */
  constructor(options: CacheOptions) {
    const settings = settingsOf(options);
    this.#engine = new Engine(settings);
    this.#filler = new Filler(this.#engine);
    this.#shown = { url: settings.url, onError: settings.onError };
  }

  /** A cache of the service at CACHE_URL with the key CACHE_API_KEY. Throws TypeError when one is not set. */
  static fromEnv(options: Omit<CacheOptions, "url" | "apiKey"> = {}): Cache {
    return new Cache({ ...options, url: fromEnvironment("CACHE_URL"), apiKey: fromEnvironment("CACHE_API_KEY") });
  }

  /** The entry, or a miss; `hit` tells which. */
  async get<T = unknown>(key: string, { lease, wait, signal }: GetOptions = {}): Promise<Hit<T> | Miss> {
    return (await this.#engine.perform(operations.get(key, lease, wait), signal)) as Hit<T> | Miss;
  }

  /**
   * Store JSON, or bytes or text with a content type. Rejects with PreconditionFailed when `ifMatch` or `ifAbsent` was not
   * met, LeaseLost when the `lease` has passed to another. Undefined when onError "miss" hid an error.
   */
  async put(key: string, value: unknown, options: PutOptions = {}): Promise<Stored | undefined> {
    const { contentType, signal } = options;
    return await this.#engine.perform(operations.put(key, encode(value, contentType), options, options), signal);
  }

  /**
   * Renew the entry for `ttl` seconds from now, give it other tags, or both. Undefined when there is no entry, or when
   * onError "miss" hid an error.
   */
  async touch(key: string, { ifMatch, signal, ...fields }: TouchOptions): Promise<Stored | undefined> {
    return await this.#engine.perform(operations.touch(key, fields, ifMatch), signal);
  }

  /** Whether there was a live entry. */
  async delete(key: string, { ifMatch, signal }: DeleteOptions = {}): Promise<boolean> {
    return await this.#engine.perform(operations.remove(key, ifMatch), signal);
  }

  /** Give back a lease without filling the entry: the next who waits for it gets it. */
  async release(key: string, lease: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#engine.perform(operations.release(key, lease), signal);
  }

  /**
   * The entry's value; made, stored and given to all callers of all processes when it is missing, by one of them. What
   * `make` throws goes to its caller alone, and another one tries. A value that the cache does not take is returned all the
   * same, and `warn` is told. Rejects with CacheError when the cache cannot be asked, unless onError is "miss", and when it
   * finds the options themselves wrong.
   *
   * What was made is returned as it is; what comes from the cache has been JSON, where undefined members and classes are
   * no more.
   */
  async getOrCreate<T>(key: string, make: () => T | Promise<T>, options: CreateOptions = {}): Promise<T> {
    return await this.#filler.getOrCreate(key, make, options);
  }

  /** The live entries with all of the tags, whose keys begin with the prefix, in the order of their keys' bytes. */
  async *list(options: ListOptions = {}): AsyncGenerator<Entry, void, undefined> {
    const { stats = false, pageSize = 1000, signal, ...filter } = options;
    let cursor: string | undefined;
    do {
      const page = await this.#engine.perform(operations.page(filter, pageSize, stats, cursor), signal);
      yield* page.entries;
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
  }

  /** Delete the entries that `list` would show; how many they were. `all: true` alone deletes every entry. */
  async clear({ all = false, signal, ...filter }: ClearOptions): Promise<number> {
    return await this.#engine.perform(operations.clear(filter, all), signal);
  }

  /**
   * Carry out gets, puts and deletes in their order, up to 256 with one request. Each has a result of its own: what the
   * method of that name gives, or the APIError that it would reject with.
   */
  async batch<const Os extends readonly BatchOperation[]>(
    operations: Os,
    { signal }: CallOptions = {},
  ): Promise<BatchResults<Os>> {
    const results: BatchResult[] = [];
    for (const each of batches(operations)) results.push(...(await this.#engine.perform(each, signal)));
    return results as BatchResults<Os>;
  }

  /** What was used from `start` to `end`, in rows of `groupBy`; the last 30 days by day when nothing is given. */
  usage(options: UsageOptions & { by: "tag" }): Promise<TagUsage>;
  usage(options?: UsageOptions & { by?: "api_key" }): Promise<Usage>;
  async usage({ signal, ...period }: UsageOptions = {}): Promise<Usage | TagUsage> {
    return await this.#engine.perform(operations.usage(period), signal);
  }

  /** The key of a request to a model: the function of that name. */
  cacheKey<R extends ModelRequest>(request: R): Promise<string> {
    return cacheKey(request);
  }

  toJSON(): object {
    return this.#shown;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `Cache ${JSON.stringify(this.#shown)}`;
  }
}
