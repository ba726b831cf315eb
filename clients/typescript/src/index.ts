/** The TypeScript client of cacheservice, a hosted key-value cache for AI responses. The README shows it at work. */

export { canonicalJson } from "./canonical.js";
export {
  Cache,
  type CallOptions,
  type ClearOptions,
  type DeleteOptions,
  type GetOptions,
  type ListOptions,
  type PutOptions,
} from "./client.js";
export {
  APIError,
  BudgetExceeded,
  CacheError,
  Forbidden,
  InsufficientCredits,
  InternalError,
  InvalidAPIKey,
  InvalidRequest,
  LeaseLost,
  MethodNotAllowed,
  NotFound,
  PreconditionFailed,
  RateLimitExceeded,
  StorageQuotaExceeded,
  TimedOut,
  Unavailable,
  UnexpectedAnswer,
  Unreachable,
  UnsupportedMediaType,
  ValueTooLarge,
} from "./errors.js";
export { cacheKey, type Content, contentKey, type ModelRequest, normalized, textKey, type Version } from "./keys.js";
export type { CreateOptions } from "./leases.js";
export type { Conditions, EntryOptions, Filter } from "./operations.js";
export type { components, paths } from "./openapi.js";
export type { Entry, Hit, Miss, Stored } from "./results.js";
export type { CacheOptions } from "./settings.js";
export { suggestTtl, TIME_SENSITIVE } from "./ttl.js";
