/** The real service, which CACHE_URL and CACHE_API_KEY name. */

import { randomUUID } from "node:crypto";

import { Cache, type CacheOptions } from "cacheservice-client";

export const SERVICE_URL = needed("CACHE_URL");

/** A cache of the real service. */
export function realCache(options: Partial<CacheOptions> = {}): Cache {
  return new Cache({ url: SERVICE_URL, apiKey: needed("CACHE_API_KEY"), ...options });
}

/** A key, a tag or a prefix that no other test has. */
export function unique(name = "k"): string {
  return `${name}-${randomUUID()}`;
}

export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests need a running service.`);
  return value;
}
