/** HTTP requests and answers as plain objects, which know nothing of how they travel. */

export interface Request {
  readonly method: string;
  /** The path, percent-encoded, and query behind the service's URL. */
  readonly target: string;
  readonly body?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  /** To send it again does what to send it once does, so it may be tried again when nobody knows whether it arrived. */
  readonly repeatable: boolean;
  /** The seconds for which the service may hold back its answer on purpose. */
  readonly wait?: number;
}

export interface Response {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
  /** An earlier attempt, whose answer was lost, may have done what this one was to do. */
  readonly inDoubt?: boolean;
}

/**
 * `parse` is given any answer and throws CacheError for one that is an error. `otherwise` makes what stands in for the
 * result when the cache is out and onError is "miss"; without it, the error is thrown even then.
 */
export interface Operation<T> {
  readonly request: Request;
  parse(response: Response): T;
  otherwise?(): T;
}
