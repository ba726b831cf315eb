"""OpenAI's chat completions and legacy completions, https://platform.openai.com/docs/api-reference/chat."""

from typing import Any

from tests.upstream.directions import Directions
from tests.upstream.wire import (
    REASONING_TOKENS,
    Answer,
    BadRequest,
    Body,
    Stream,
    Text,
    Whole,
    answer_text,
    encoded,
    example,
    halves,
    now,
    openai_error_object,
    said,
    tokens,
    unique,
)

DONE = b"data: [DONE]\n\n"
STREAM_ERROR = b"data: %s\n\n" % encoded({"error": openai_error_object(500, "The server had an error.")})
_FINGERPRINT = "fp_0123456789"


def chat(body: Body, directions: Directions) -> Answer:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("Missing required parameter: 'messages'.")
    prompt = next((said(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    tool = _tool(body, messages)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = [_choice(body, prompt, tool, limit, directions, index) for index in range(body.get("n") or 1)]
    prompt_tokens = sum(tokens(said(message.get("content"))) for message in messages)
    written = sum(tokens(str(text)) for _, text in choices)
    usage = None if directions.no_usage else usage_of(prompt_tokens, written, directions)
    head = {"id": unique("chatcmpl-"), "created": now(), "model": body["model"], "system_fingerprint": _FINGERPRINT}
    if body.get("stream"):
        with_usage = (body.get("stream_options") or {}).get("include_usage") is True
        return Stream(_chunks(head, choices, usage if with_usage else None, with_usage), STREAM_ERROR)
    answer = {**head, "object": "chat.completion", "choices": [choice for choice, _ in choices]}
    return Whole(encoded(answer if usage is None else {**answer, "usage": usage}))


def usage_of(prompt_tokens: int, written: int, directions: Directions) -> dict[str, Any]:
    reasoning = REASONING_TOKENS if directions.reasoning else 0
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written + reasoning,
        "total_tokens": prompt_tokens + written + reasoning,
        "prompt_tokens_details": {"cached_tokens": prompt_tokens // 2 if directions.reasoning else 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _tool(body: Body, messages: list[Any]) -> Body | None:
    """The function to call: where there are some and none was called just now, the wanted one or the first."""
    choice = body.get("tool_choice")
    if not body.get("tools") or choice == "none" or messages[-1].get("role") == "tool":
        return None
    functions: list[Body] = [tool["function"] for tool in body["tools"]]
    wanted = choice["function"]["name"] if isinstance(choice, dict) else functions[0]["name"]
    return next(function for function in functions if function["name"] == wanted)


def _choice(
    body: Body, prompt: str, tool: Body | None, limit: object, directions: Directions, index: int
) -> tuple[dict[str, Any], Text]:
    """A choice as JSON, and its text or its tool's arguments."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if tool is not None:
        text = Text(list(halves(encoded(example(tool.get("parameters") or {})).decode())), cut=False)
        call = {"name": tool["name"], "arguments": str(text)}
        message["tool_calls"] = [{"id": unique("call_"), "type": "function", "function": call}]
    else:
        text = _text(body, prompt, limit, directions, index)
        message["content"] = str(text)
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish(text, tool, directions),
    }, text


def _text(body: Body, prompt: str, limit: object, directions: Directions, index: int) -> Text:
    text = answer_text(prompt, directions, limit, index)
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return Text(list(halves(encoded(example(form["json_schema"]["schema"])).decode())), cut=False)
    if form.get("type") == "json_object":
        return Text(list(halves(encoded({"answer": str(text)}).decode())), cut=False)
    return text


def _finish(text: Text, tool: Body | None, directions: Directions) -> str:
    if directions.finish == "content_filter":
        return "content_filter"
    if text.cut:
        return "length"
    return "tool_calls" if tool is not None else "stop"


def _chunks(
    head: dict[str, Any], choices: list[tuple[dict[str, Any], Text]], usage: object, with_usage: bool
) -> list[bytes]:
    common = {"id": head["id"], "object": "chat.completion.chunk", "created": head["created"], "model": head["model"]}
    common |= {"service_tier": "default", "system_fingerprint": _FINGERPRINT}
    null_usage = {"usage": None} if with_usage else {}
    events = []
    for choice, text in choices:
        for delta, finish in _deltas(choice, text):
            told = {"index": choice["index"], "delta": delta, "logprobs": None, "finish_reason": finish}
            events.append(b"data: %s\n\n" % encoded({**common, "choices": [told], **null_usage}))
    if usage is not None:
        events.append(b"data: %s\n\n" % encoded({**common, "choices": [], "usage": usage}))
    return [*events, DONE]


def _deltas(choice: dict[str, Any], text: Text) -> list[tuple[dict[str, Any], str | None]]:
    told: list[tuple[dict[str, Any], str | None]]
    if calls := choice["message"].get("tool_calls"):
        call = {"index": 0, **calls[0], "function": {**calls[0]["function"], "arguments": ""}}
        told = [({"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}, None)]
        told += [({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None) for piece in text.pieces]
    else:
        told = [({"role": "assistant", "content": "", "refusal": None}, None)]
        told += [({"content": piece}, None) for piece in text.pieces]
    return [*told, ({}, choice["finish_reason"])]


def completions(body: Body, directions: Directions) -> Answer:
    """The legacy API: a prompt, or a list of them, in text."""
    prompt = body.get("prompt")
    given = prompt if isinstance(prompt, list) else [prompt]
    prompts = [text for text in given if isinstance(text, str)]
    if not prompts or len(prompts) < len(given):
        raise BadRequest("Invalid type for 'prompt'.")
    count = body.get("n") or 1
    limit = body.get("max_tokens", 16)
    texts = [answer_text(text, directions, limit, choice) for text in prompts for choice in range(count)]
    usage = usage_of(sum(map(tokens, prompts)), sum(tokens(str(text)) for text in texts), directions)
    head = {"id": unique("cmpl-"), "object": "text_completion", "created": now(), "model": body["model"]}
    if not body.get("stream"):
        choices = [_completion(str(text), index, _finish(text, None, directions)) for index, text in enumerate(texts)]
        return Whole(encoded({**head, "choices": choices, **({} if directions.no_usage else {"usage": usage})}))
    events = [
        {**head, "choices": [_completion(piece, index, None)]}
        for index, text in enumerate(texts)
        for piece in text.pieces
    ]
    events += [
        {**head, "choices": [_completion("", index, _finish(text, None, directions))]}
        for index, text in enumerate(texts)
    ]
    if (body.get("stream_options") or {}).get("include_usage") is True:
        events = [{**event, "usage": None} for event in events]
        events += [] if directions.no_usage else [{**head, "choices": [], "usage": usage}]
    return Stream([*(b"data: %s\n\n" % encoded(event) for event in events), DONE], STREAM_ERROR)


def _completion(text: str, index: int, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
