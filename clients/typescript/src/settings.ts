/** How a cache is set up, checked at once so that a mistake shows where it was made. */

import type { CacheError } from "./errors.js";

/** All times are in seconds. */
export interface CacheOptions {
  /** The service's URL, such as https://cache.example.com. */
  url: string;
  apiKey: string;
  /** The seconds that a call may take, its retries included; a wait for a lease comes on top. Default 5. */
  timeout?: number;
  /** How often a call is tried again on 429, 5xx and when no answer came. Default 2. */
  retries?: number;
  /**
   * "miss" lets the application go on without a cache that is out: get finds nothing, put, touch, delete and batch do
   * nothing, getOrCreate makes the value. list, clear and usage throw all the same. Default "throw".
   */
  onError?: "throw" | "miss";
  /** Told of errors that onError "miss" hides, at most once a minute of a kind. Default console.warn. */
  warn?: (message: string, error: CacheError) => void;
  /** Instead of the global fetch. */
  fetch?: typeof globalThis.fetch;
}

export interface Settings extends Required<Omit<CacheOptions, "fetch">> {
  readonly url: string; // without a slash at its end
  readonly origin: string;
  readonly fetch: typeof globalThis.fetch | undefined;
}

/** Throws TypeError and RangeError, without the API key in them. */
export function settingsOf(options: CacheOptions): Settings {
  const { timeout = 5, retries = 2, onError = "throw", warn = consoleWarn } = options;
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    throw new TypeError("url: give the service's URL, such as https://cache.example.com");
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new TypeError("url: give it without a user, a password, a query and a fragment");
  }
  if (typeof options.apiKey !== "string" || !/^[!-~]+$/.test(options.apiKey)) {
    throw new TypeError("apiKey: it is empty, or has white space or other characters that no API key has");
  }
  if (!(timeout > 0 && timeout <= 86_400)) throw new RangeError("timeout: give seconds, more than 0");
  if (!(Number.isInteger(retries) && retries >= 0)) throw new RangeError("retries: give 0 or more");
  if (onError !== "throw" && onError !== "miss") throw new RangeError('onError: give "throw" or "miss"');
  return {
    url: url.origin + url.pathname.replace(/\/+$/, ""),
    origin: url.origin,
    apiKey: options.apiKey,
    timeout,
    retries,
    onError,
    warn,
    fetch: options.fetch,
  };
}

/** Throws TypeError when the variable is missing or empty, or where there is no environment, as in a browser. */
export function fromEnvironment(name: string): string {
  const host = globalThis as { process?: { env?: Record<string, string | undefined> } };
  const value = host.process?.env?.[name]?.trim();
  if (!value) {
    throw new TypeError(
      `${name} is not set: give the environment the service's URL as CACHE_URL, a key as CACHE_API_KEY`,
    );
  }
  return value;
}

function consoleWarn(message: string, error: CacheError): void {
  console.warn(`${message}: ${error.message}`);
}
