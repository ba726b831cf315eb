/** A service that fails, is slow or is away; and what is never told. */

import assert from "node:assert/strict";
import test from "node:test";
import { inspect } from "node:util";

import {
  APIError,
  BudgetExceeded,
  Cache,
  CacheError,
  InsufficientCredits,
  InternalError,
  InvalidRequest,
  RateLimitExceeded,
  TimedOut,
  Unavailable,
  UnexpectedAnswer,
  Unreachable,
} from "cacheservice-client";

import { type Answer, API_KEY, CUT, failure, startFake } from "./fake.js";

const QUIET = { warn: (): void => undefined };
const AWAY = "http://127.0.0.1:4"; // where nobody listens, and which fetch does not refuse

test("5xx, 429 and lost connections are tried again", async (t) => {
  const fake = await startFake(t);
  for (const first of [failure(500, "internal_error"), failure(503, "unavailable"), failure(429, "rate_limit_exceeded"), CUT]) {
    fake.answers.push(first, CUT);
    assert.equal((await fake.cache().get("k")).hit, false);
  }
  assert.equal(fake.received.length, 12);
  fake.answers.push(...Array(3).fill(failure(500, "internal_error")));
  await assert.rejects(fake.cache().get("k"), InternalError);
  fake.answers.push(failure(503, "unavailable"));
  await assert.rejects(fake.cache({ retries: 0 }).get("k"), Unavailable);
  assert.equal(fake.received.length, 16);
});

test("Retry-After is honoured, and not waited for beyond the call's time", async (t) => {
  const fake = await startFake(t);
  fake.answers.push(failure(429, "rate_limit_exceeded", { "retry-after": "1" }));
  await fake.cache().get("k");
  const [first, second] = fake.received;
  assert.ok(first && second && second.at - first.at >= 1000);
  fake.answers.push(failure(429, "rate_limit_exceeded", { "retry-after": "30" }));
  const began = performance.now();
  await assert.rejects(fake.cache().get("k"), (error) => error instanceof RateLimitExceeded && error.retryAfter === 30);
  assert.ok(performance.now() - began < 4000);
});

test("what would not be the same twice is not tried again", async (t) => {
  const fake = await startFake(t);
  for (const options of [{ ifAbsent: true }, { ifMatch: '"e"' }, { lease: "token" }]) {
    fake.answers.push(CUT);
    await assert.rejects(fake.cache().put("k", 1, options), (error) => error instanceof Unreachable && error.sent);
  }
  assert.equal(fake.received.length, 3);
  fake.answers.push(failure(429, "rate_limit_exceeded"), { status: 200, body: { key: "k", deleted: true } });
  assert.equal(await fake.cache().delete("k", { ifMatch: '"e"' }), true); // a 429 did nothing
  const away = new Cache({ url: AWAY, apiKey: API_KEY });
  await assert.rejects(away.put("k", 1, { ifAbsent: true }), (error) => error instanceof Unreachable && !error.sent);
});

test("a call takes at most its timeout", async (t) => {
  const fake = await startFake(t);
  fake.answers.push({ status: 200, body: {}, afterMs: 3000 });
  const began = performance.now();
  await assert.rejects(fake.cache({ timeout: 0.3 }).get("k"), TimedOut);
  assert.ok(performance.now() - began < 2500);
});

test("the caller's signal ends a call with its reason", async (t) => {
  const fake = await startFake(t);
  fake.answers.push({ status: 200, body: {}, afterMs: 3000 });
  const reason = new Error("the visitor left");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  await assert.rejects(fake.cache({ onError: "miss" }).get("k", { signal: controller.signal }), (e) => e === reason);
  await assert.rejects(fake.cache().get("k", { signal: AbortSignal.abort(reason) }), (e) => e === reason);
  assert.equal(fake.received.length, 1);
});

test('onError "miss": without the cache, the application goes on', async () => {
  const warnings: string[] = [];
  const warn = (_: string, error: CacheError): void => void warnings.push(error.name);
  const cache = new Cache({ url: AWAY, apiKey: API_KEY, onError: "miss", warn });
  assert.deepEqual(await cache.get("k"), { hit: false, key: "k" });
  assert.equal(await cache.put("k", 1), undefined);
  assert.equal(await cache.delete("k"), false);
  assert.equal(await cache.touch("k", { ttl: 5 }), undefined);
  assert.deepEqual(await cache.batch([{ op: "delete", key: "k" }]), [false]);
  assert.equal(await cache.getOrCreate("k", () => "made"), "made");
  assert.equal(await cache.getOrCreate("a/../b", () => "made"), "made");
  await assert.rejects(cache.getOrCreate("k", () => Promise.reject(new Error("the model"))), /the model/);
  await assert.rejects(cache.list().next(), Unreachable);
  await assert.rejects(cache.clear({ prefix: "a" }), Unreachable);
  await assert.rejects(cache.usage(), Unreachable);
  await assert.rejects(cache.put("k", undefined), TypeError);
  assert.deepEqual(warnings, ["Unreachable"]); // once a minute
});

test("an outage is paid for once, then tried again after a pause", async (t) => {
  const fake = await startFake(t);
  const cache = fake.cache({ onError: "miss", retries: 0, ...QUIET });
  fake.answers.push(failure(503, "unavailable"));
  for (let call = 0; call < 5; call += 1) assert.equal((await cache.get("k")).hit, false);
  assert.equal(fake.received.length, 1);
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await cache.get("k");
  await cache.get("k");
  assert.equal(fake.received.length, 3);
});

test("errors of the account are misses too, mistakes are not", async (t) => {
  const fake = await startFake(t);
  const cache = fake.cache({ onError: "miss", ...QUIET });
  for (const code of ["insufficient_credits", "budget_exceeded"]) {
    fake.answers.push(failure(402, code));
    assert.equal((await cache.get("k")).hit, false);
  }
  fake.answers.push(failure(400, "invalid_request"));
  await assert.rejects(cache.get("k"), APIError);
  fake.answers.push(failure(402, "insufficient_credits"), failure(402, "budget_exceeded"), failure(418, "teapot"));
  await assert.rejects(fake.cache().get("k"), InsufficientCredits);
  await assert.rejects(fake.cache().get("k"), BudgetExceeded);
  await assert.rejects(fake.cache().get("k"), (error) => error instanceof APIError && error.code === "teapot");
});

test("what a proxy answers is no answer of the service, and no redirect gets the API key", async (t) => {
  const fake = await startFake(t);
  const elsewhere = await startFake(t);
  for (const answer of [
    { status: 200, body: "<html>" },
    { status: 404, body: "<html>" },
    { status: 200, body: "null" },
    { status: 302, body: "", headers: { location: elsewhere.url } },
  ]) {
    fake.answers.push(answer);
    await assert.rejects(fake.cache().get("k"), UnexpectedAnswer);
  }
  assert.equal(elsewhere.received.length, 0);
  fake.answers.push({ status: 502, body: "<html>" });
  await assert.rejects(fake.cache({ retries: 0 }).get("k"), (e) => e instanceof Unavailable && e.status === 502);
});

test("getOrCreate asks once for all callers of a process, and they fail together", async (t) => {
  const fake = await startFake(t);
  fake.answers.push({ ...failure(403, "forbidden"), afterMs: 100 });
  const cache = fake.cache();
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => cache.getOrCreate("k", () => 1)));
  assert.ok(results.every((result) => result.status === "rejected" && result.reason.code === "forbidden"));
  assert.equal(fake.received.length, 1);
});

const LEASE: Answer = { status: 200, body: { key: "k", hit: false, lease: "token" } };

const STORED: Answer = {
  status: 201,
  body: { key: "k", created_at: "2026-11-22T10:00:00Z", expires_at: "2026-11-29T10:00:00Z", size_bytes: 6 },
};

for (const onError of ["throw", "miss"] as const) {
  test(`a value that is refused goes to all callers, and its lease back: ${onError}`, async (t) => {
    const fake = await startFake(t);
    const warnings: string[] = [];
    const warn = (message: string, error: CacheError): void => void warnings.push(`${message}: ${error.name}`);
    const cache = fake.cache({ onError, warn });
    fake.answers.push(LEASE, failure(402, "storage_quota_exceeded"), { status: 200, body: { deleted: false } });
    const callers = Array.from({ length: 3 }, () => cache.getOrCreate("k", () => "made"));
    assert.deepEqual(await Promise.all(callers), ["made", "made", "made"]);
    assert.deepEqual(fake.received.map(({ method }) => method), ["GET", "PUT", "DELETE"]);
    assert.equal(fake.received[2]?.headers["x-cache-lease"], "token");
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /did not confirm it as stored: StorageQuotaExceeded/);
  });

  test(`a mistake at the fill is thrown, and gives the lease back: ${onError}`, async (t) => {
    const fake = await startFake(t);
    fake.answers.push(LEASE, failure(400, "invalid_request"), { status: 200, body: { deleted: false } });
    await assert.rejects(fake.cache({ onError, ...QUIET }).getOrCreate("k", () => "made"), InvalidRequest);
    assert.equal(fake.received[2]?.method, "DELETE");
  });
}

test("a caller that leaves while the lease is on its way gives it back", async (t) => {
  const fake = await startFake(t);
  fake.answers.push({ ...LEASE, afterMs: 300 }, { status: 200, body: { deleted: false } });
  const reason = new Error("the visitor left");
  const controller = new AbortController();
  const left = fake.cache().getOrCreate("k", () => assert.fail("made"), { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 100);
  const began = performance.now();
  await assert.rejects(left, (error) => error === reason);
  assert.ok(performance.now() - began < 250); // it waits for none of that
  while (fake.received.length < 2 && performance.now() - began < 2000) await new Promise((go) => setTimeout(go, 20));
  assert.deepEqual(fake.received.map(({ method }) => method), ["GET", "DELETE"]);
  assert.equal(fake.received[1]?.headers["x-cache-lease"], "token");
});

test("a fill whose answer is lost is tried again, and then may be stored", async (t) => {
  const fake = await startFake(t);
  const warnings: string[] = [];
  const cache = fake.cache({ warn: (message) => void warnings.push(message) });
  fake.answers.push(LEASE, CUT, failure(409, "lease_lost"));
  assert.equal(await cache.getOrCreate("k", () => "made"), "made");
  assert.deepEqual(fake.received.map(({ method }) => method), ["GET", "PUT", "PUT"]);
  assert.match(warnings.join(), /^A value may be stored/);

  fake.answers.push(LEASE, CUT, STORED);
  assert.equal(await cache.getOrCreate("k", () => "made"), "made");
  fake.answers.push(LEASE, failure(409, "lease_lost"));
  assert.equal(await cache.getOrCreate("k", () => "made"), "made");
  assert.match(warnings[1] ?? "", /^A value was not stored, since its lease was lost/);
  assert.equal(warnings.length, 2);
});

test("who comes while the value is being stored gets it too", async (t) => {
  const fake = await startFake(t);
  const cache = fake.cache();
  const body = { key: "k", created_at: "2026-11-20T10:00:00Z", expires_at: "2026-11-27T10:00:00Z", size_bytes: 6 };
  fake.answers.push(LEASE, { status: 201, body, afterMs: 300 });
  const first = cache.getOrCreate("k", () => "made");
  while (fake.received.length < 2) await new Promise((resolve) => setTimeout(resolve, 10)); // the fill is under way
  assert.equal(await cache.getOrCreate("k", () => assert.fail("made twice"), { wait: 1 }), "made");
  assert.equal(await first, "made");
  assert.equal(fake.received.length, 2);
});

test("clear({ all: true }) asks for just that, and the service may be below a path", async (t) => {
  const fake = await startFake(t);
  fake.answers.push({ status: 200, body: { deleted: 7 } });
  assert.equal(await new Cache({ url: `${fake.url}/below/`, apiKey: API_KEY }).clear({ all: true }), 7);
  assert.deepEqual([fake.received[0]?.method, fake.received[0]?.target], ["DELETE", "/below/api/v1/cache?all=true"]);
});

test("the API key is in no text that anybody might print, log or send on", async (t) => {
  const fake = await startFake(t);
  const cache = fake.cache({ retries: 0 });
  const shown = [inspect(cache, { depth: 20, showHidden: true }), JSON.stringify(cache), String(cache)];
  assert.equal(shown[1], JSON.stringify({ url: fake.url, onError: "throw" }));
  shown.push(inspect(cache, { customInspect: false, depth: 20, showHidden: true, getters: true }));
  fake.answers.push(CUT, failure(401, "invalid_api_key"), { status: 200, body: "<html>" });
  for (let call = 0; call < 3; call += 1) {
    const error: unknown = await cache.get("k").catch((error: unknown) => error);
    assert.ok(error instanceof CacheError);
    shown.push(inspect(error, { depth: 20, showHidden: true }), JSON.stringify(error), String(error.stack));
  }
  for (const text of shown) assert.ok(!text.includes(API_KEY), text);
  assert.equal(fake.received[0]?.headers.authorization, `Bearer ${API_KEY}`);
});

test("a set-up that cannot work is refused, without the API key being told", () => {
  const good = { url: AWAY, apiKey: API_KEY };
  for (const apiKey of ["", "ck_live_with\nbreak", "ck_live_with space", "ck_live_ünicode"]) {
    assert.throws(() => new Cache({ ...good, apiKey }), (e: Error) => /apiKey/.test(e.message) && !/ck_live/.test(e.message));
  }
  for (const url of ["", "localhost", "ftp://a", "http://", "http://user:pass@host", "http://host?a", "http://h#a"]) {
    assert.throws(() => new Cache({ ...good, url }), /url/);
  }
  for (const options of [{ timeout: 0 }, { timeout: NaN }, { retries: -1 }, { onError: "ignore" as "miss" }]) {
    assert.throws(() => new Cache({ ...good, ...options }), new RegExp(Object.keys(options)[0] ?? ""));
  }
});

test("fromEnv", (t) => {
  const saved = { CACHE_URL: process.env.CACHE_URL, CACHE_API_KEY: process.env.CACHE_API_KEY };
  t.after(() => Object.assign(process.env, saved));
  Object.assign(process.env, { CACHE_URL: "http://localhost:8000/\n", CACHE_API_KEY: API_KEY });
  assert.equal(inspect(Cache.fromEnv({ onError: "miss" })), 'Cache {"url":"http://localhost:8000","onError":"miss"}');
  process.env.CACHE_URL = "";
  assert.throws(() => Cache.fromEnv(), /CACHE_URL is not set/);
});
