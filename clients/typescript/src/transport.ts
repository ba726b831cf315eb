/** Where requests leave: by fetch, with a timeout, and never through a cache or a redirect of fetch's own. */

import { TimedOut, Unreachable } from "./errors.js";
import type { Request, Response } from "./messages.js";
import type { Settings } from "./settings.js";

// What Node's fetch and its DNS say when no connection came about.
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);

/**
 * Any answer. Throws Unreachable when none came within the seconds, the signal's reason when it was aborted.
 */
export async function send(
  settings: Settings,
  request: Request,
  seconds: number,
  signal?: AbortSignal,
): Promise<Response> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  const timer = setTimeout(stop, seconds * 1000);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const response = await (settings.fetch ?? globalThis.fetch)(settings.url + request.target, {
      method: request.method,
      headers: { accept: "application/json", ...request.headers, authorization: `Bearer ${settings.apiKey}` },
      body: (request.body ?? null) as BodyInit | null,
      signal: controller.signal,
      cache: "no-store", // also for frameworks that cache what fetch gets
      credentials: "omit",
      redirect: "manual", // never with the API key
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  } catch (error) {
    signal?.throwIfAborted();
    if (controller.signal.aborted) {
      throw new TimedOut(`No answer from ${settings.origin} within ${seconds.toFixed(1)} s.`);
    }
    const { code, reason } = described(error);
    throw new Unreachable(`No answer from ${settings.origin}: ${reason}`, !NEVER_SENT.has(code));
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** Node has what went wrong in the cause of "fetch failed", one cause for each address that was tried in its errors. */
function described(error: unknown): { code: string; reason: string } {
  const cause = error instanceof Error ? ((error.cause ?? error) as { code?: unknown; message?: unknown }) : {};
  const code = typeof cause.code === "string" ? cause.code : "";
  return { code, reason: code || String(cause.message ?? "fetch failed") };
}
