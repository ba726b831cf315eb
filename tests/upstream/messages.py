"""Anthropic's Messages, https://docs.anthropic.com/en/api/messages."""

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
    said,
    tokens,
    unique,
)

Block = tuple[dict[str, Any], list[dict[str, Any]]]  # of content: as JSON, and the deltas that tell it


def messages(body: Body, directions: Directions) -> Answer:
    if not isinstance(body.get("max_tokens"), int):
        raise BadRequest("max_tokens: Field required")
    given = _given(body)
    tool = _tool(body, given)
    blocks: list[Block] = [_thinking()] if directions.reasoning else []
    text = answer_text(_prompt(given), directions, body["max_tokens"])
    if tool is not None:
        blocks.append(_tool_use(tool))
    else:
        blocks.append(({"type": "text", "text": str(text)}, [{"type": "text_delta", "text": p} for p in text.pieces]))
    if directions.finish == "content_filter":
        reason = "refusal"
    elif tool is not None:
        reason = "tool_use"
    else:
        reason = "max_tokens" if text.cut else "end_turn"
    usage = _usage(body, given, blocks, directions)
    head = {"id": unique("msg_"), "type": "message", "role": "assistant", "model": body["model"]}
    if body.get("stream"):
        return Stream(_events(head, blocks, reason, usage), _event({**_ERROR, "request_id": unique("req_")}))
    answer = {**head, "content": [block for block, _ in blocks], "stop_reason": reason, "stop_sequence": None}
    return Whole(encoded({**answer, **usage}))


def count_tokens(body: Body, directions: Directions) -> Answer:
    return Whole(encoded({"input_tokens": _input_tokens(body, _given(body))}))


_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def _given(body: Body) -> list[Body]:
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise BadRequest("messages: at least one message is required")
    return given


def _prompt(given: list[Body]) -> str:
    return next((said(message.get("content")) for message in reversed(given) if message.get("role") == "user"), "")


def _tool(body: Body, given: list[Body]) -> Body | None:
    """The tool to use: where there are some and none was used just now, the wanted one or the first."""
    choice = body.get("tool_choice") or {}
    last = given[-1].get("content")
    answered = isinstance(last, list) and any(part.get("type") == "tool_result" for part in last)
    if not body.get("tools") or choice.get("type") == "none" or answered:
        return None
    tools: list[Body] = body["tools"]
    return next((tool for tool in tools if tool["name"] == choice.get("name")), tools[0])


def _tool_use(tool: Body) -> Block:
    given = example(tool["input_schema"])
    block = {"type": "tool_use", "id": unique("toolu_"), "name": tool["name"], "input": given}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *halves(encoded(given).decode()))]
    return block, deltas


def _thinking() -> Block:
    thought = "Let me think about this."
    deltas = [{"type": "thinking_delta", "thinking": thought}, {"type": "signature_delta", "signature": "c2lnbmVk"}]
    return {"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"}, deltas


def _input_tokens(body: Body, given: list[Body]) -> int:
    return tokens(said(body.get("system"))) + sum(tokens(said(message.get("content"))) for message in given)


def _usage(body: Body, given: list[Body], blocks: list[Block], directions: Directions) -> dict[str, Any]:
    """`input_tokens` are those that no cache was involved in."""
    if directions.no_usage:
        return {}
    total = _input_tokens(body, given)
    cached = total // 2 if directions.reasoning else 0
    written = REASONING_TOKENS if directions.reasoning else 0
    for block, _ in blocks:
        written += tokens(block.get("text", "")) if "input" not in block else tokens(encoded(block["input"]).decode())
    usage = {
        "input_tokens": total - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": written,
        "service_tier": "standard",
    }
    return {"usage": usage}


def _events(head: dict[str, Any], blocks: list[Block], reason: str, usage: dict[str, Any]) -> list[bytes]:
    start = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
    if usage:  # the first event's output is what it took to begin
        start["usage"] = {**usage["usage"], "output_tokens": 1}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, (block, deltas) in enumerate(blocks):
        told.append({"type": "content_block_start", "index": index, "content_block": _begun(block)})
        if index == 0:
            told.append({"type": "ping"})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    if usage:
        end["usage"] = {"output_tokens": usage["usage"]["output_tokens"]}
    return [_event(event) for event in [*told, end, {"type": "message_stop"}]]


def _begun(block: dict[str, Any]) -> dict[str, Any]:
    empty = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {name: empty.get(name, value) for name, value in block.items()}


def _event(told: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (told["type"].encode(), encoded(told))
