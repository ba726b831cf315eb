/**
 * How an operation is carried out: tried again where that helps, left be while the service is out, and taken for a miss
 * where the application prefers that to an error.
 */

import { Circuit } from "./circuit.js";
import { now, sleep } from "./clock.js";
import { APIError, CacheError, errorOf, RateLimitExceeded, Unavailable, UnexpectedAnswer, Unreachable } from "./errors.js";
import type { Operation, Request, Response } from "./messages.js";
import { Attempts } from "./retries.js";
import type { Settings } from "./settings.js";
import { send } from "./transport.js";

const SECONDS_BETWEEN_WARNINGS = 60; // of one kind

class ShortCircuit extends Unreachable {
  constructor() {
    super("Not tried: the service was out a moment ago.", false);
  }
}

export class Engine {
  readonly #settings: Settings;
  readonly #circuit: Circuit;
  readonly #quietUntil = new Map<string, number>();

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#circuit = new Circuit(settings.timeout);
  }

  /** The operation's result, or what stands in for it. Throws CacheError. */
  async perform<T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await this.attempt(operation, signal);
    } catch (error) {
      if (!operation.otherwise || !this.tolerates(error)) throw error;
      return operation.otherwise();
    }
  }

  /** The same without anything that stands in. */
  async attempt<T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    if (operation.otherwise && this.#tolerant && !this.#circuit.letsThrough()) throw new ShortCircuit();
    const response = await this.#answer(operation.request, signal);
    try {
      return operation.parse(response);
    } catch (error) {
      if (error instanceof CacheError) throw error;
      throw new UnexpectedAnswer(`${response.status} with a body that is not the service's: check the URL.`);
    }
  }

  /** The answer of one attempt, whatever it is. */
  once(request: Request, seconds: number): Promise<Response> {
    return send(this.#settings, request, seconds);
  }

  /** Whether onError "miss" hides this error. It then warns. */
  tolerates(error: unknown): boolean {
    if (!this.#tolerant || !(error instanceof CacheError) || !error.tolerable) return false;
    this.warn("The cache is out, and the application goes on without it", error);
    return true;
  }

  /** At most once a minute of a kind, and not of calls that were not tried. */
  warn(message: string, error: CacheError, kind = message): void {
    if (error instanceof ShortCircuit) return;
    kind += error instanceof APIError ? error.code : error.name;
    const time = now();
    if (time < (this.#quietUntil.get(kind) ?? 0)) return;
    this.#quietUntil.set(kind, time + SECONDS_BETWEEN_WARNINGS);
    this.#settings.warn(message, error);
  }

  get #tolerant(): boolean {
    return this.#settings.onError === "miss";
  }

  /** An answer that trying again would not better. */
  async #answer(request: Request, signal?: AbortSignal): Promise<Response> {
    const attempts = new Attempts(request, this.#settings.timeout, this.#settings.retries);
    for (;;) {
      const found = await this.#try(request, attempts.secondsLeft(), signal);
      if (!(found instanceof CacheError)) {
        this.#circuit.succeeded();
        return attempts.inDoubt ? { ...found, inDoubt: true } : found;
      }
      const pause = attempts.pause(found);
      if (pause === undefined) {
        if (isOutage(found)) this.#circuit.failed(attempts.beganAt, found instanceof APIError ? found.retryAfter : 0);
        throw found;
      }
      await sleep(pause, signal);
    }
  }

  /** An answer, or an error that may pass. */
  async #try(request: Request, seconds: number, signal?: AbortSignal): Promise<Response | CacheError> {
    try {
      const response = await send(this.#settings, request, seconds, signal);
      return response.status === 429 || response.status >= 500 ? errorOf(response) : response;
    } catch (error) {
      if (error instanceof Unreachable) return error;
      throw error;
    }
  }
}

/** What keeps the service from answering anybody. Not a 500, which one entry may have to itself. */
function isOutage(error: CacheError): boolean {
  return error instanceof Unreachable || error instanceof RateLimitExceeded || error instanceof Unavailable;
}
