/**
 * A Next-style route handler in front of a chat model: the same chat is paid for once, and when many ask it at once, the
 * model is asked once. MODEL_URL is a model's OpenAI-compatible endpoint, MODEL_API_KEY its key.
 */

import { Cache, cacheKey, suggestTtl } from "cacheservice-client";

interface Message {
  role: string;
  content: string;
}

interface Chat {
  model: string;
  temperature: number;
  messages: Message[];
}

class ModelFailed extends Error {}

let cache: Cache | undefined; // made by the first request: a build has no CACHE_URL and no CACHE_API_KEY

export async function POST(request: Request): Promise<Response> {
  const messages = messagesOf(await request.json().catch(() => undefined));
  if (!messages) return Response.json({ error: "Give messages of a role and a content each." }, { status: 400 });

  const chat: Chat = { model: "gpt-4.1", temperature: 0, messages };
  cache ??= Cache.fromEnv({ onError: "miss" }); // without the cache, the model still answers
  try {
    const reply = await cache.getOrCreate(await cacheKey(chat), () => ask(chat), {
      ttl: suggestTtl(messages.at(-1)?.content ?? ""),
      tags: ["chat"],
      cost: "0.004",
    });
    return Response.json(reply);
  } catch (error) {
    if (!(error instanceof ModelFailed)) throw error;
    return Response.json({ error: "The model does not answer." }, { status: 502 });
  }
}

/** What it throws is not cached: the next request asks again. */
async function ask(chat: Chat): Promise<Message> {
  const answer = await fetch(`${process.env.MODEL_URL}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${process.env.MODEL_API_KEY}` },
    body: JSON.stringify(chat),
  });
  if (!answer.ok) throw new ModelFailed(`The model answered ${answer.status}.`);
  const { choices } = (await answer.json()) as { choices: { message: Message }[] };
  const reply = choices[0]?.message;
  if (!reply) throw new ModelFailed("The model answered without a message.");
  return reply;
}

function messagesOf(body: unknown): Message[] | undefined {
  const messages = (body as { messages?: unknown } | null | undefined)?.messages;
  if (!Array.isArray(messages) || messages.length === 0) return undefined;
  const areMessages = messages.every((each) => typeof each?.role === "string" && typeof each?.content === "string");
  return areMessages ? messages.map(({ role, content }) => ({ role, content })) : undefined;
}
