/** What the cache's methods give back. */

import type { components } from "./openapi.js";

/** What was used by period, and with `by: "api_key"` by API key, as the service tells it. Decimals are strings. */
export type Usage = components["schemas"]["Usage"];

/** The same with `by: "tag"`: hits and what they saved. */
export type TagUsage = components["schemas"]["TagUsage"];

/** A live entry, whatever its value: a stored null is no miss. `age` is in seconds. */
export interface Hit<T = unknown> {
  readonly hit: true;
  readonly key: string;
  /** What the JSON stands for, or a Uint8Array when the entry has a `contentType` of its own. */
  readonly value: T;
  readonly contentType?: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** Not told, as `age`, of keys with dot segments and within a batch. */
  readonly etag?: string;
  readonly age?: number;
}

/** No live entry. `lease`: the token of the lease that was asked for, undefined when it was not given. */
export interface Miss {
  readonly hit: false;
  readonly key: string;
  readonly lease?: string;
}

/** An entry as a write left it. */
export interface Stored {
  readonly key: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly sizeBytes: number;
  readonly etag?: string;
}

/** A row of a list. `hits`, `lastHitAt` (null: none yet) and `savedUsd` come when stats are asked for. */
export interface Entry {
  readonly key: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly sizeBytes: number;
  readonly tags: readonly string[];
  readonly hits?: number;
  readonly lastHitAt?: Date | null;
  /** US dollars in decimal digits. */
  readonly savedUsd?: string | null;
}
