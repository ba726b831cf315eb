"""Chat completions through the gateway: cached exactly, one call at a time, one spend event each."""

import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cacheservice.entries.models import Entry, Space
from gateway.models import CacheStatus, SpendState
from tests.gateway_cast import Client, client, gateway_server, question, usd
from tests.processes import wait_for
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]


def test_a_repeat_is_answered_from_the_cache_byte_for_byte(client: Client) -> None:
    asked = question()
    first, second = client.post(asked), client.post(asked)
    assert first.status_code == second.status_code == 200
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert first.content == second.content
    assert client.upstream.count() == 1
    assert first.headers["x-cache-key"] == second.headers["x-cache-key"]
    assert second.headers["x-cache-saved"] == first.headers["x-cache-cost"] != "unknown"
    assert second.headers["x-cache-cost"] == "0"
    assert second.headers["x-credits-charged"] == "0.01"
    assert int(second.headers["age"]) >= 0


def test_the_official_sdk_needs_only_another_url_and_key(client: Client) -> None:
    sdk, asked = client.openai(), question()
    first, second = (sdk.chat.completions.create(**asked) for _ in range(2))
    assert first.choices[0].message.content
    assert first == second
    assert client.upstream.count() == 1


def test_the_upstream_gets_its_own_credential_and_nothing_of_ours(client: Client) -> None:
    client.post(question(), X_Cache_Tags="a", X_Cache_User="ann", Cookie="a=b", X_Forwarded_For="1.2.3.4")
    [call] = client.upstream.calls()
    assert call.headers["authorization"] == f"Bearer {client.upstream.credential}"
    told = json.dumps(call.headers)
    assert client.key.token not in told
    assert not [name for name in call.headers if name.startswith(("x-cache", "x-forwarded", "cookie"))]


def test_each_request_leaves_one_spend_event(client: Client) -> None:
    asked = question(user="ann")
    for _ in range(3):
        client.post(asked)
    client.post(question(temperature=1), X_Cache_User="bob")
    events = client.events(4)
    assert [event.cache for event in events] == [
        CacheStatus.MISS,
        CacheStatus.HIT,
        CacheStatus.HIT,
        CacheStatus.BYPASS,
    ]
    assert [event.user for event in events] == ["ann", "ann", "ann", "bob"]
    miss, hit = events[0], events[1]
    assert miss.cost is not None and miss.cost > 0
    assert (hit.cost, hit.saved) == (usd("0"), miss.cost)
    assert (hit.input_tokens, hit.output_tokens) == (miss.input_tokens, miss.output_tokens) != (0, 0)
    assert {event.state for event in events} == {SpendState.SETTLED}
    assert bytes(miss.fingerprint) == bytes(hit.fingerprint)
    assert {event.api_key_id for event in events} == {client.key.row.id}
    assert {event.prompt for event in events} == {None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"temperature": 0.5}, "BYPASS; temperature>0"),
        ({"temperature": None}, "BYPASS; temperature absent"),
        ({"top_logprobs": 2**60}, "BYPASS; no canonical JSON"),
    ],
)
def test_what_is_random_is_not_cached_and_the_answer_says_why(
    client: Client, change: dict[str, Any], reason: str
) -> None:
    asked = question(**change)
    answers = [client.post({name: value for name, value in asked.items() if value is not None}) for _ in range(2)]
    assert [answer.headers["x-cache-reason"] for answer in answers] == [reason] * 2
    assert client.entries() == []


def test_a_seed_makes_it_cacheable(client: Client) -> None:
    asked = question(temperature=1, seed=7)
    assert [client.post(asked).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]


def test_the_policy_may_cache_what_is_random(client: Client) -> None:
    client.policy(cache_random=True)
    asked = question(temperature=1)
    assert [client.post(asked).headers["x-cache"] for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("ignored", [{"user": "ann"}, {"metadata": {"a": "b"}}])
def test_who_asks_does_not_matter(client: Client, ignored: dict[str, str]) -> None:
    asked = question()
    assert client.post(asked).headers["x-cache"] == "MISS"
    assert client.post({**asked, **ignored}).headers["x-cache"] == "HIT"


def test_order_of_members_and_white_space_of_json_do_not_matter(client: Client) -> None:
    asked = question()
    client.post(asked)
    turned = dict(reversed(asked.items()))
    assert client.post(turned).headers["x-cache"] == "HIT"


def test_what_changes_the_answer_makes_another_entry(client: Client) -> None:
    text = secrets.token_hex(8)
    bodies = [
        question(text),
        question(text + " "),
        question(text, max_tokens=5),
        question(text, model="gpt-4o"),
    ]
    headers: list[dict[str, str]] = [{}, {"OpenAI_Organization": "org-1"}, {"OpenAI_Project": "p"}]
    for body in bodies:
        assert client.post(body).headers["x-cache"] == "MISS"
    for header in headers[1:]:
        assert client.post(bodies[0], **header).headers["x-cache"] == "MISS"
    assert client.post(bodies[0], "openai/v1/chat/completions?a=b").headers["x-cache"] == "MISS"
    keys = {entry.key for entry in client.entries(len(bodies) + 3)}
    assert len(keys) == len(bodies) + 3


def test_a_credential_of_the_clients_own_goes_upstream_and_has_entries_of_its_own(client: Client) -> None:
    client.provider("openai", credential=b"sk-wrong")
    own = {"X_Upstream_Authorization": f"Bearer {client.upstream.credential}"}
    asked = question()
    assert client.post(asked).status_code == 401
    assert client.post(asked, **own).headers["x-cache"] == "MISS"
    assert client.post(asked, **own).headers["x-cache"] == "HIT"
    assert client.post(asked).status_code == 401


def test_no_cache_reads_nothing_and_stores_and_no_store_does_neither(client: Client) -> None:
    asked = question()
    first = client.post(asked)
    refreshed = client.post(asked, Cache_Control="no-cache")
    assert (refreshed.headers["x-cache"], refreshed.headers["x-cache-reason"]) == ("REFRESH", "REFRESH; no-cache")
    assert refreshed.content != first.content
    bypassed = client.post(asked, Cache_Control="no-store")
    assert bypassed.headers["x-cache-reason"] == "BYPASS; no-store"
    # What was read with no-cache is stored once it has been sent; nobody waits for it but who asks the same way.
    wait_for(lambda: client.post(asked).content == refreshed.content, 10, "the refreshed answer is served")
    assert client.post(asked).headers["x-cache"] == "HIT"


def test_max_age_bounds_the_age_of_a_hit(client: Client) -> None:
    asked = question()
    client.post(asked)
    assert client.post(asked, Cache_Control="max-age=60").headers["x-cache"] == "HIT"
    Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).update(created_at="2026-01-01T00:00:00Z")
    assert client.post(asked, Cache_Control="max-age=60").headers["x-cache-reason"] == "REFRESH; max-age"


def _ttl(client: Client) -> float:
    [entry] = client.entries(1)
    return (entry.expires_at - entry.created_at).total_seconds()


@pytest.mark.parametrize(
    ("text", "header", "ttl"),
    [
        ("What is the capital of France?", {}, 604_800),
        ("What is the weather today?", {}, 3600),
        ("What is the weather TODAY", {"X_Cache_TTL": "60"}, 60),
        ("Knowledge of nowhere", {"X_Cache_TTL": "1209600"}, 1_209_600),
    ],
)
def test_how_long_it_is_kept(client: Client, text: str, header: dict[str, str], ttl: int) -> None:
    client.post(question(f"{secrets.token_hex(4)} {text}"), **header)
    assert _ttl(client) == ttl


def test_the_policy_bounds_how_long(client: Client) -> None:
    client.policy(ttl=500, max_ttl=100)
    client.post(question())
    assert _ttl(client) == 100


def test_tags_are_kept_and_a_key_of_the_clients_own_overrides_the_fingerprint(client: Client) -> None:
    first = client.post(question(), X_Cache_Tags="faq, french", X_Cache_Key="capital")
    assert first.headers["x-cache-key"] == "capital"
    assert client.post(question(), X_Cache_Key="capital").headers["x-cache"] == "HIT"
    [entry] = client.entries(1)
    assert sorted(entry.tags) == ["faq", "french"]


def test_normalized_texts_share_an_entry(client: Client) -> None:
    client.policy(text="normalized")
    text = secrets.token_hex(8)
    assert client.post(question(f"What  is {text}?")).headers["x-cache"] == "MISS"
    assert client.post(question(f" what is\n{text.upper()}? ")).headers["x-cache"] == "HIT"


def test_personal_data_goes_through_uncached(client: Client) -> None:
    client.policy(personal_data=("email",))
    answer = client.post(question("Write to ann@example.com"))
    assert answer.headers["x-cache-reason"] == "BYPASS; personal-data"
    assert client.entries() == []


@pytest.mark.parametrize("direction", ["length", "content_filter"])
def test_what_is_not_whole_is_not_stored(client: Client, direction: str) -> None:
    answer = client.post(question(f"{secrets.token_hex(4)} [[{direction}]]"))
    assert answer.status_code == 200
    assert answer.headers["x-cache-reason"].startswith("MISS; not stored; finish_reason")
    client.events(1)
    assert client.entries() == []


def at_once(client: Client, asked: dict[str, Any], count: int) -> list[httpx.Response]:
    """The answers to so many of it, sent while the upstream holds the first one's call."""
    client.upstream.hold()
    with ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(client.post, asked) for _ in range(count)]
        client.upstream.wait_for_calls(1)
        threading.Event().wait(0.3)  # for the others to arrive; those that do not make a call of their own
        client.upstream.release()
        return [each.result() for each in waiting]


def test_identical_requests_in_flight_make_one_call(client: Client) -> None:
    asked = question()
    answers = at_once(client, asked, 16)
    assert client.upstream.count() == 1
    assert len({answer.content for answer in answers}) == 1
    told = [answer.headers["x-cache"] for answer in answers]
    assert told.count("MISS") == 1
    assert set(told) <= {"MISS", "COALESCED", "HIT"}
    assert len(client.events(16)) == 16
    assert sum(event.cost or 0 for event in client.events(16)) == next(
        event.cost for event in client.events(16) if event.cache == CacheStatus.MISS
    )


def test_waiters_get_the_failure_and_nothing_is_stored(client: Client) -> None:
    client.policy(retries=0)
    asked = question(f"{secrets.token_hex(4)} [[status-500]]")
    answers = at_once(client, asked, 8)
    assert {answer.status_code for answer in answers} == {500}
    assert "COALESCED" in {answer.headers["x-cache"] for answer in answers}
    assert client.entries() == []


@pytest.mark.parametrize("direction", ["drop", "badjson", "stall"])
def test_each_of_those_who_wait_for_a_call_that_fails_leaves_an_event(client: Client, direction: str) -> None:
    client.policy(retries=0, idle_seconds=1)
    asked = question(f"{secrets.token_hex(4)} [[{direction}]]")
    answers = at_once(client, asked, 4)
    assert {answer.status_code for answer in answers} <= {502, 504}
    events = client.events(4)
    assert len(events) == 4
    told = sorted(answer.headers["x-cache"] for answer in answers)
    assert "COALESCED" in told
    assert sorted(CacheStatus(event.cache).label for event in events) == told
    assert all(event.saved == 0 for event in events if event.cache == CacheStatus.COALESCED)


def test_out_of_credits_goes_through_uncached(client: Client) -> None:
    from billing.models import Account

    asked = question()
    client.post(asked)
    Account.objects.filter(tenant_id=client.tenant.id).update(plan="free", balance=0)
    answer = client.post(asked)
    assert answer.status_code == 200
    assert answer.headers["x-cache-reason"] == "BYPASS; insufficient_credits"
    assert client.upstream.count() == 2


def test_other_methods_pass_through(client: Client) -> None:
    models = client.openai().models.list()
    assert models.data
    [call] = client.upstream.calls()
    assert (call.method, call.path) == ("GET", "/v1/models")


def test_a_repeat_right_after_the_answer_is_always_a_hit(client: Client) -> None:
    """Also one that looks just before the answer is stored, and is told just after that there was nothing."""

    def ask_twice(_: int) -> tuple[str, str]:
        asked = question()
        return client.post(asked).headers["x-cache"], client.post(asked).headers["x-cache"]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask_twice, range(300))) == {("MISS", "HIT")}
