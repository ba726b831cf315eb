/** Coalescing within a process: of the callers that want one key at once, one flies and the others wait. */

import type { CacheError } from "./errors.js";

export type Outcome =
  /** `value` makes it anew for each passenger: none can change another's. */
  | { readonly end: "landed"; value(): unknown }
  /** The cache failed, as it would fail the others. */
  | { readonly end: "failed"; readonly error: CacheError }
  /** Its pilot failed: another one tries. */
  | { readonly end: "abandoned" };

/** The keys that are being fetched or made in this process. */
export class Flights {
  readonly #flights = new Map<string, Promise<Outcome>>();

  /** The flight to this key that is under way. */
  underWay(key: string): Promise<Outcome> | undefined {
    return this.#flights.get(key);
  }

  /** Begin a flight, which nobody may have under way. The caller is its pilot, who must call what this returns. */
  begin(key: string): (outcome: Outcome) => void {
    let land!: (outcome: Outcome) => void;
    this.#flights.set(key, new Promise((resolve) => (land = resolve)));
    return (outcome) => {
      this.#flights.delete(key);
      land(outcome);
    };
  }
}
