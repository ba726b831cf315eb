/** Entries, one and many, in the real service. */

import assert from "node:assert/strict";
import test from "node:test";

import { InvalidAPIKey, InvalidRequest, PreconditionFailed, UnsupportedMediaType } from "cacheservice-client";

import { collected, realCache, unique } from "./service.js";

const cache = realCache();
const VALUES = [null, false, 0, "", [], {}, 1.5, -0.1, "ünïcödé 😀\u2028", { b: [1, { a: null }], a: "x".repeat(10_000) }];

for (const value of VALUES) {
  test(`JSON comes back: ${JSON.stringify(value).slice(0, 20)}`, async () => {
    const key = unique();
    const stored = await cache.put(key, value, { ttl: 60 });
    assert.ok(stored);
    assert.equal(stored.expiresAt.getTime() - stored.createdAt.getTime(), 60_000);
    assert.equal(stored.sizeBytes, new TextEncoder().encode(JSON.stringify(value)).length);
    const found = await cache.get(key);
    assert.ok(found.hit);
    assert.deepEqual(found.value, value);
    assert.deepEqual(
      [found.key, found.contentType, found.etag, found.expiresAt],
      [key, undefined, stored.etag, stored.expiresAt],
    );
    assert.ok(found.age !== undefined && found.age >= 0 && found.age <= 5);
  });
}

test("a miss is not a stored null", async () => {
  const key = unique();
  assert.deepEqual(await cache.get(key), { hit: false, key });
  await cache.put(key, null);
  const found = await cache.get(key);
  assert.ok(found.hit && found.value === null);
  assert.equal(await cache.delete(key), true);
  assert.equal(await cache.delete(key), false);
  assert.equal((await cache.get(key)).hit, false);
});

test("bytes come back with their type", async () => {
  const key = unique();
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
  await cache.put(key, bytes, { ttl: 60, tags: ["a b", "ü"], cost: "0.04" });
  let found = await cache.get(key);
  assert.ok(found.hit);
  assert.deepEqual([found.value, found.contentType], [bytes, "application/octet-stream"]);
  await cache.put(key, bytes.buffer, { contentType: "image/png" });
  found = await cache.get(key);
  assert.ok(found.hit && found.contentType === "image/png");
  await cache.put(key, "plain ü", { contentType: "text/plain; charset=utf-8" });
  found = await cache.get(key);
  assert.ok(found.hit);
  assert.equal(new TextDecoder().decode(found.value as Uint8Array), "plain ü");
  await cache.put(key, new TextEncoder().encode('{"ready": 1.50}'), { contentType: "application/json" });
  found = await cache.get(key);
  assert.deepEqual(found.hit && found.value, { ready: 1.5 });
  await assert.rejects(cache.put(key, bytes, { contentType: "application/x-www-form-urlencoded" }), UnsupportedMediaType);
  await assert.rejects(cache.put(key, { a: 1 }, { contentType: "text/plain" }), TypeError);
});

test("what is not JSON is refused before it is sent", async () => {
  const lost = [new Map([[1, 2]]), new Set([1]), new Blob(["x"]), Promise.resolve(1), new Error("e"), new Uint8Array(0)];
  for (const value of [undefined, () => 1, Symbol("s"), 1n, NaN, [Infinity], ...lost.map((each) => ({ each }))]) {
    await assert.rejects(cache.put("k", value), TypeError);
  }
  for (const text of ["", "{", '1,"ttl":60', "1}"]) {
    const bytes = new TextEncoder().encode(text); // between the other fields of a request, they would add to them
    await assert.rejects(cache.put("k", bytes, { contentType: "application/json" }), TypeError);
  }
  await assert.rejects(cache.put("k", 1, { cost: 0.04 as unknown as string }), TypeError);
});

test("what has no members is JSON even so", async () => {
  const key = unique();
  const value = [{}, Object.create(null), [], new (class Empty {})(), new String("s"), new Date(0)];
  await cache.put(key, value);
  const found = await cache.get(key);
  assert.deepEqual(found.hit && found.value, [{}, {}, [], {}, "s", "1970-01-01T00:00:00.000Z"]);
});

const KEYS = ["a/b", "ä ö/日本", "100%", "?a=b&c#d", "a%2Fb", "a+b", "...", "a//b", "..a/b.", "'()*!~", "a\\b", "😀"];
for (const name of KEYS) {
  test(`any key: ${name}`, async () => {
    const key = `${name}${unique("")}`;
    await cache.put(key, name);
    const found = await cache.get(key);
    assert.ok(found.hit);
    assert.deepEqual([found.key, found.value], [key, name]);
    assert.equal(await cache.delete(key), true);
  });
}

for (const name of [".", "..", "a/../b", "./a", "a/.", "%2e", "a/%2E%2e/b", "a/.%2e", "../../api/v1/account"]) {
  test(`a key with dot segments goes by a batch: ${name}`, async () => {
    const prefix = unique();
    const key = name.startsWith("a/") ? prefix + name : name;
    const stored = await cache.put(key, { of: name }, { ttl: 60, tags: [prefix], cost: "0.01" });
    assert.ok(stored && stored.key === key);
    const found = await cache.get(key);
    assert.ok(found.hit);
    assert.deepEqual([found.key, found.value, found.etag], [key, { of: name }, undefined]);
    const [entry, ...others] = await collected(cache.list({ tag: prefix }));
    assert.deepEqual([entry?.key, entry?.tags, others], [key, [prefix], []]);
    assert.equal(await cache.delete(key), true);
    assert.equal(await cache.delete(key), false);
    assert.deepEqual(await cache.get(key), { hit: false, key });
    await assert.rejects(cache.get(key, { lease: 10 }), TypeError);
    await assert.rejects(cache.put(key, 1, { ifAbsent: true }), TypeError);
    await assert.rejects(cache.put(key, new Uint8Array(1)), TypeError);
    await assert.rejects(cache.delete(key, { ifMatch: '"e"' }), TypeError);
    await assert.rejects(cache.touch(key, { ttl: 5 }), TypeError);
    await assert.rejects(cache.put(key, 1, { ttl: 0 }), InvalidRequest);
  });
}

test("what is no key is refused before it is sent", async () => {
  for (const key of ["", "\ud800", undefined as unknown as string]) {
    await assert.rejects(cache.get(key), (error) => error instanceof TypeError || error instanceof RangeError);
  }
});

test("conditions", async () => {
  const key = unique();
  const first = await cache.put(key, 1, { ifAbsent: true });
  await assert.rejects(cache.put(key, 2, { ifAbsent: true }), PreconditionFailed);
  const second = await cache.put(key, 2, { ifMatch: first?.etag });
  await assert.rejects(cache.put(key, 3, { ifMatch: first?.etag }), PreconditionFailed);
  await assert.rejects(cache.delete(key, { ifMatch: first?.etag }), PreconditionFailed);
  assert.equal(await cache.delete(key, { ifMatch: second?.etag }), true);
});

test("touch renews and retags, and the version stays", async () => {
  const [key, tag] = [unique(), unique("tag")];
  const stored = await cache.put(key, "value", { ttl: 60, tags: "old" });
  const touched = await cache.touch(key, { ttl: 3600 });
  assert.ok(stored && touched);
  assert.deepEqual([touched.key, touched.etag, touched.sizeBytes], [key, stored.etag, stored.sizeBytes]);
  assert.ok(touched.expiresAt.getTime() - stored.expiresAt.getTime() >= 3540_000);
  await cache.touch(key, { tags: [tag, "ü"], ifMatch: stored.etag });
  const [entry] = await collected(cache.list({ tag }));
  assert.deepEqual([entry?.key, entry?.tags, entry?.expiresAt], [key, [tag, "ü"], touched.expiresAt]);
  await cache.touch(key, { tags: [] });
  assert.deepEqual(await collected(cache.list({ tag })), []);
  await assert.rejects(cache.touch(key, { ttl: 5, ifMatch: '"0000000000000000"' }), PreconditionFailed);
  await assert.rejects(cache.touch(key, { ttl: 0 }), InvalidRequest);
  assert.equal(await cache.touch(unique(), { ttl: 5 }), undefined); // no entry
});

test("a list goes on page after page, and clear deletes what it shows", async () => {
  const [prefix, tag] = [unique("list"), unique("tag")];
  const keys = ["a", "b", "c", "é", "日"].map((name) => `${prefix}/${name}`);
  await Promise.all(keys.map((key, index) => cache.put(key, index, { tags: index < 2 ? [tag, "all"] : ["all"] })));
  const entries = await collected(cache.list({ prefix, pageSize: 2 }));
  assert.deepEqual(entries.map((entry) => entry.key), keys);
  assert.deepEqual([...(entries[0]?.tags ?? [])].sort(), ["all", tag].sort());
  assert.ok(entries[0]?.createdAt instanceof Date && entries[0].sizeBytes === 1 && entries[0].hits === undefined);
  const [withStats] = await collected(cache.list({ prefix, stats: true }));
  assert.deepEqual([withStats?.hits, withStats?.lastHitAt], [0, null]);
  assert.equal((await collected(cache.list({ prefix, tag: [tag, "all"] }))).length, 2);
  for await (const entry of cache.list({ prefix, pageSize: 1 })) {
    assert.equal(entry.key, keys[0]); // and no more pages are asked for
    break;
  }
  assert.equal(await cache.clear({ tag }), 2);
  assert.equal(await cache.clear({ prefix }), 3);
  assert.deepEqual(await collected(cache.list({ prefix })), []);
});

test("clear never deletes all by mistake", async () => {
  await assert.rejects(cache.clear({}), TypeError);
  await assert.rejects(cache.clear({ tag: [], prefix: "" }), TypeError);
  await assert.rejects(cache.clear({ prefix: "a", all: true }), TypeError);
});

test("errors are typed, and have a request id", async () => {
  await assert.rejects(cache.put(unique(), 1, { ttl: -1 }), (error) => {
    assert.ok(error instanceof InvalidRequest);
    assert.deepEqual([error.name, error.status, error.code], ["InvalidRequest", 400, "invalid_request"]);
    assert.match(error.message, /ttl/);
    assert.ok(error.requestId && error.message.includes(error.requestId));
    return true;
  });
  const apiKey = "ck_live_unknown";
  await assert.rejects(realCache({ apiKey }).get("k"), (error) => {
    assert.ok(error instanceof InvalidAPIKey && error.status === 401 && !error.message.includes(apiKey));
    return true;
  });
  const tolerant = realCache({ apiKey, onError: "miss", warn: () => undefined });
  assert.equal((await tolerant.get("k")).hit, false);
  assert.equal(await tolerant.put("k", 1), undefined);
  assert.equal(await tolerant.getOrCreate("k", () => "made"), "made");
  await assert.rejects(tolerant.clear({ all: true }), InvalidAPIKey);
});
