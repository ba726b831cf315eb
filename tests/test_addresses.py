"""Which address a request comes from, and what is a network."""

import subprocess
from typing import Any

import pytest

from accounts import networks
from cacheservice import addresses, environment
from tests.test_settings import assert_refused, check

PROXIES = "10.0.0.0/8 2001:db8:1::/48 ::ffff:192.0.2.1"


def address(peer: object, *forwarded: str) -> str:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in forwarded)]
    return addresses.client_address({"client": peer, "headers": headers})


@pytest.fixture
def behind_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_TRUSTED_PROXIES", PROXIES.replace(" ", ", "))
    monkeypatch.setattr(addresses, "TRUSTED_PROXIES", environment.networks("CACHE_TRUSTED_PROXIES"))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("203.0.113.9", 1234), "203.0.113.9"),
        (("::ffff:203.0.113.9", 1234), "203.0.113.9"),
        (("2001:DB8:0::1", 1234), "2001:db8::1"),
        (("fe80::1%eth0", 1234), "fe80::1"),
        (("localhost", 1234), "::"),
        (("", 0), "::"),
        (None, "::"),
    ],
)
def test_without_proxies_it_is_the_connections(peer: object, expected: str) -> None:
    assert address(peer, "198.51.100.1") == address(peer) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.1.1.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::5", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("192.0.2.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", ["198.51.100.1, 10.2.2.2, 10.3.3.3"], "198.51.100.1"),
        ("10.1.1.1", ["198.51.100.1", "10.2.2.2"], "198.51.100.1"),
        (
            "10.1.1.1",
            ["1.1.1.1, 198.51.100.1, 10.2.2.2"],
            "198.51.100.1",
        ),  # its own claim is nothing
        ("10.1.1.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.1.1.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("10.1.1.1", ["[2001:db8:2::1]"], "2001:db8:2::1"),
        ("10.1.1.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", ["10.4.4.4, 10.2.2.2"], "10.4.4.4"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.1, unknown"], "::"),
        ("10.1.1.1", ["198.51.100.1,"], "::"),
        ("10.1.1.1", [""], "::"),
        ("10.1.1.1", ["1" * 100_000], "::"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy: whatever it says of others is its own invention
    ],
)
def test_behind_proxies(behind_proxies: None, peer: str, forwarded: list[str], expected: str) -> None:
    assert address((peer, 1), *forwarded) == expected


def test_unusable_proxies_stop_the_start() -> None:
    for value in ("10.0.0.0/8,proxy.example", "10.0.0.1/8", "10.0.0.0/33"):
        done: subprocess.CompletedProcess[str] = check({"CACHE_TRUSTED_PROXIES": value})
        assert_refused(done, "CACHE_TRUSTED_PROXIES")
    assert check({"CACHE_TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::/32"}).returncode == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.9", "203.0.113.9/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:203.0.113.9", "203.0.113.9/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_networks(text: str, expected: str) -> None:
    assert networks.checked([text, expected]) == [expected]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["10.1.0.0/8"], "'10.1.0.0/8' has bits beyond its prefix; the network that holds it is 10.0.0.0/8"),
        (["10.0.0.0/33"], "'10.0.0.0/33' is no network; send one such as 203.0.113.0/24 or 2001:db8::/32"),
        (["example.com"], "'example.com' is no network"),
        ([""], "'' is no network"),
        (["010.0.0.1"], "'010.0.0.1' is no network"),
        (["fe80::1%eth0"], "'fe80::1%eth0' has a zone"),
        (["x" * 1000], f"'{'x' * 77}…' is no network"),
        ([], "0 are given; 1 to 32 are allowed, or none at all"),
        ([f"10.0.0.{n}" for n in range(33)], "33 are given; 1 to 32 are allowed"),
    ],
)
def test_what_is_no_allow_list(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        networks.checked(texts)
    assert str(raised.value).startswith(f"allowed_networks: {message}")


@pytest.mark.parametrize(
    ("allowed", "who", "inside"),
    [
        (None, "203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.113.255", True),
        (["203.0.113.0/24"], "203.0.114.0", False),
        (["203.0.113.0/24", "2001:db8::/32"], "2001:db8::1", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::/0"], "203.0.113.9", False),
        (["0.0.0.0/0"], addresses.UNKNOWN, False),
    ],
)
def test_what_an_allow_list_holds(allowed: Any, who: str, inside: bool) -> None:
    assert networks.holds(allowed, who) is inside
