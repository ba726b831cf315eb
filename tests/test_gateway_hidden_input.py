"""Input that counts and is not in the request's body: what the provider keeps, gets from elsewhere, or finds."""

from typing import Any

import pytest

from gateway.apis import api_for

OTHER = api_for("other", "/x")
KNOWN = [api_for("other", path) for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses")]
PROVIDERS_TOOLS = (
    *("web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "tool_search_tool_bm25_20251119"),
    *("web_search", "web_search_preview", "web_search_preview_2025_03_11", "web_search_2025_08_26", "mcp"),
    *("mcp_toolset", "file_search", "code_interpreter", "image_generation", "openrouter:web_search"),
    *("made_up", "function ", "bash_20250124x", "", 1, ["function"]),
)
CLIENTS_TOOLS = (
    *("function", "custom", "namespace", "computer", "computer_use_preview", "local_shell", "apply_patch", None),
    *("bash_20250124", "computer_20251124", "memory_20250818", "text_editor_20250728"),
)


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"container": "container_1"},
        {"thread_id": "thread_1"},
        {"assistant_id": "asst_1"},
        {"cachedContent": "cachedContents/1"},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"content": [{"type": "input_file", "file_id": "file_1"}]}]},
        {"input": [{"content": [{"type": "input_file", "file_url": "https://x/y.pdf"}]}]},
        {"messages": [{"content": [{"type": "document", "source": {"type": "file", "file_id": "file_1"}}]}]},
        {"messages": [{"content": [{"source": {"url": "https://x/y.pdf", "type": "url"}, "type": "document"}]}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "https://x/y.pdf"}}]}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"messages": [{"content": [{"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}]}]},
        {"messages": [{"content": [{"type": "audio_url", "audio_url": {"url": "https://x/y.mp3"}}]}]},
        {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]},
        {"web_search_options": {}},
        {"search_parameters": {"mode": "auto"}},
        {"plugins": [{"id": "web"}]},
    ],
)
def test_input_that_is_not_in_the_body(body: dict[str, Any]) -> None:
    for api in (OTHER, *KNOWN):
        assert api.hidden_input({"model": "m", **body})


@pytest.mark.parametrize("kind", PROVIDERS_TOOLS)
def test_what_the_providers_tools_find_is_not_in_the_body(kind: Any) -> None:
    tools = [{"type": "function", "name": "x"}, {"type": kind, "name": "y"}]
    for api in (OTHER, *KNOWN):
        assert api.hidden_input({"model": "m", "tools": tools})


@pytest.mark.parametrize("kind", CLIENTS_TOOLS)
def test_what_the_clients_tools_find_is_in_the_next_body(kind: str | None) -> None:
    tools = [{"name": "x", "input_schema": {"properties": {"type": {"type": "mcp"}}}}, {"type": kind, "name": "y"}]
    for api in (OTHER, *KNOWN):
        assert not api.hidden_input({"model": "m", "tools": tools})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"web_search_options": None, "plugins": [], "mcp_servers": [], "tools": []},
        {"tools": None, "messages": [{"content": 'a "type":"video_url" and {"tools":[{"type":"mcp"}]}'}]},
        {"tools": {"type": "mcp"}, "tool_choice": {"type": "tool", "name": "x"}},
        {"tools": ["web_search", None]},
        {"previous_response_id": None, "conversation": "", "prompt": "x", "container": {}},
        {"prompt": {"text": "x"}},
        {"messages": [{"content": 'a "file_id":"x" and "type":"item_reference"'}]},
        {"tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}, "required": ["file_id"]}}]},
        {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}]}]},
        {"messages": [{"content": [{"type": "document", "source": {"type": "base64", "data": "AAAA"}}]}]},
        {"input": [{"file_id": None}]},
    ],
)
def test_input_that_is_in_the_body(body: dict[str, Any]) -> None:
    assert not OTHER.hidden_input(body)
