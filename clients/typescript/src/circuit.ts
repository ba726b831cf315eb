/**
 * The short circuit: after an outage calls are not even tried for a while, so that a dead cache costs one call its
 * timeout, not each.
 */

import { now } from "./clock.js";

const FIRST_PAUSE = 1; // seconds; each failed trial doubles the pause
const LONGEST_PAUSE = 30;
const LONGEST_RETRY_AFTER = 60; // a rate limit's minute

/** Closed: calls go through. Open: none does until the pause is over; then one tries, and the others see what it finds. */
export class Circuit {
  readonly #trialSeconds: number;
  #pause = 0; // 0: closed
  #openedAt = 0;
  #openUntil = 0;

  /** `trialSeconds`: how long one trial may take before the next begins. */
  constructor(trialSeconds: number) {
    this.#trialSeconds = trialSeconds;
  }

  letsThrough(): boolean {
    if (this.#pause === 0) return true;
    const time = now();
    if (time < this.#openUntil) return false;
    this.#openUntil = time + this.#trialSeconds;
    return true;
  }

  succeeded(): void {
    this.#pause = 0;
  }

  /**
   * An outage. Calls that began before the circuit opened tell nothing new. `retryAfter`: the seconds for which the
   * service asked to be left alone.
   */
  failed(beganAt: number, retryAfter = 0): void {
    if (this.#pause > 0 && beganAt < this.#openedAt) return;
    this.#pause = Math.min(this.#pause * 2 || FIRST_PAUSE, LONGEST_PAUSE);
    this.#openedAt = now();
    this.#openUntil = this.#openedAt + Math.max(this.#pause, Math.min(retryAfter, LONGEST_RETRY_AFTER));
  }
}
