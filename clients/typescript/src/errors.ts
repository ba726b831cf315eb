/**
 * What can go wrong between an application and the cache.
 *
 *     CacheError
 *     ├── Unreachable                   no answer came
 *     │   └── TimedOut                  … in time
 *     ├── UnexpectedAnswer              an answer that is not the service's, such as a proxy's page
 *     └── APIError                      the service's own error: status, code, requestId, retryAfter
 *         ├── InvalidRequest            400 invalid_request
 *         ├── InvalidAPIKey             401 invalid_api_key
 *         ├── InsufficientCredits       402 insufficient_credits
 *         ├── StorageQuotaExceeded      402 storage_quota_exceeded
 *         ├── BudgetExceeded            402 budget_exceeded
 *         ├── Forbidden                 403 forbidden
 *         ├── NotFound                  404 not_found
 *         ├── MethodNotAllowed          405 method_not_allowed
 *         ├── LeaseLost                 409 lease_lost
 *         ├── PreconditionFailed        412 precondition_failed
 *         ├── ValueTooLarge             413 value_too_large
 *         ├── UnsupportedMediaType      415 unsupported_media_type
 *         ├── RateLimitExceeded         429 rate_limit_exceeded
 *         ├── InternalError             500 internal_error
 *         └── Unavailable               503 unavailable, and any other 5xx
 *
 * Mistakes that need no request to be seen (a value that is not JSON, a malformed URL) are TypeError and RangeError. When
 * the caller's own `signal` ends a call, its reason is what is thrown.
 */

import type { components } from "./openapi.js";
import type { Response } from "./messages.js";

export class CacheError extends Error {
  override readonly name: string = "CacheError";
  /** With onError "miss" it counts as a miss. Those that only a change of the program cures do not. */
  get tolerable(): boolean {
    return true;
  }
}

export class Unreachable extends CacheError {
  override readonly name: string = "Unreachable";
  /** `sent`: the service may have got the request, and done it. */
  constructor(
    message: string,
    readonly sent: boolean = true,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export class TimedOut extends Unreachable {
  override readonly name = "TimedOut";
}

export class UnexpectedAnswer extends CacheError {
  override readonly name = "UnexpectedAnswer";
}

/** `retryAfter`: the seconds after which the service asks to try again, when it said so. */
export class APIError extends CacheError {
  override readonly name: string = "APIError";
  constructor(
    text: string,
    readonly status: number,
    readonly code: string,
    readonly requestId?: string,
    readonly retryAfter?: number,
  ) {
    super(`${status} ${code}: ${text} (request ${requestId ?? "unknown"})`);
  }
}

/** Those that say that the program is wrong. */
class Mistake extends APIError {
  override get tolerable(): boolean {
    return false;
  }
}

export class InvalidRequest extends Mistake {
  override readonly name = "InvalidRequest";
}
export class InvalidAPIKey extends APIError {
  override readonly name = "InvalidAPIKey";
}
export class InsufficientCredits extends APIError {
  override readonly name = "InsufficientCredits";
}
export class StorageQuotaExceeded extends APIError {
  override readonly name = "StorageQuotaExceeded";
}
export class BudgetExceeded extends APIError {
  override readonly name = "BudgetExceeded";
}
export class Forbidden extends APIError {
  override readonly name = "Forbidden";
}
export class NotFound extends Mistake {
  override readonly name = "NotFound";
}
export class MethodNotAllowed extends Mistake {
  override readonly name = "MethodNotAllowed";
}
export class LeaseLost extends Mistake {
  override readonly name = "LeaseLost";
}
export class PreconditionFailed extends Mistake {
  override readonly name = "PreconditionFailed";
}
export class ValueTooLarge extends APIError {
  override readonly name = "ValueTooLarge";
}
export class UnsupportedMediaType extends Mistake {
  override readonly name = "UnsupportedMediaType";
}
export class RateLimitExceeded extends APIError {
  override readonly name = "RateLimitExceeded";
}
export class InternalError extends APIError {
  override readonly name = "InternalError";
}
export class Unavailable extends APIError {
  override readonly name = "Unavailable";
}

const BY_CODE = new Map<string, typeof APIError>([
  ["invalid_request", InvalidRequest],
  ["invalid_api_key", InvalidAPIKey],
  ["insufficient_credits", InsufficientCredits],
  ["storage_quota_exceeded", StorageQuotaExceeded],
  ["budget_exceeded", BudgetExceeded],
  ["forbidden", Forbidden],
  ["not_found", NotFound],
  ["method_not_allowed", MethodNotAllowed],
  ["lease_lost", LeaseLost],
  ["precondition_failed", PreconditionFailed],
  ["value_too_large", ValueTooLarge],
  ["unsupported_media_type", UnsupportedMediaType],
  ["rate_limit_exceeded", RateLimitExceeded],
  ["internal_error", InternalError],
  ["unavailable", Unavailable],
]);
const BY_STATUS = new Map<number, typeof APIError>([
  [429, RateLimitExceeded],
  [500, InternalError],
]);

type ErrorDetail = components["schemas"]["ErrorDetail"];

/** The error that this answer of 300 or more is. */
export function errorOf({ status, headers, body }: Response): CacheError {
  const retryAfter = secondsOf(headers.get("retry-after"));
  const error = ofBody(status, parsed(body), retryAfter);
  if (error) return error;
  const requestId = headers.get("x-request-id") ?? undefined;
  if (status === 429 || status >= 500) {
    const kind = BY_STATUS.get(status) ?? Unavailable; // of a proxy before the service
    return new kind("The answer has no error of the service in it.", status, "", requestId, retryAfter);
  }
  return new UnexpectedAnswer(
    `${status} is no answer of the service (request ${requestId ?? "unknown"}): check the URL and what is before it.`,
  );
}

/** The error of the service's `{"error": {"code", "message", "request_id"}}`, alone or within a batch. */
export function ofBody(status: number, body: unknown, retryAfter?: number): APIError | undefined {
  const error = (body as { error?: Partial<ErrorDetail> } | null | undefined)?.error;
  if (typeof error?.code !== "string" || typeof error.message !== "string") return undefined;
  const kind = BY_CODE.get(error.code) ?? (status < 500 ? APIError : Unavailable);
  return new kind(error.message, status, error.code, error.request_id, retryAfter);
}

/** Retry-After in either of its forms, RFC 9110, 10.2.3; undefined when there is none to go by. */
export function secondsOf(retryAfter: string | null): number | undefined {
  if (retryAfter === null) return undefined;
  if (/^\d+$/.test(retryAfter)) return Number(retryAfter);
  const time = Date.parse(retryAfter);
  return Number.isNaN(time) ? undefined : Math.max(0, (time - Date.now()) / 1000);
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
