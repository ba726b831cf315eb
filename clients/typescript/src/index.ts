/** The TypeScript client of cacheservice, a hosted key-value cache for AI responses. The README shows it at work. */

export type { BatchOperation, BatchResult, BatchResults } from "./batches.js";
export { canonicalJson } from "./canonical.js";
export {
  Cache,
  type CallOptions,
  type ClearOptions,
  type DeleteOptions,
  type GetOptions,
  type ListOptions,
  type PutOptions,
  type TouchOptions,
  type UsageOptions,
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
export type { Conditions, EntryOptions, Filter, Period } from "./operations.js";
export type { components, paths } from "./openapi.js";
export type { Entry, Hit, Miss, Stored, TagUsage, Usage } from "./results.js";
export type { CacheOptions } from "./settings.js";
export { suggestTtl, TIME_SENSITIVE } from "./ttl.js";
