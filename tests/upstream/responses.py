"""OpenAI's Responses, https://platform.openai.com/docs/api-reference/responses."""

from typing import Any

from tests.upstream.directions import Directions
from tests.upstream.wire import (
    REASONING_TOKENS,
    Answer,
    BadRequest,
    Body,
    Stream,
    Whole,
    answer_text,
    encoded,
    example,
    halves,
    now,
    said,
    tokens,
    unique,
)

ERROR = {"type": "error", "code": "server_error", "message": "The server had an error.", "param": None}


def responses(body: Body, directions: Directions) -> Answer:
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise BadRequest("Missing required parameter: 'input'.")
    prompt = next((said(item.get("content")) for item in reversed(given) if item.get("role") == "user"), "")
    text = answer_text(prompt, directions, body.get("max_output_tokens"))
    tool = _tool(body, given)
    stopped = "max_output_tokens" if text.cut and tool is None else None
    stopped = "content_filter" if directions.finish == "content_filter" else stopped
    status = "incomplete" if stopped else "completed"
    items, pieces = _output(tool, text.pieces, status, directions)
    said_tokens = sum(tokens(said(item.get("content"))) for item in given) + tokens(body.get("instructions") or "")
    response = {
        "id": unique("resp_"),
        "object": "response",
        "created_at": now(),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": stopped} if stopped else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": items,
        "parallel_tool_calls": True,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "usage": None if directions.no_usage else _usage(said_tokens, sum(map(tokens, pieces)), directions),
    }
    if body.get("stream"):
        return Stream(_events(response, pieces), _event({**ERROR, "sequence_number": 2}))
    return Whole(encoded(response))


def _tool(body: Body, given: list[Body]) -> Body | None:
    functions: list[Body] = [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]
    choice = body.get("tool_choice")
    if not functions or choice == "none" or given[-1].get("type") == "function_call_output":
        return None
    wanted = choice.get("name") if isinstance(choice, dict) else functions[0]["name"]
    return next(function for function in functions if function["name"] == wanted)


def _output(
    tool: Body | None, pieces: list[str], status: str, directions: Directions
) -> tuple[list[dict[str, Any]], list[str]]:
    """The items of the answer, and the last one's text or arguments in deltas."""
    items: list[dict[str, Any]] = []
    if directions.reasoning:
        items.append({"id": unique("rs_"), "type": "reasoning", "summary": []})
    if tool is None:
        content = {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}
        head = {"id": unique("msg_"), "type": "message", "role": "assistant"}
        return [*items, {**head, "status": status, "content": [content]}], pieces
    arguments = encoded(example(tool.get("parameters") or {})).decode()
    call = {"id": unique("fc_"), "type": "function_call", "call_id": unique("call_"), "name": tool["name"]}
    return [*items, {**call, "status": status, "arguments": arguments}], list(halves(arguments))


def _usage(given: int, written: int, directions: Directions) -> dict[str, Any]:
    reasoning = REASONING_TOKENS if directions.reasoning else 0
    cached = given // 2 if directions.reasoning else 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written + reasoning,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": given + written + reasoning,
    }


def _events(response: dict[str, Any], pieces: list[str]) -> list[bytes]:
    begun = {**response, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    told: list[dict[str, Any]] = [
        {"type": f"response.{step}", "response": begun} for step in ("created", "in_progress")
    ]
    for index, item in enumerate(response["output"]):
        told += _item_events(item, index, pieces)
    told.append({"type": f"response.{response['status']}", "response": response})
    return [_event({**event, "sequence_number": number}) for number, event in enumerate(told)]


def _item_events(item: dict[str, Any], index: int, pieces: list[str]) -> list[dict[str, Any]]:
    at = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress"} if "status" in item else item
    match item["type"]:
        case "message":
            [part] = item["content"]
            begun["content"] = []
            within = {**at, "content_index": 0}
            parts = [
                {"type": "response.content_part.added", **within, "part": {**part, "text": ""}},
                *({"type": "response.output_text.delta", **within, "delta": p, "logprobs": []} for p in pieces),
                {"type": "response.output_text.done", **within, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **within, "part": part},
            ]
        case "function_call":
            begun["arguments"] = ""
            name = "response.function_call_arguments"
            parts = [{"type": f"{name}.delta", **at, "delta": piece} for piece in pieces]
            parts.append({"type": f"{name}.done", **at, "name": item["name"], "arguments": item["arguments"]})
        case _:
            parts = []
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *parts,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _event(told: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (told["type"].encode(), encoded(told))
