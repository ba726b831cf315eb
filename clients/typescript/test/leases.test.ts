/** getOrCreate in the real service. Two caches share nothing, as two processes do. */

import assert from "node:assert/strict";
import test from "node:test";

import { InvalidRequest, LeaseLost } from "cacheservice-client";

import { realCache, unique } from "./service.js";

const [cache, other] = [realCache(), realCache()];

function later<T>(ms: number, value: T): Promise<T> {
  return new Promise((resolve) => setTimeout(resolve, ms, value));
}

test("of all callers of all processes one makes the value", async () => {
  const key = unique();
  let calls = 0;
  const make = (): Promise<{ reply: string }> => later(300, { reply: `made ${++calls}` });
  const callers = Array.from({ length: 50 }, (_, index) =>
    (index % 2 ? cache : other).getOrCreate(key, make, { wait: Infinity }),
  );
  const values = await Promise.all(callers);
  assert.equal(calls, 1);
  assert.deepEqual(values, values.map(() => ({ reply: "made 1" })));
  assert.equal(new Set(values).size, 50); // none can change another's
  assert.deepEqual(await cache.getOrCreate(key, make), { reply: "made 1" });
  assert.equal(calls, 1);
});

test("ttl, tags and cost are stored", async () => {
  const key = unique();
  await cache.getOrCreate(key, () => 1, { ttl: 60, tags: [key], cost: "0.04" });
  const found = await cache.get(key);
  assert.ok(found.hit && found.expiresAt.getTime() - found.createdAt.getTime() === 60_000);
  assert.equal(await cache.clear({ tag: key }), 1);
});

for (const value of [null, false, 0, ""]) {
  test(`${JSON.stringify(value)} is a value like others`, async () => {
    const key = unique();
    assert.equal(await cache.getOrCreate(key, () => value), value);
    assert.equal(await cache.getOrCreate<unknown>(key, () => assert.fail("made twice")), value);
  });
}

test("bytes can be made", async () => {
  const key = unique();
  const make = (): Uint8Array => Uint8Array.of(1, 2);
  assert.deepEqual(await cache.getOrCreate(key, make, { contentType: "image/png" }), Uint8Array.of(1, 2));
  const found = await cache.get(key);
  assert.deepEqual(found.hit && [found.value, found.contentType], [Uint8Array.of(1, 2), "image/png"]);
});

test("what make throws goes to its caller alone, and another one tries", async () => {
  const key = unique();
  let calls = 0;
  const make = async (): Promise<number> => {
    calls += 1;
    await later(100, null);
    if (calls === 1) throw new Error("the model is out");
    return calls;
  };
  const results = await Promise.allSettled([cache, cache, other].map((each) => each.getOrCreate(key, make)));
  assert.equal(results.filter((result) => result.status === "rejected").length, 1);
  assert.equal(calls, 2);
});

test("a value that is not JSON gives the lease back", async () => {
  const key = unique();
  await assert.rejects(cache.getOrCreate(key, () => 1n), TypeError);
  assert.equal(await other.getOrCreate(key, () => "next", { wait: 0 }), "next");
  assert.equal((await cache.get(key)).hit, true);
});

test("a delete while a value is being made wins", async () => {
  const key = unique();
  const warnings: string[] = [];
  const warned = realCache({ warn: (message) => warnings.push(message) });
  const made = warned.getOrCreate(key, async () => {
    await other.delete(key);
    return "made";
  });
  assert.equal(await made, "made");
  assert.equal((await cache.get(key)).hit, false);
  assert.match(warnings.join(), /lease was lost/);
});

test("a maker that takes longer than its lease is followed, and does not overwrite", async () => {
  const key = unique();
  const slow = realCache({ warn: () => undefined }).getOrCreate(key, () => later(2500, "slow"), { lease: 1 });
  await later(200, null);
  assert.equal(await other.getOrCreate(key, () => "quick"), "quick");
  assert.equal(await slow, "slow");
  const found = await cache.get(key);
  assert.equal(found.hit && found.value, "quick");
});

test("a caller waits no longer than it wants, and then stores nothing", async () => {
  const key = unique();
  const first = cache.getOrCreate(key, () => later(3000, "first"));
  await later(200, null);
  assert.equal(await other.getOrCreate(key, () => "own", { wait: 0 }), "own");
  assert.equal(await cache.getOrCreate(key, () => "own", { wait: 0.2 }), "own");
  assert.equal((await other.get(key)).hit, false);
  assert.equal(await first, "first");
});

test("a signal ends a wait, not the making of others", async () => {
  const key = unique();
  const made = cache.getOrCreate(key, () => later(2000, "made"));
  await later(200, null);
  const reason = new Error("the visitor left");
  for (const each of [cache, other]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 100);
    const waiting = each.getOrCreate(key, () => assert.fail("made"), { signal: controller.signal });
    await assert.rejects(waiting, (error) => error === reason);
  }
  assert.equal(await made, "made");
});

for (const name of [".", "a/../b"]) {
  test(`a key with dot segments is made without a lease: ${name}`, async () => {
    const key = name === "." ? name : `${unique()}/${name}`;
    await cache.delete(key);
    let calls = 0;
    const make = (): Promise<string> => later(100, `made ${++calls}`);
    const values = await Promise.all([1, 2, 3].map(() => cache.getOrCreate(key, make, { ttl: 60 })));
    assert.deepEqual([values, calls], [["made 1", "made 1", "made 1"], 1]);
    assert.equal(await other.getOrCreate(key, make), "made 1");
    assert.equal(await cache.delete(key), true);
  });
}

test("mistakes are told even so", async () => {
  const tolerant = realCache({ onError: "miss" });
  await assert.rejects(tolerant.getOrCreate(unique(), () => 1, { lease: 301 }), InvalidRequest);
  await assert.rejects(tolerant.getOrCreate(unique(), () => 1, { ttl: 0 }), InvalidRequest);
});

test("leases by hand", async () => {
  const key = unique();
  const mine = await cache.get(key, { lease: 30 });
  assert.ok(!mine.hit && mine.lease);
  assert.deepEqual(await other.get(key, { lease: 30 }), { hit: false, key });
  const waiting = other.get(key, { lease: 30, wait: 10 });
  await cache.release(key, mine.lease);
  const next = await waiting;
  assert.ok(!next.hit && next.lease);
  await assert.rejects(cache.put(key, "late", { lease: mine.lease }), LeaseLost);
  await other.put(key, "filled", { lease: next.lease });
  const found = await cache.get(key);
  assert.equal(found.hit && found.value, "filled");
  await assert.rejects(cache.get(key, { wait: 1 }), TypeError);
});
