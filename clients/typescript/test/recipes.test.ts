/** The recipes, against the real service and a model that counts how often it is asked. */

import assert from "node:assert/strict";
import test from "node:test";

import { POST } from "../recipes/app/api/chat/route.js";
import { startFake } from "./fake.js";
import { unique } from "./service.js";

function chat(content: string): Request {
  const body = JSON.stringify({ messages: [{ role: "user", content }] });
  return new Request("http://localhost/api/chat", { method: "POST", body });
}

test("the Next-style route asks the model once for the same chat", async (t) => {
  const model = await startFake(t);
  Object.assign(process.env, { MODEL_URL: model.url, MODEL_API_KEY: "model-key" });
  const reply = { role: "assistant", content: "A place to keep things." };
  const prompt = unique("What is a cache?");

  model.answers.push({ status: 500, body: {} });
  assert.equal((await POST(chat(prompt))).status, 502); // and it is not cached

  model.answers.push({ status: 200, body: { choices: [{ message: reply }] }, afterMs: 100 });
  const answers = await Promise.all(Array.from({ length: 10 }, () => POST(chat(prompt))));
  for (const answer of [...answers, await POST(chat(prompt))]) {
    assert.equal(answer.status, 200);
    assert.deepEqual(await answer.json(), reply);
  }
  assert.equal(model.received.length, 2);
  assert.deepEqual(JSON.parse(model.received[1]?.body ?? ""), {
    model: "gpt-4.1",
    temperature: 0,
    messages: [{ role: "user", content: prompt }],
  });

  for (const body of ["", "{}", '{"messages":[]}', '{"messages":[{"role":"user"}]}', "null"]) {
    const request = new Request("http://localhost/api/chat", { method: "POST", body });
    assert.equal((await POST(request)).status, 400);
  }
});
