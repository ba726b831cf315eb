/**
 * When a request is tried again, and after how long: exponential back-off with full jitter, within the call's time.
 *
 * Full jitter (a random pause from nothing to the back-off's) spreads clients that failed together best:
 * https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */

import { now } from "./clock.js";
import { APIError, type CacheError, RateLimitExceeded, Unreachable } from "./errors.js";
import type { Request } from "./messages.js";

const FIRST_BACKOFF = 0.1; // seconds
const LONGEST_BACKOFF = 2;

/** The attempts at one request. `timeout`: the seconds that all of them may take. */
export class Attempts {
  readonly beganAt = now();
  readonly #request: Request;
  readonly #endsAt: number;
  #retriesLeft: number;
  #backoff = FIRST_BACKOFF;
  /** Whether one may have done what was asked though it failed. */
  inDoubt = false;

  constructor(request: Request, timeout: number, retries: number) {
    this.#request = request;
    this.#endsAt = this.beganAt + timeout + (request.wait ?? 0);
    this.#retriesLeft = retries;
  }

  secondsLeft(): number {
    return Math.max(0.001, this.#endsAt - now());
  }

  /** The seconds to wait before the next attempt; undefined when there is to be none. */
  pause(error: CacheError): number | undefined {
    const didNothing = error instanceof RateLimitExceeded || (error instanceof Unreachable && !error.sent);
    this.inDoubt ||= !didNothing;
    if (this.#retriesLeft === 0 || !(didNothing || this.#request.repeatable)) return undefined;
    this.#retriesLeft -= 1;
    const asked = error instanceof APIError ? (error.retryAfter ?? 0) : 0;
    const pause = asked + Math.random() * this.#backoff;
    this.#backoff = Math.min(2 * this.#backoff, LONGEST_BACKOFF);
    return now() + pause < this.#endsAt ? pause : undefined;
  }
}
