"""A Flask route in front of a chat model: the same question is asked once, however many ask it at the same time.

pip install cacheservice-client flask
CACHE_URL=… CACHE_API_KEY=… CHAT_URL=… flask --app flask_chat run
"""

import os
from typing import Any

import httpx2
from flask import Flask, Response, abort, jsonify, request

from cacheservice_client import Cache, request_key, suggest_ttl

MODEL = "chat-1"

app = Flask(__name__)
cache = Cache.from_env(on_error="miss")  # an outage of the cache is none of the route
upstream = httpx2.Client(timeout=60)


@app.post("/chat")
def chat() -> Response:
    messages = request.get_json().get("messages")
    if not messages:
        abort(400, "messages: at least one")
    # Everything that the reply depends on makes the key; suggest_ttl keeps news for an hour, the rest for a week.
    question = {"model": MODEL, "messages": messages, "temperature": 0}
    reply = cache.get_or_create(
        request_key(**question),
        lambda: ask(question),
        ttl=suggest_ttl(str(messages[-1].get("content", ""))),
        tags=["chat"],
        cost="0.01",
    )
    return jsonify(reply)


def ask(question: dict[str, Any]) -> Any:
    """Raises for what is no reply, so that no error is cached."""
    answer = upstream.post(os.environ["CHAT_URL"], json=question)
    return answer.raise_for_status().json()


@app.errorhandler(httpx2.HTTPError)
def model_is_out(_: httpx2.HTTPError) -> tuple[dict[str, str], int]:
    return {"error": "The model does not answer."}, 502
