/** Batches and usage, in the real service. */

import assert from "node:assert/strict";
import test from "node:test";

import { APIError, type BatchOperation, InternalError, InvalidRequest, NotFound, Unreachable } from "cacheservice-client";

import { CUT, failure, startFake } from "./fake.js";
import { realCache, unique } from "./service.js";

const cache = realCache();

test("operations are carried out in their order, each with a result of its own", async () => {
  const [key, other] = [unique(), unique("../")];
  const [stored, hit, refused, deleted, again, miss] = await cache.batch([
    { op: "put", key, value: { a: [1.5, null] }, ttl: 60, tags: ["batch"], cost: "0.04" },
    { op: "get", key },
    { op: "put", key: other, value: 1, ttl: 0 },
    { op: "delete", key },
    { op: "delete", key },
    { op: "get", key: other },
  ]);
  assert.ok(stored && !(stored instanceof APIError)); // and the compiler knows that it is a Stored
  assert.deepEqual([stored.key, stored.sizeBytes, stored.etag], [key, 16, undefined]);
  assert.equal(stored.expiresAt.getTime() - stored.createdAt.getTime(), 60_000);
  assert.ok(!(hit instanceof APIError) && hit.hit);
  assert.deepEqual([hit.key, hit.value, hit.expiresAt], [key, { a: [1.5, null] }, stored.expiresAt]);
  assert.ok(refused instanceof InvalidRequest && /ttl/.test(refused.message) && refused.requestId);
  assert.deepEqual([deleted, again, miss], [true, false, { hit: false, key: other }]);
});

test("bytes are got, but not stored", async () => {
  const key = unique();
  await cache.put(key, Uint8Array.of(0, 255), { contentType: "image/png" });
  const [found] = await cache.batch([{ op: "get", key }]);
  assert.ok(!(found instanceof APIError) && found.hit);
  assert.deepEqual([found.value, found.contentType], [Uint8Array.of(0, 255), "image/png"]);
  for (const value of [new Uint8Array(1), undefined, NaN]) {
    await assert.rejects(cache.batch([{ op: "delete", key }, { op: "put", key, value }]), TypeError);
  }
  await assert.rejects(cache.batch([{ op: "put", key, value: 1, cost: 0.04 as unknown as string }]), TypeError);
  await assert.rejects(cache.batch([{ op: "patch", key } as unknown as BatchOperation]), TypeError);
  assert.equal((await cache.get(key)).hit, true); // nothing was sent
});

test("more than a request takes goes in several", async (t) => {
  const prefix = unique();
  const keys = Array.from({ length: 600 }, (_, index) => `${prefix}/${index}`);
  await cache.batch(keys.map((key, value) => ({ op: "put", key, value, ttl: 60 }) as const));
  const found = await cache.batch(keys.map((key) => ({ op: "get", key }) as const));
  assert.deepEqual(found.map((each) => !(each instanceof APIError) && each.hit && each.value), keys.map((_, index) => index));
  assert.equal(await cache.clear({ prefix }), 600);
  assert.deepEqual(await cache.batch([]), []);

  const fake = await startFake(t);
  fake.answers.push(...[2, 1].map((results) => failures(results)));
  const value = "é".repeat(1_500_000); // 3 MB each
  await fake.cache().batch([1, 2, 3].map((index) => ({ op: "put", key: `k${index}`, value }) as const));
  assert.deepEqual(fake.received.map(({ body }) => JSON.parse(body).operations.length), [2, 1]);
});

function failures(count: number): { status: number; body: unknown } {
  return { status: 200, body: { results: Array(count).fill(failure(400, "invalid_request")) } };
}

test("a batch that deletes is not sent twice, another is", async (t) => {
  const fake = await startFake(t);
  fake.answers.push(CUT);
  await assert.rejects(fake.cache().batch([{ op: "get", key: "k" }, { op: "delete", key: "k" }]), Unreachable);
  assert.equal(fake.received.length, 1);
  fake.answers.push(CUT, { status: 200, body: { results: [{ status: 200, body: { key: "k", hit: false } }] } });
  assert.deepEqual(await fake.cache().batch([{ op: "get", key: "k" }]), [{ hit: false, key: "k" }]);
});

test("a batch of a service that is out does nothing", async (t) => {
  const fake = await startFake(t);
  fake.answers.push(failure(500, "internal_error"), failure(500, "internal_error"));
  const operations = [{ op: "get", key: "k" }, { op: "put", key: "k", value: 1 }, { op: "delete", key: "k" }] as const;
  const tolerant = fake.cache({ onError: "miss", warn: () => undefined });
  assert.deepEqual(await tolerant.batch(operations), [{ hit: false, key: "k" }, undefined, false]);
  await assert.rejects(fake.cache({ retries: 0 }).batch(operations), InternalError);
});

test("usage tells what was used", async () => {
  const [key, tag] = [unique(), unique("tag")];
  const today = new Date().toISOString().slice(0, 10);
  const before = await cache.usage({ start: today });
  await cache.put(key, 1, { tags: [tag], cost: "0.5" });
  await cache.get(key);
  await cache.get(unique());
  const { total, group_by, by } = await cache.usage({ start: today });
  assert.deepEqual([group_by, by], ["day", null]);
  assert.deepEqual([total.hits - before.total.hits >= 1, total.misses - before.total.misses >= 1], [true, true]);
  const rows = (await cache.usage({ start: new Date(`${today}T00:00:00Z`), groupBy: "hour", by: "api_key" })).usage;
  assert.ok(rows.some((row) => row.hits > 0 && row.api_key?.id && /T\d\d:00:00Z$/.test(row.start)));
  const byTag = await cache.usage({ start: today, by: "tag" });
  assert.equal(byTag.by, "tag");
  assert.ok(Array.isArray(byTag.usage));
  assert.equal((await cache.usage()).usage.length, 30);
  await assert.rejects(cache.usage({ start: "yesterday" }), InvalidRequest);
  await assert.rejects(cache.usage({ start: new Date(NaN) }), RangeError);
  await assert.rejects(realCache({ url: `${process.env.CACHE_URL}/below`, onError: "miss" }).usage(), NotFound);
});
