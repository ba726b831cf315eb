"""A key that was revoked, has expired or was rotated is refused by every process at once, with no message between them.

Two processes share the database: one with the lane, one without. Both have used the key before, so that whatever they
remember of it is there to mislead them.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import keys, tokens
from accounts.models import APIKey
from tests.cast import ACTOR, Cast, Key, cast_fixture, expire, new_caller, new_key, revoke  # noqa: F401  a fixture
from tests.client import Answer, Client
from tests.processes import RunningServer
from tests.servers import own_server

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture(scope="module")
def urls(server: RunningServer, server_without_lane: RunningServer) -> list[str]:
    return [server.url, server_without_lane.url]


@pytest.fixture
def caller(cast: Cast, committed_db: None) -> Key:
    """A key of a tenant of its own, whose entry 'k' is 1."""
    return new_caller()


def every_request(url: str, token: str) -> dict[str, Answer]:
    """What the token gets for each kind of request."""
    with Client(url, token) as client:
        requests: dict[str, Callable[[], Answer]] = {
            "PUT": lambda: client.put("k", 1),
            "GET": lambda: client.get("k"),
            "HEAD": lambda: client.head("k"),
            "PATCH": lambda: client.patch("k", ttl=60),
            "list": client.list,
            "batch": lambda: client.batch([{"op": "get", "key": "k"}]),
            "bulk delete": lambda: client.delete_many("?prefix=nothing"),
            "DELETE": lambda: client.delete("absent"),
            "bad request": lambda: client.get("k", "?nothing=1"),
        }
        return {name: send() for name, send in requests.items()}


def check_works(urls: list[str], token: str) -> None:
    for url in urls:
        answers = every_request(url, token)
        assert answers.pop("bad request").status == 400
        assert {name: answer.status for name, answer in answers.items() if answer.status not in (200, 201)} == {}


def check_refused(urls: list[str], token: str) -> None:
    for url in urls:
        for name, answer in every_request(url, token).items():
            assert answer.status == 401, (url, name, answer.body)
            assert answer.body == b"" or answer.error_code() == "invalid_api_key"


def past() -> Any:
    return timezone.now() - timedelta(microseconds=1)


@pytest.mark.parametrize("how", [revoke, expire], ids=["revoked", "expired"])
def test_refused_by_every_process_at_once(urls: list[str], caller: Key, how: Callable[[Key], Key]) -> None:
    other = new_key(caller.row.tenant)
    check_works(urls, caller.token)
    check_works(urls, other.token)
    how(caller)
    check_refused(urls, caller.token)
    check_works(urls, other.token)
    with Client(urls[0], other.token) as client:
        assert client.get("k").json()["value"] == 1


def test_open_connection_is_refused_too(urls: list[str], caller: Key) -> None:
    """The very next request on a connection that served the key a moment ago."""
    with Client(urls[0], caller.token) as first, Client(urls[1], caller.token) as second:
        for client in (first, second):
            assert client.put("k", 1).status in (200, 201)
        revoke(caller)
        for client in (first, second):
            assert client.get("k").error_code() == "invalid_api_key"
            assert client.put("k", 2).error_code() == "invalid_api_key"
    with Client(urls[0], new_key(caller.row.tenant).token) as client:
        assert client.get("k").json()["value"] == 1


def test_revoked_before_its_first_use(urls: list[str], caller: Key) -> None:
    revoke(caller)
    check_refused(urls, caller.token)


def test_key_expires_by_itself(urls: list[str], caller: Key) -> None:
    """Nobody touches the row when the moment comes."""
    moment = timezone.now() + timedelta(seconds=1)
    api_key, token = keys.create_api_key(
        caller.row.tenant, name="short", scopes=["read"], actor=ACTOR, expires_at=moment
    )
    for url in urls:
        with Client(url, token) as client:
            while (answer := client.get("k")).status == 200:
                pass
        assert answer.error_code() == "invalid_api_key"
        assert timezone.now() >= moment
    assert APIKey.objects.get(id=api_key.id).revoked_at is None


def test_scope_taken_away_holds_at_once(urls: list[str], caller: Key) -> None:
    check_works(urls, caller.token)
    APIKey.objects.filter(id=caller.row.id).update(scopes=keys.scope_mask(["read"]))
    for url in urls:
        answers = every_request(url, caller.token)
        assert {name: answer.status for name, answer in answers.items()} == {
            "PUT": 403,
            "GET": 200,
            "HEAD": 200,
            "PATCH": 403,
            "list": 200,
            "batch": 200,
            "bulk delete": 403,
            "DELETE": 403,
            "bad request": 400,
        }


def test_rotation_with_an_overlap(urls: list[str], caller: Key) -> None:
    """Both secrets work, of one and the same key; after the overlap only the new one does."""
    check_works(urls, caller.token)
    token = keys.rotate_api_key(caller.row, overlap=timedelta(hours=1), actor=ACTOR)
    assert token != caller.token
    assert caller.id in token
    check_works(urls, token)
    check_works(urls, caller.token)
    assert APIKey.objects.filter(tenant=caller.row.tenant).count() == 1
    APIKey.objects.filter(id=caller.row.id).update(previous_expires_at=past())
    check_refused(urls, caller.token)
    check_works(urls, token)


def test_overlap_ends_by_itself(urls: list[str], caller: Key) -> None:
    check_works(urls, caller.token)
    token = keys.rotate_api_key(caller.row, overlap=timedelta(seconds=1), actor=ACTOR)
    ends = APIKey.objects.get(id=caller.row.id).previous_expires_at
    assert ends is not None
    with Client(urls[0], caller.token) as client:
        while (answer := client.get("k")).status == 200:
            pass
    assert answer.error_code() == "invalid_api_key"
    assert timezone.now() >= ends
    check_refused(urls, caller.token)
    check_works(urls, token)


def test_rotation_without_an_overlap(urls: list[str], caller: Key) -> None:
    check_works(urls, caller.token)
    token = keys.rotate_api_key(caller.row, overlap=timedelta(0), actor=ACTOR)
    check_refused(urls, caller.token)
    check_works(urls, token)


def test_second_rotation_ends_the_first_secret(urls: list[str], caller: Key) -> None:
    second = keys.rotate_api_key(caller.row, overlap=timedelta(hours=1), actor=ACTOR)
    check_works(urls, caller.token)
    check_works(urls, second)
    third = keys.rotate_api_key(caller.row, overlap=timedelta(hours=1), actor=ACTOR)
    check_refused(urls, caller.token)
    check_works(urls, second)
    check_works(urls, third)


@pytest.mark.parametrize("how", [revoke, expire], ids=["revoked", "expired"])
def test_end_of_the_key_ends_both_secrets(urls: list[str], caller: Key, how: Callable[[Key], Key]) -> None:
    token = keys.rotate_api_key(caller.row, overlap=timedelta(hours=1), actor=ACTOR)
    check_works(urls, token)
    check_works(urls, caller.token)
    how(caller)
    check_refused(urls, token)
    check_refused(urls, caller.token)


def test_deleted_key_is_refused(urls: list[str], caller: Key) -> None:
    check_works(urls, caller.token)
    APIKey.objects.filter(tenant=caller.row.tenant, id=caller.row.id).delete()
    check_refused(urls, caller.token)


@pytest.mark.parametrize("change", ["secret", "id", "prefix"])
def test_right_id_with_a_wrong_secret(urls: list[str], caller: Key, cast: Cast, change: str) -> None:
    """Tokens whose checksum is right, made of this key's id and another one's secret, and the other way round."""

    def with_checksum(text: str) -> str:
        return text + tokens._checksum(text)

    body, other = (token[: -tokens.CHECKSUM_LENGTH] for token in (caller.token, cast.stranger.token))
    split = len(tokens.PREFIX) + tokens.ID_LENGTH
    forged = {
        "secret": with_checksum(body[:split] + other[split:]),
        "id": with_checksum(other[:split] + body[split:]),
        "prefix": with_checksum("ck_test_" + body[len(tokens.PREFIX) :]),
    }[change]
    check_works(urls, caller.token)
    check_refused(urls, forged)
    check_works(urls, caller.token)


@pytest.fixture
def version_of_row() -> Callable[[Key], tuple[str, str]]:
    """What tells one version of the key's row from another: who wrote it, and where it lies."""

    def version(key: Key) -> tuple[str, str]:
        with connection.cursor() as cursor:
            cursor.execute("select xmin::text, ctid::text from api_key where id = %s", [key.row.id])
            row: tuple[str, str] = cursor.fetchone()
            return row

    return version


@pytest.mark.parametrize("lane", ["on", "off"])
def test_last_used_at_is_set_without_a_write_a_request(
    caller: Key, tmp_path: Path, lane: str, version_of_row: Callable[[Key], tuple[str, str]]
) -> None:
    """It is booked once a minute and when the server stops, not by a request."""
    unused = new_key(caller.row.tenant)
    before, started = version_of_row(caller), timezone.now()
    with own_server(tmp_path, CACHE_LANE=lane) as server:
        with Client(server.url, caller.token) as client:
            for number in range(50):
                assert client.put(f"{number}", 1).status == 201
                assert client.get(f"{number}").json()["hit"] is True
        assert version_of_row(caller) == before
    assert version_of_row(caller) != before
    last_used_at = APIKey.objects.get(id=caller.row.id).last_used_at
    assert last_used_at is not None
    assert started <= last_used_at <= timezone.now()
    assert APIKey.objects.get(id=unused.row.id).last_used_at is None


def test_refused_requests_do_not_count_as_use(caller: Key, tmp_path: Path) -> None:
    revoke(caller)
    with own_server(tmp_path) as server:
        check_refused([server.url], caller.token)
        with Client(server.url, new_caller().token) as client:
            assert client.list().status == 200
    assert APIKey.objects.get(id=caller.row.id).last_used_at is None


def test_last_used_at_never_goes_back(caller: Key, tmp_path: Path) -> None:
    """As when two processes book, the later one first."""
    later = timezone.now() + timedelta(hours=1)
    APIKey.objects.filter(id=caller.row.id).update(last_used_at=later)
    with own_server(tmp_path) as server, Client(server.url, caller.token) as client:
        assert client.get("k").status == 200
    assert APIKey.objects.get(id=caller.row.id).last_used_at == later
