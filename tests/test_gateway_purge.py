"""Tenants list and delete the gateway's stored answers; nothing else goes with them, and they go with nothing else."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests import client as api
from tests.cast import new_key
from tests.gateway_cast import Client, client, gateway_server, new_client, question
from tests.meters import discrepancies, stored
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]
ABSENT = "0" * 64


@pytest.fixture
def owner(client: Client) -> Iterator[api.Client]:
    """A caller of the same tenant with all scopes; at the end the meters add up."""
    with api.Client(client.server.url, new_key(client.tenant).token) as owner:
        yield owner
    assert discrepancies(client.tenant.id) == []


def ask(client: Client, tags: str = "some", **headers: str) -> dict[str, Any]:
    """A question whose answer is then stored."""
    before, asked = len(client.entries()), question()
    assert client.post(asked, X_Cache_Tags=tags, **headers).headers["x-cache"] == "MISS"
    client.entries(before + 1)
    return asked


def how(client: Client, asked: dict[str, Any], **headers: str) -> str:
    return client.post(asked, **headers).headers["x-cache"]


def after_landing(client: Client, asked: dict[str, Any]) -> httpx.Response:
    """The first answer that is not that of the call under way."""
    while (answer := client.post(asked)).headers["x-cache"] == "COALESCED":
        pass
    return answer


def listed(owner: api.Client, query: str = "") -> list[Any]:
    rows: list[Any] = owner.list(f"?space=gateway{query}").json()["keys"]
    return rows


def delete(owner: api.Client, query: str) -> int:
    answer = owner.delete_many(f"?{query}")
    assert answer.status == 200, answer.body
    assert list(answer.json()) == ["deleted"]
    count: int = answer.json()["deleted"]
    return count


def test_the_answers_with_a_tag_are_asked_for_again_and_the_others_are_not(client: Client, owner: api.Client) -> None:
    red, blue = ask(client, "red,warm"), ask(client, "blue,cold")
    assert delete(owner, "space=gateway&tag=red") == 1
    assert how(client, blue) == "HIT"
    assert how(client, red) == "MISS"
    assert client.upstream.count() == 3


def test_all_tags_must_match(client: Client, owner: api.Client) -> None:
    both, one = ask(client, "red,warm"), ask(client, "red")
    assert delete(owner, "space=gateway&tag=red&tag=warm") == 1
    assert (how(client, one), how(client, both)) == ("HIT", "MISS")


def test_each_string_of_embeddings_goes(client: Client, owner: api.Client) -> None:
    strings = [secrets.token_hex(8) for _ in range(3)]
    asked = {"model": "text-embedding-3-small", "input": strings}
    client.post(asked, "openai/v1/embeddings", X_Cache_Tags="vectors")
    client.entries(3)
    assert delete(owner, "space=gateway&tag=vectors") == 3
    assert client.post(asked, "openai/v1/embeddings").headers["x-cache"] == "MISS"


@pytest.mark.parametrize("query", ["tag=red", "all=true"])
def test_either_space_and_either_tenant_keeps_its_own(client: Client, owner: api.Client, query: str) -> None:
    other = new_client(client.server, client.upstream)
    theirs, ours = ask(other, "red"), ask(client, "red")
    with api.Client(client.server.url, new_key(other.tenant).token) as stranger:
        for own in (owner, stranger):
            assert own.put("own", 1, tags=["red"]).status == 201
    assert delete(owner, f"space=tenant&{query}") == 1
    assert how(client, ours) == "HIT"
    assert owner.put("own", 1, tags=["red"]).status == 201
    assert delete(owner, f"space=gateway&{query}") == 1
    assert how(client, ours) == "MISS"
    assert owner.get("own").json()["hit"] is True
    assert delete(owner, query) == 1  # the tenant's own, as ever
    client.entries(1)
    assert how(client, ours) == "HIT"
    assert how(other, theirs) == "HIT"
    with api.Client(client.server.url, new_key(other.tenant).token) as stranger:
        assert stranger.get("own").json()["hit"] is True
    assert discrepancies(other.tenant.id) == []


def test_their_storage_is_no_longer_counted(client: Client, owner: api.Client) -> None:
    for tags in ("red", "blue"):
        ask(client, tags)
    assert owner.put("own", "four").status == 201
    assert stored(client.tenant.id) == sum(row["size_bytes"] for row in listed(owner)) + 6
    assert delete(owner, "space=gateway&all=true") == 2
    assert stored(client.tenant.id) == owner.list().json()["storage_used_bytes"] == 6
    assert stored(client.tenant.id, client.key.row.id) == 0


def test_one_answer_by_its_key(client: Client, owner: api.Client) -> None:
    asked, other = ask(client), ask(client)
    key = client.post(asked).headers["x-cache-key"]
    assert delete(owner, f"space=gateway&key={key}&tag=red") == 0
    assert delete(owner, f"space=gateway&key={key}") == 1
    assert delete(owner, f"space=gateway&key={key}") == 0
    assert (how(client, other), how(client, asked)) == ("HIT", "MISS")


def test_an_answer_under_a_name_is_found_in_the_list(client: Client, owner: api.Client) -> None:
    asked = ask(client, "red", X_Cache_Key="greeting")
    assert client.post(asked, X_Cache_Key="greeting").headers["x-cache-key"] == "greeting"
    refused = owner.delete_many("?space=gateway&key=greeting")
    assert (refused.status, refused.error_code()) == (400, "invalid_request")
    assert "the list" in refused.error_message()
    [row] = listed(owner, "&tag=red")
    assert delete(owner, f"space=gateway&key={row['key']}") == 1
    assert how(client, asked, X_Cache_Key="greeting") == "MISS"


def test_the_list_shows_fingerprints_tags_sizes_times_and_stats(client: Client, owner: api.Client) -> None:
    asked, _ = ask(client, "red,warm"), ask(client, "blue")
    answer = client.post(asked)
    assert owner.put("own", 1, tags=["red"]).status == 201
    page = owner.list("?space=gateway&tag=red&include=stats").json()
    [row] = page["keys"]
    assert page["total"] == 1
    assert row["key"] == answer.headers["x-cache-key"]
    assert row["tags"] == ["red", "warm"]
    assert row["size_bytes"] == len(answer.content)
    assert set(row) == {
        "key", "created_at", "expires_at", "size_bytes", "tags", "hits", "last_hit_at", "saved_usd",
    }  # fmt: skip
    assert [row["key"] for row in owner.list().json()["keys"]] == ["own"]
    assert owner.list("?space=tenant").json() == owner.list().json()


def test_pages_of_the_list(client: Client, owner: api.Client) -> None:
    for _ in range(3):
        ask(client)
    first = owner.list("?space=gateway&limit=2").json()
    second = owner.list(f"?space=gateway&limit=2&cursor={first['next_cursor']}").json()
    keys = [row["key"] for row in first["keys"] + second["keys"]]
    assert keys == sorted(keys) == [row["key"] for row in listed(owner)]
    assert (first["total"], second["total"], second["next_cursor"]) == (3, 3, None)
    elsewhere = owner.list(f"?limit=2&cursor={first['next_cursor']}")
    assert (elsewhere.status, elsewhere.error_code()) == (400, "invalid_request")


@pytest.mark.parametrize(
    "query",
    ["space=gateway", "space=gateway&all=false", "space=gateway&prefix=", "space=gateway&prefix=a",
     "space=gateway&prefix=a&tag=red", "space=gateway&all=true&tag=red", f"space=gateway&all=true&key={ABSENT}",
     "space=gateway&key=", f"space=gateway&key={ABSENT[1:]}", f"space=gateway&key={'A' * 64}",
     f"space=gateway&key={ABSENT}%0A", f"space=gateway&key={ABSENT}&key={ABSENT}", f"key={ABSENT}",
     f"space=tenant&key={ABSENT}", "space=1&all=true", "space=&all=true", "space=Gateway&all=true",
     "space=gateway&space=tenant&all=true"],
)  # fmt: skip
def test_what_is_not_clear_deletes_nothing(client: Client, owner: api.Client, query: str) -> None:
    asked = ask(client, "red")
    refused = owner.delete_many(f"?{query}")
    assert (refused.status, refused.error_code()) == (400, "invalid_request")
    assert how(client, asked) == "HIT"


def test_a_prefix_is_refused_with_what_to_send(owner: api.Client) -> None:
    for refused in (owner.delete_many("?space=gateway&prefix=ab"), owner.list("?space=gateway&prefix=ab")):
        assert refused.status == 400
        assert refused.error_message().startswith("prefix: ")
        assert "'tag'" in refused.error_message()


def test_each_takes_its_scope(client: Client, owner: api.Client) -> None:
    asked = ask(client, "red")
    for scope, statuses in {
        "gateway": (403, 403),
        "write": (403, 403),
        "read": (200, 403),
        "delete": (403, 200),
    }.items():
        with api.Client(client.server.url, new_key(client.tenant, [scope]).token) as caller:
            answers = caller.list("?space=gateway"), caller.delete_many("?space=gateway&tag=blue")
            assert tuple(answer.status for answer in answers) == statuses
    assert how(client, asked) == "HIT"


def under_way(client: Client, asked: dict[str, Any], owner: api.Client, query: str) -> httpx.Response:
    """What a call is answered that was upstream when `query` was deleted."""
    client.upstream.hold()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, asked, X_Cache_Tags="red")
        client.upstream.wait_for_calls(1)
        try:
            assert delete(owner, query) == 0
        finally:
            client.upstream.release()
        return waiting.result()


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_under_way_is_given_and_does_not_come_back(client: Client, owner: api.Client, streams: bool) -> None:
    asked = question(stream=streams)
    answer = under_way(client, asked, owner, "space=gateway&tag=red")
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "MISS")
    assert after_landing(client, asked).headers["x-cache"] == "MISS"
    assert client.upstream.count() == 2
    client.entries(1)
    assert how(client, asked) == "HIT"


def test_an_answer_under_way_stays_where_the_tenants_own_go(client: Client, owner: api.Client) -> None:
    asked = question()
    under_way(client, asked, owner, "all=true")
    client.entries(1)
    assert how(client, asked) == "HIT"
    assert client.upstream.count() == 1
