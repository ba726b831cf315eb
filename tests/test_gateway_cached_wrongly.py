"""What looks as if it could be cached, and must not be: made anew each time, under way, blocked, another question."""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final, cast

import pytest

from cacheservice.entries.operations import Caller
from gateway import personal_data, requests
from gateway.apis.chat_pieces import Choice
from gateway.directory import Tenancy
from gateway.exchange import Exchange
from gateway.models import Kind, SpendState
from gateway.plan import Asked, Plan, Planner
from gateway.policy import Policy
from tests.gateway_cast import Client, client, gateway_server
from tests.small_servers import say, small_server
from tests.test_gateway_plans import provider
from tests.upstreams import upstream
from tests.wire_formats import CHAT, IMAGES, MESSAGES, OTHER, VIDEO

__all__ = ["client", "gateway_server", "upstream"]

SD: Final = "/sdapi/v1/txt2img"


def planned(
    path: str,
    body: dict[str, Any],
    *,
    kind: str = Kind.OTHER,
    headers: dict[bytes, bytes] | None = None,
    method: str = "POST",
    **policy: Any,
) -> Plan:
    asked = Asked(method, path, "", headers or {}, json.dumps(body).encode(), None, requests.PLAIN)
    return Planner().plan(provider(kind=kind, policy=Policy(**policy)), asked)


# Images and video


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/models/imagen-4.0-generate-001:predict", {"instances": [{"prompt": "a cat"}]}),
        ("/v1beta/models/veo-3.0-generate-001:predictLongRunning", {"instances": [{"prompt": "a cat"}]}),
        ("/v1/generation/sdxl/text-to-image", {"text_prompts": [{"text": "a cat"}]}),
        ("/any", {"text_prompts": [{"text": "a cat"}]}),
        ("/v1/image_to_video", {"promptText": "a cat", "temperature": 0}),
        ("/any", {"promptText": "a cat", "temperature": 0}),
        (SD, {"prompt": "a cat"}),
        (SD, {"prompt": "a cat", "seed": -1}),
        (SD, {"prompt": "a cat", "seed": True}),
        (SD, {"prompt": "a cat", "seed": 1, "override": {"seed": -1}}),
        ("/v1/images/generations", {"prompt": "a cat", "seed": -1}),
        ("/v1/images/generations", {"prompt": "a cat", "seed": True}),
        ("/v1/flux-pro-1.1", {"prompt": "a cat", "temperature": 0}),
        ("/v1/image_generation", {"prompt": "a cat", "temperature": 0}),
        ("/dream-machine/v1/generations", {"prompt": "a cat", "temperature": 0}),
    ],
)
def test_images_and_video_are_random_without_a_seed(path: str, body: dict[str, Any]) -> None:
    assert planned(path, body).bypass == "no seed"
    assert planned(path, body, cache_random=True).bypass == ""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1beta/models/imagen-4.0-generate-001:predict", {"instances": [{"prompt": "x"}], "parameters": {"seed": 7}}),
        (SD, {"prompt": "a cat", "seed": 0}),
        ("/v1/images/generations", {"prompt": "a cat", "seed": 7}),
        ("/v1/image-classification", {"image": "x"}),
        ("/v1/models/bison:predict", {"instances": [{"prompt": "x"}], "parameters": {"temperature": 0}}),
        ("/v1/influx/query", {"q": "x"}),
    ],
)
def test_with_a_seed_they_are_not_and_neither_is_what_makes_none(path: str, body: dict[str, Any]) -> None:
    assert planned(path, body).bypass == ""


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"requests": [{"prompt": "x"}]}, "temperature absent"),
        ({"temperature": 0, "requests": [{"prompt": "x", "temperature": 1}]}, "temperature>0"),
        ({"prompts": ["x"]}, "temperature absent"),
        ({"prompt": "x", "temperature": 1, "seed": -1}, "temperature>0"),
    ],
)
def test_prompts_in_lists_are_prompts(body: dict[str, Any], reason: str) -> None:
    assert planned("/any", body).bypass == reason


def test_a_negative_seed_is_none_of_known_apis_either() -> None:
    assert CHAT.randomness({"messages": [], "seed": -1}) == "temperature absent"
    assert CHAT.randomness({"messages": [{"temperature": 1}], "temperature": 0}) is None
    assert IMAGES.randomness({"prompt": "x", "seed": False}) == "no seed"


# Blocked answers


@pytest.mark.parametrize(
    "answer",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}},
        {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}},
        {"promptFeedback": {"blockReason": "A_NEW_ONE", "safetyRatings": []}},
        {"predictions": [{"raiFilteredReason": "blocked"}]},
        *(
            {"candidates": [{"finishReason": reason}]}
            for reason in ("IMAGE_PROHIBITED_CONTENT", "OTHER", "LANGUAGE", "NO_IMAGE", "UNEXPECTED_TOOL_CALL")
        ),
        *({"candidates": [{"finishReason": reason}]} for reason in ("FINISH_REASON_UNSPECIFIED", "a new-one", "")),
        {"candidates": [{"finishReason": "STOP"}, {"finishReason": "OTHER"}]},
    ],
)
def test_what_gemini_blocked_is_not_stored(answer: dict[str, Any]) -> None:
    assert OTHER.incomplete(answer) == "filtered"


@pytest.mark.parametrize(
    "answer",
    [
        {"candidates": [{"finishReason": "STOP"}], "promptFeedback": {"blockReason": None}},
        {"candidates": [{"finishReason": "STOP"}], "promptFeedback": {"safetyRatings": []}},
        {"artifacts": [{"finishReason": "SUCCESS"}]},
        {"candidates": [{"finishReason": None}, {"finishReason": {"reason": "endoftext"}}]},
        {"text": '"blockReason":"SAFETY","finishReason":"OTHER"'},
    ],
)
def test_what_it_did_not_is(answer: dict[str, Any]) -> None:
    assert OTHER.incomplete(answer) is None


# Jobs, and what is made


@pytest.mark.parametrize(
    "answer",
    [
        *({"id": "j", "status": word} for word in ("IN_QUEUE", "validating", "submitted", "PENDING", "In Progress")),
        {"status": "finalizing"},
        {"code": 0, "data": {"task_id": "t", "task_status": "submitted"}},
        {"output": {"task_status": "PENDING", "task_id": "t"}},
        {"state": "queued"},
        {"data": {"state": "in-progress"}},
        {"id": "msgbatch_1", "processing_status": "in_progress"},
        {"id": "b", "polling_url": "https://api.example/get_result?id=b"},
        {"data": {"id": "b", "polling_url": "https://api.example/get_result?id=b"}},
        {"name": "models/veo-3/operations/abc"},
        {"name": "operations/abc", "done": False},
    ],
)
def test_jobs_that_are_under_way_are_not_stored(answer: dict[str, Any]) -> None:
    assert OTHER.incomplete(answer) == "under way"
    assert VIDEO.incomplete(answer) == "under way"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"output": {"task_status": "FAILED"}}, "failed"),
        ({"output": {"task_status": "SUCCEEDED"}}, None),
        ({"status": "completed", "state": "done"}, None),
        ({"name": "operations/abc", "done": True, "response": {}}, None),
        ({"name": "a cat"}, None),
        ({"metadata": {"status": "pending"}}, None),
        ({"status": 200}, None),
    ],
)
def test_jobs_that_are_done_may_be(answer: dict[str, Any], reason: str | None) -> None:
    assert OTHER.incomplete(answer) == reason


@pytest.mark.parametrize("kind", [Kind.OTHER, Kind.OPENAI, Kind.ANTHROPIC])
@pytest.mark.parametrize(
    "path",
    [
        *("/openai/threads", "/v1/threads/t/runs", "/v1/threads/runs", "/v1/threads/t/messages", "/v1/assistants"),
        *("/v1/batches", "/v1/messages/batches", "/v1/files", "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/j/cancel"),
        *("/v1/vector_stores", "/v1/vector_stores/v/files", "/v1/conversations", "/v1/Threads/", "/v1/uploads"),
    ],
)
def test_what_makes_something_new_is_never_cached(kind: str, path: str) -> None:
    for random in (False, True):
        assert planned(path, {}, kind=kind, cache_random=random).bypass == "creates"


def test_two_who_make_a_thread_get_two(client: Client) -> None:
    made: list[str] = []

    def make(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        made.append(f"thread_{len(made)}")
        say(handler, json.dumps({"id": made[-1], "object": "thread"}).encode())

    with small_server(make) as url:
        client.provider("azure", Kind.OTHER, base_url=url)
        Event().wait(1.2)  # until the server knows of it
        answers = [client.post({}, "azure/openai/threads") for _ in range(2)]
    assert [answer.json()["id"] for answer in answers] == made == ["thread_0", "thread_1"]
    assert {answer.headers["x-cache-reason"] for answer in answers} == {"BYPASS; creates"}


@pytest.mark.parametrize(
    "path", ["/v1/rerank", "/v1/files/chat/completions", "/profiles", "/v1/threadsafe", "/embed/batch"]
)
def test_other_paths_may_be(path: str) -> None:
    assert planned(path, {"temperature": 0}).bypass == ""


# Prompts that are kept


MAIL: Final = {"messages": [{"role": "user", "content": "write to bob@example.com"}]}


@pytest.mark.parametrize(
    ("body", "changes", "bypass"),
    [
        (MAIL, {}, "temperature absent"),
        ({**MAIL, "temperature": 1}, {}, "temperature>0"),
        ({**MAIL, "temperature": 0}, {}, "personal-data"),
        ({**MAIL, "temperature": 0}, {"method": "PUT"}, "method PUT"),
        ({**MAIL, "temperature": 0, "n": 2**60}, {}, "no canonical JSON"),
        ({**MAIL, "temperature": 0}, {"cache": False}, "policy"),
    ],
)
def test_prompts_with_personal_data_are_never_kept(body: dict[str, Any], changes: dict[str, Any], bypass: str) -> None:
    policy: dict[str, Any] = {"keep_prompts": True, "personal_data": ("email",), **changes}
    assert kept("/v1/chat/completions", body, policy) == (bypass, None)
    policy["personal_data"] = ()
    assert kept("/v1/chat/completions", body, policy)[1] == "write to bob@example.com"
    policy.update(keep_prompts=False, personal_data=("email",))
    assert kept("/v1/chat/completions", body, policy) == (bypass, None)


def kept(path: str, body: dict[str, Any], policy: dict[str, Any]) -> tuple[str, str | None]:
    """Why it is not cached, and what its spend event would keep of the prompt."""
    method = policy.get("method", "POST")
    policy = {name: value for name, value in policy.items() if name != "method"}
    asked = Asked(method, path, "", {}, json.dumps(body).encode(), None, requests.PLAIN)
    asked_one = provider(kind=Kind.OTHER, policy=Policy(**policy))
    plan = Planner().plan(asked_one, asked)
    exchange = Exchange(
        caller=Caller(1, 1, b""),
        tenancy=cast("Tenancy", None),
        upstream=asked_one,
        asked=asked,
        plan=plan,
        sent=[],
        request_id="r",
        at=datetime.now(UTC),
    )
    return plan.bypass, exchange.event(SpendState.SETTLED, 200, None, None).prompt


# Texts that are normalized


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"generationConfig": {"stopSequences": ["\n"]}}, {"generationConfig": {"stopSequences": ["\n\n"]}}),
        ({"generationConfig": {"stopSequences": ["END"]}}, {"generationConfig": {"stopSequences": ["end"]}}),
        ({"stop": "END"}, {"stop": "end"}),
        ({"options": {"stop": ["a b"]}}, {"options": {"stop": ["a  b"]}}),
        ({"language": "DE"}, {"language": "de"}),
        ({"tools": [{"prompt": "A"}]}, {"tools": [{"prompt": "a"}]}),
    ],
)
def test_only_prompts_are_normalized(one: dict[str, Any], other: dict[str, Any]) -> None:
    prompts = {"contents": [{"parts": [{"text": "Hi  There"}]}]}, {"contents": [{"parts": [{"text": "hi there"}]}]}
    path = "/v1beta/models/gemini:generateContent"
    mixed = [planned(path, {**prompts[0], **each}, text="normalized").fingerprint for each in (one, other)]
    assert mixed[0] != mixed[1]
    same = {planned(path, {**prompt, **one}, text="normalized").fingerprint for prompt in prompts}
    assert len(same) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [({"input": {"prompt": "A  b"}}, {"input": {"prompt": "a b"}}), ({"text_prompts": ["A"]}, {"text_prompts": ["a"]})],
)
def test_prompts_are_normalized_where_they_stand(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert len({planned("/x", each, text="normalized").fingerprint for each in (one, other)}) == 1


# Personal data in what tools are given


@pytest.mark.parametrize(
    "given",
    [
        *({name: "bob@example.com"} for name in ("data", "id", "detail", "status", "format", "role", "signature")),
        {"deep": [{"er": {"data": ["bob@example.com"]}}]},
        {"bob@example.com": 1},
        {"url": "data:bob@example.com"},
        {"card": "4111.1111.1111.1111"},
        {"card": 4111111111111111},
    ],
)
def test_personal_data_are_looked_for_in_what_tools_are_given(given: dict[str, Any]) -> None:
    uses: list[tuple[str, dict[str, Any]]] = [
        ("/v1/messages", {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": given}]}]}),
        ("/v1beta/gemini:generateContent", {"contents": [{"parts": [{"functionCall": {"args": given}}]}]}),
    ]
    for path, body in uses:
        plan = planned(path, {**body, "temperature": 0}, personal_data=("email", "card"))
        assert plan.bypass == "personal-data"


@pytest.mark.parametrize(
    "given",
    [
        {"data": "4111111111111111" + "A" * 300},
        {"url": "data:image/png;base64,bob@example.com"},
        {"tokens": [4111, 1111, 1111, 1111], "on": True, "of": None, "at": 1732200000},
    ],
)
def test_they_are_not_in_files(given: dict[str, Any]) -> None:
    assert personal_data.found(MESSAGES.personal_texts({"messages": [given]}), EVERYTHING) is None


EVERYTHING: Final = Policy(personal_data=("email", "phone", "card", "bank"))


# Headers


@pytest.mark.parametrize("accept", [b"image/png", b"audio/mpeg", b"text/csv, application/json", b"application/xml"])
def test_what_else_is_accepted_tells_requests_apart_where_the_api_is_not_known(accept: bytes) -> None:
    asked = {b"accept": accept}
    for path, kind, several in (
        ("/v1/convert", Kind.OTHER, True),
        ("/v1/convert", Kind.OPENAI, True),
        ("/v1/chat/completions", Kind.OTHER, False),
    ):
        plain, other = (planned(path, {"temperature": 0}, kind=kind, headers=each) for each in ({}, asked))
        assert (plain.fingerprint != other.fingerprint) is several


@pytest.mark.parametrize(
    "accept", [b"", b"*/*", b"application/json", b"Application/JSON", b"application/json, */*;q=0.5", b"*/*;q=0.8"]
)
def test_json_or_anything_is_the_same(accept: bytes) -> None:
    fingerprints = {planned("/x", {}, headers=headers).fingerprint for headers in ({}, {b"accept": accept})}
    assert len(fingerprints) == 1


def test_plans_are_kept_apart_by_what_is_accepted() -> None:
    planner = Planner()
    asked = [
        Asked("POST", "/x", "", {b"accept": accept}, b"{}", None, requests.PLAIN) for accept in (b"*/*", b"image/png")
    ]
    assert len({planner.plan(provider(kind=Kind.OTHER), each).fingerprint for each in asked}) == 2


@pytest.mark.parametrize(
    ("flags", "same"),
    [(b"b,a", True), (b"a , b", True), (b" b, a,", True), (b"a,b,a", True), (b"a", False), (b"a b", False)],
)
def test_flags_in_another_order_are_the_same(flags: bytes, same: bool) -> None:
    body = {"messages": [], "temperature": 0}
    fingerprints = {
        planned("/v1/messages", body, kind=Kind.ANTHROPIC, headers={b"anthropic-beta": value}).fingerprint
        for value in (b"a,b", flags)
    }
    assert (len(fingerprints) == 1) is same


# Tool calls of a stream


def call(index: int | None, name: str | None, arguments: str, **members: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, **members, "function": function}


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([call(0, "f", "{}", id="a"), call(0, "g", "[]", id="b")], [("a", "f", "{}"), ("b", "g", "[]")]),
        ([call(0, "f", "{}", id="a"), call(0, "f", "{}", id="b")], [("a", "f", "{}"), ("b", "f", "{}")]),
        (
            [call(0, "f", "{", id="a"), call(0, None, "}"), call(0, "g", "[", id="b"), call(0, None, "]")],
            [("a", "f", "{}"), ("b", "g", "[]")],
        ),
        ([call(0, "f", "{", id="a"), call(0, "f", "}", id="a")], [("a", "f", "{}")]),
        ([call(0, "f", "{", id="a"), call(0, None, "}", id="")], [("a", "f", "{}")]),
        ([call(0, "f", "{", id=""), call(0, None, "}", id="a")], [("a", "f", "{}")]),
        ([call(0, "f", "{", id="a"), call(0, None, "}", id="b")], [("a", "f", "{}")]),
    ],
)
def test_calls_under_one_index_are_told_apart_by_their_ids(
    pieces: list[dict[str, Any]], calls: list[tuple[str, str, str]]
) -> None:
    choice = Choice()
    for piece in pieces:
        choice.add({"index": 0, "delta": {"tool_calls": [piece]}})
    told = choice.whole(0)["message"]["tool_calls"]
    assert [(each["id"], each["function"]["name"], each["function"]["arguments"]) for each in told] == calls
