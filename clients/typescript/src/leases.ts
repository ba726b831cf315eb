/**
 * `getOrCreate`: of all callers of a key that misses, in any number of processes, one makes the value.
 *
 * Within the process they board one flight (`flights.ts`). Its pilot asks the service for the key's lease and, when
 * another process has it, waits there for the fill. Whoever gets the lease makes the value and fills the entry with it.
 *
 * - `make` fails: its caller gets the error, the lease is given back, and the next one who waits tries.
 * - The service refuses the value, or does not answer: all callers get the value, which was paid for, and `warn` is told. A
 *   refused value's lease is given back. Only what the program must mend (a `ttl` of 0, say) is thrown.
 * - The lease is lost meanwhile, to a DELETE or because `make` took longer than it: the value goes to its callers, but is
 *   not stored.
 * - A caller's `signal` is aborted: a lease that is on its way to it is given back.
 * - A caller's patience (`wait`) ends, or the cache is out and onError is "miss": the caller makes the value for itself
 *   and stores nothing, since without a lease it could bring back what has been deleted.
 * - A key with dot segments has no lease: the process's pilot makes the value and stores it.
 */

import { now, sleep, within } from "./clock.js";
import type { Engine } from "./engine.js";
import { CacheError, LeaseLost, Unreachable } from "./errors.js";
import { Flights, type Outcome } from "./flights.js";
import type { Response } from "./messages.js";
import { type EntryOptions, get, hasDotSegments, put, release } from "./operations.js";
import type { Hit, Miss, Stored } from "./results.js";
import { decode, encode, type Encoded } from "./values.js";

export interface CreateOptions extends EntryOptions {
  /** Of a value of bytes or text that is not JSON. */
  contentType?: string;
  /** The seconds, at most 300, within which the value must be made to be stored. Default 60. */
  lease?: number;
  /** The seconds for which a caller waits for another's value before it makes its own. Default 60. */
  wait?: number;
  /** Ends the finding and waiting. What `make` does is ended by `make` itself, which may be given the same signal. */
  signal?: AbortSignal;
}

type Make<T> = () => T | Promise<T>;

const LEASE_SECONDS = 60;
const WAIT_SECONDS = 60;
const LONGEST_REQUEST_SECONDS = 20; // for which one request waits: proxies cut those that are silent for longer
const PAUSE_SECONDS = 0.25; // at most, between two of them, should they be answered at once
const RELEASE_SECONDS = 2; // to give a lease back, which time will do as well

/** What the service answered. `value` reads a hit's value once more from the answer. */
interface Found {
  readonly result: Hit | Miss;
  readonly mayStore: boolean;
  value(): unknown;
}

export class Filler {
  readonly #engine: Engine;
  readonly #flights = new Flights();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async getOrCreate<T>(key: string, make: Make<T>, options: CreateOptions): Promise<T> {
    const patienceEnds = now() + (options.wait ?? WAIT_SECONDS);
    for (;;) {
      const flight = this.#flights.underWay(key);
      if (!flight) return await this.#pilot(key, make, options, patienceEnds);
      const outcome = await within(secondsUntil(patienceEnds), flight, options.signal);
      if (!outcome) return await make();
      if (outcome.end === "failed") throw outcome.error;
      if (outcome.end === "landed") return outcome.value() as T;
    }
  }

  async #pilot<T>(key: string, make: Make<T>, options: CreateOptions, patienceEnds: number): Promise<T> {
    const end = this.#flights.begin(key);
    let outcome: Outcome = { end: "abandoned" };
    try {
      const found = await this.#find(key, options, patienceEnds);
      if (found.result.hit) {
        outcome = { end: "landed", value: found.value };
        return found.result.value as T;
      }
      const began = now();
      const [value, encoded] = await this.#make(key, make, found.result.lease, options.contentType);
      outcome = { end: "landed", value: () => decode(encoded) };
      // Before the others here have it: who comes meanwhile would find neither the flight nor the entry.
      if (found.mayStore) await this.#fill(key, encoded, found.result.lease, options, began);
      return value;
    } catch (error) {
      if (error instanceof FindFailed) {
        outcome = { end: "failed", error: error.error };
        throw error.error;
      }
      throw error;
    } finally {
      end(outcome);
    }
  }

  /** A hit, or a miss: with a lease, or without when there is none to be had. */
  async #find(key: string, options: CreateOptions, patienceEnds: number): Promise<Found> {
    try {
      let found = await this.#ask(key, options, 0);
      for (let left; nothingYet(found) && (left = secondsUntil(patienceEnds)) > 0; ) {
        found = await this.#ask(key, options, Math.min(Math.ceil(left), LONGEST_REQUEST_SECONDS));
        if (nothingYet(found)) await sleep(Math.random() * PAUSE_SECONDS, options.signal);
      }
      return found;
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
      if (!this.#engine.tolerates(error)) throw new FindFailed(error);
      return nothing(key);
    }
  }

  async #ask(key: string, { lease = LEASE_SECONDS, signal }: CreateOptions, wait: number): Promise<Found> {
    const leasable = !hasDotSegments(key);
    const { request, parse } = leasable ? get(key, lease, wait) : get(key);
    const read = (response: Response): Found => {
      const result = parse(response);
      const mayStore = !result.hit && (result.lease !== undefined || !leasable);
      return { result, mayStore, value: () => (parse(response) as Hit).value };
    };
    signal?.throwIfAborted();
    const ending = new AbortController();
    const asking = this.#engine.attempt({ request, parse: read, otherwise: () => nothing(key) }, ending.signal);
    try {
      return (await within(Infinity, asking, signal)) as Found;
    } catch (error) {
      if (signal?.aborted) this.#giveBack(key, asking, ending);
      throw error;
    }
  }

  /** Of a caller that is no more: the lease that may be on its way to it. */
  #giveBack(key: string, asking: Promise<Found>, ending: AbortController): void {
    const timer = setTimeout(() => ending.abort(), RELEASE_SECONDS * 1000);
    void asking
      .then(({ result }) => (result.hit ? undefined : this.#release(key, result.lease)))
      .catch(() => undefined)
      .finally(() => clearTimeout(timer));
  }

  async #make<T>(
    key: string,
    make: Make<T>,
    lease: string | undefined,
    contentType: string | undefined,
  ): Promise<[T, Encoded]> {
    try {
      const value = await make();
      return [value, encode(value, contentType)];
    } catch (error) {
      await this.#release(key, lease);
      throw error;
    }
  }

  async #fill(
    key: string,
    encoded: Encoded,
    lease: string | undefined,
    options: CreateOptions,
    began: number,
  ): Promise<void> {
    const seconds = now() - began;
    let inDoubt = false;
    try {
      const { request, parse, otherwise } = put(key, encoded, options, lease === undefined ? {} : { lease });
      const read = (response: Response): Stored | undefined => {
        inDoubt = response.inDoubt ?? false;
        return parse(response);
      };
      // Tried again, though it is not the same twice: below it is known what a lost lease then means.
      await this.#engine.attempt({ request: { ...request, repeatable: true }, parse: read, otherwise });
    } catch (error) {
      if (error instanceof LeaseLost) {
        const message = inDoubt
          ? "A value may be stored: the answer to that was lost, and then its lease was, most likely to the same attempt"
          : `A value was not stored, since its lease was lost: it took ${seconds.toFixed(1)} s to make and had a lease ` +
            `of ${options.lease ?? LEASE_SECONDS} s (give a longer lease), or its entry was deleted meanwhile`;
        this.#engine.warn(message, error, `fill in doubt: ${inDoubt}`);
        return;
      }
      // Of a service that refuses the value: else all who want the key would wait for the lease's end.
      if (!(error instanceof Unreachable)) await this.#release(key, lease);
      if (!(error instanceof CacheError) || !error.tolerable) throw error;
      this.#engine.warn("A made value goes to its callers, but the cache did not confirm it as stored", error);
    }
  }

  async #release(key: string, lease: string | undefined): Promise<void> {
    if (lease === undefined) return;
    await this.#engine.once(release(key, lease).request, RELEASE_SECONDS).catch(() => undefined);
  }
}

/** An error of the cache while finding, to tell it from one that `make` threw. */
class FindFailed extends Error {
  constructor(readonly error: CacheError) {
    super();
  }
}

function nothing(key: string): Found {
  return { result: { hit: false, key }, mayStore: false, value: () => undefined };
}

function nothingYet(found: Found): boolean {
  return !found.result.hit && !found.mayStore;
}

function secondsUntil(time: number): number {
  return Math.max(0, time - now());
}
