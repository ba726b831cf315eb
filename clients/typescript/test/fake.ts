/** A server on localhost that answers what it is told: for what a real service does only at its worst. */

import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

import { Cache, type CacheOptions } from "cacheservice-client";

export const API_KEY = "ck_live_0N4ZtXZ0FrO_aSecretThatIsInNoText";

export interface Received {
  readonly method: string;
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly at: number; // milliseconds
}

export interface Answer {
  readonly status: number;
  readonly body?: unknown; // text as it is, all else as JSON
  readonly headers?: Record<string, string>;
  readonly afterMs?: number;
}

/** The connection is closed instead. */
export const CUT: Answer = { status: 0 };
export const MISS: Answer = { status: 200, body: { key: "k", hit: false } };

export function failure(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return { status, body: { error: { code, message: `${code} it is.`, request_id: "request-1" } }, headers };
}

export class Fake {
  readonly received: Received[] = [];
  /** Then MISS. */
  readonly answers: Answer[] = [];
  constructor(readonly url: string) {}

  cache(options: Partial<CacheOptions> = {}): Cache {
    return new Cache({ url: this.url, apiKey: API_KEY, ...options });
  }
}

/** Runs until the end of the test. */
export async function startFake(test: TestContext): Promise<Fake> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = "", url: target = "", headers } = request;
    fake.received.push({ method, target, headers, body: Buffer.concat(chunks).toString(), at: performance.now() });
    const answer = fake.answers.shift() ?? MISS;
    if (answer.afterMs) await new Promise((resolve) => setTimeout(resolve, answer.afterMs));
    if (answer === CUT) {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
    response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const fake = new Fake(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return fake;
}
