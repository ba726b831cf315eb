/** Keys: the vectors that all clients share, and what only JavaScript has. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Cache, cacheKey, canonicalJson, contentKey, normalized, suggestTtl, textKey, TIME_SENSITIVE } from "cacheservice-client";
import type { ModelRequest } from "cacheservice-client";

interface Vectors {
  text_key: { text: string; normalize?: boolean; version?: string; normalized?: string; key: string; error?: true }[];
  content_key: { hex: string; version?: string; key: string }[];
  request_key: { request: string; version?: string; canonical?: string; key: string; error?: true }[];
  suggest_ttl: { prompt: string; ttl: number }[];
  time_sensitive: string[];
}

const VECTORS: Vectors = JSON.parse(readFileSync(new URL("../../../vectors.json", import.meta.url), "utf8"));
const EMPTY: ModelRequest = { model: "m", messages: [] };

for (const vector of VECTORS.text_key) {
  test(`textKey ${JSON.stringify(vector)}`, async () => {
    if (vector.error) return assert.rejects(textKey(vector.text, vector), /surrogate|version/);
    assert.equal(await textKey(vector.text, vector), vector.key);
    if (vector.normalized !== undefined) assert.equal(normalized(vector.text), vector.normalized);
  });
}

for (const vector of VECTORS.content_key) {
  test(`contentKey ${JSON.stringify(vector)}`, async () => {
    const bytes = Buffer.from(vector.hex, "hex");
    assert.equal(await contentKey(bytes, vector), vector.key);
    assert.equal(await contentKey(new Blob([bytes]), vector), vector.key);
    assert.equal(await contentKey(new Uint8Array(bytes).buffer, vector), vector.key);
  });
}

for (const vector of VECTORS.request_key) {
  test(`cacheKey ${JSON.stringify(vector)}`, async () => {
    const request: ModelRequest = JSON.parse(vector.request);
    if (vector.error) return assert.rejects(cacheKey({ ...request, version: vector.version }), /surrogate|version|beyond/);
    assert.equal(await cacheKey({ ...request, version: vector.version }), vector.key);
    if (vector.canonical !== undefined) assert.equal(canonicalJson(request), vector.canonical);
  });
}

for (const { prompt, ttl } of VECTORS.suggest_ttl) {
  test(`suggestTtl ${JSON.stringify(prompt)}`, () => assert.equal(suggestTtl(prompt), ttl));
}

test("the time-sensitive words are those of all clients", () => {
  assert.deepEqual(TIME_SENSITIVE, VECTORS.time_sensitive);
  for (const words of TIME_SENSITIVE) {
    assert.equal(suggestTtl(`What is new ${words.toUpperCase()}?`), 3600);
    assert.equal(suggestTtl(`x${words}`), 604_800);
  }
});

test("cacheKey refuses what is not JSON, and numbers that Python and JavaScript do not share", async () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const refused = [2 ** 53, -(2 ** 53), 1e300, 1n, 2n ** 64n, NaN, Infinity, [undefined], () => 1, Symbol("s"), cyclic];
  for (const value of [...refused, new Date(0), new Map(), new Set(), new (class Own {})(), new Uint8Array(1), "\ud800"]) {
    await assert.rejects(cacheKey({ ...EMPTY, value }), (error) => error instanceof TypeError || error instanceof RangeError);
  }
  await assert.rejects(cacheKey({ model: "m" } as unknown as ModelRequest), /messages/);
});

test("a member that is undefined is not there; null is", async () => {
  assert.equal(await cacheKey({ ...EMPTY, stop: undefined }), await cacheKey(EMPTY));
  assert.notEqual(await cacheKey({ ...EMPTY, stop: null }), await cacheKey(EMPTY));
  assert.equal(await cacheKey({ ...EMPTY, version: null }), await cacheKey(EMPTY));
});

test("objects without a prototype and a member named __proto__ are JSON", () => {
  const bare = Object.assign(Object.create(null), { b: 1, a: -0 });
  assert.equal(canonicalJson(bare), '{"a":0,"b":1}');
  assert.equal(canonicalJson(JSON.parse('{"__proto__":{"x":1}}')), '{"__proto__":{"x":1}}');
});

test("the cache's method makes the same key", async () => {
  const cache = new Cache({ url: "http://localhost", apiKey: "ck" });
  assert.equal(await cache.cacheKey(EMPTY), await cacheKey(EMPTY));
});
