/** Many operations in few requests. */

import { type APIError, ofBody, UnexpectedAnswer } from "./errors.js";
import type { Operation } from "./messages.js";
import type { components } from "./openapi.js";
import { content, type EntryOptions, fieldsOf, type HitOrMiss, hitOrMiss, JSON_HEADERS, stored, withValue } from "./operations.js";
import type { Hit, Miss, Stored } from "./results.js";
import { encode } from "./values.js";

type Schemas = components["schemas"];

/** What a batch can do. A `put` stores JSON: bytes go by the method of that name. */
export type BatchOperation =
  | Schemas["GetOperation"]
  | Schemas["DeleteOperation"]
  | (Pick<Schemas["PutOperation"], "op" | "key" | "value"> & EntryOptions);

type ResultOf<O extends BatchOperation> = O extends { readonly op: "get" }
  ? Hit | Miss
  : O extends { readonly op: "put" }
    ? Stored | undefined
    : boolean;

/** What the method of the operation's name gives, or the error that it would reject with. */
export type BatchResult<O extends BatchOperation = BatchOperation> = O extends BatchOperation
  ? ResultOf<O> | APIError
  : never;

/** A result for each operation, in their order. */
export type BatchResults<Os extends readonly BatchOperation[]> = { -readonly [I in keyof Os]: BatchResult<Os[I]> };

const MOST_OPERATIONS = 256;
const MOST_BYTES = 8_000_000; // the service takes 10 MiB by default; an operation that is larger goes alone

interface Part {
  readonly operation: BatchOperation;
  readonly text: string;
  readonly bytes: number;
}

/** The requests that it takes, whose results are those of the operations in their order. */
export function batches(operations: readonly BatchOperation[]): Operation<BatchResult[]>[] {
  const groups: Part[][] = [];
  let bytes = 0;
  for (const part of operations.map(partOf)) {
    const group = groups.at(-1);
    if (group && group.length < MOST_OPERATIONS && bytes + part.bytes <= MOST_BYTES) {
      group.push(part);
      bytes += part.bytes;
    } else {
      groups.push([part]);
      bytes = part.bytes;
    }
  }
  return groups.map(batch);
}

function batch(group: readonly Part[]): Operation<BatchResult[]> {
  return {
    request: {
      method: "POST",
      target: "/api/v1/batch",
      body: `{"operations":[${group.map(({ text }) => text).join(",")}]}`,
      headers: JSON_HEADERS,
      // Done twice, a batch that deletes what it has just read or written would say that nothing was there.
      repeatable: !group.some(({ operation }) => operation.op === "delete"),
    },
    parse: (response) => {
      const { results } = content<Schemas["BatchAnswer"]>(response);
      if (results.length !== group.length) throw new UnexpectedAnswer("A batch with other results than operations.");
      return group.map(({ operation }, index) => resultOf(operation, results[index]!));
    },
    otherwise: () => group.map(({ operation }) => otherwise(operation)),
  };
}

function partOf(operation: BatchOperation): Part {
  const text = textOf(operation);
  return { operation, text, bytes: new TextEncoder().encode(text).length };
}

function textOf(operation: BatchOperation): string {
  const { op, key } = operation;
  if (op === "get" || op === "delete") return JSON.stringify({ op, key });
  if (op !== "put") throw new TypeError(`op: give "get", "put" or "delete", not ${JSON.stringify(op)}`);
  const value = encode(operation.value);
  if (value.json === undefined) throw new TypeError("A batch stores JSON values: store bytes with put.");
  return withValue({ op, key, ...fieldsOf(operation) }, value.json);
}

function resultOf(operation: BatchOperation, { status, body }: Schemas["BatchResult"]): BatchResult {
  if (status >= 300) {
    const error = ofBody(status, body);
    if (!error) throw new UnexpectedAnswer("A batch with an error that is not the service's.");
    return error;
  }
  const answered: unknown = body;
  if (operation.op === "get") return hitOrMiss(answered as HitOrMiss);
  return operation.op === "put" ? stored(answered as Schemas["StoredEntry"]) : (answered as Schemas["Deleted"]).deleted;
}

function otherwise({ op, key }: BatchOperation): BatchResult {
  if (op === "get") return { hit: false, key };
  return op === "put" ? undefined : false;
}
