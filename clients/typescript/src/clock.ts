/** Time that only passes forward, in seconds, and pauses. */

export function now(): number {
  return performance.now() / 1000;
}

const LONGEST_TIMER_MS = 2 ** 31 - 1; // a longer one would end at once

/** Rejects with the signal's reason when it is aborted before. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, Math.min(seconds * 1000, LONGEST_TIMER_MS));
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** The promise's result, or undefined when it takes longer. Rejects with the signal's reason when it is aborted before. */
export async function within<T>(seconds: number, promise: Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
  const done = new AbortController();
  const stop = (): void => done.abort(signal?.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise, sleep(seconds, done.signal).then(() => undefined)]);
  } finally {
    signal?.removeEventListener("abort", stop);
    done.abort();
  }
}
