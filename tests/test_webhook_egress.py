"""Wherever a tenant says that its webhook's receiver is: no connection leads into the operator's own network."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from pytest_django import Settings

from accounts.networks import Network
from console import webhook_client
from console.webhook_client import NotDelivered, Request
from tests.test_gateway_egress import ELSEWHERE, NOWHERE, Names, lines

PORT = 443


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a connection was tried to; none comes about. Names are those of `Names` and the system's."""
    system = socket.getaddrinfo
    tried: list[str] = []

    def look_up(host: str, port: int, *arguments: Any, **more: Any) -> Any:
        known = Names.known.get(host.rstrip(".").lower())
        if known is None:
            return system(host, port, *arguments, **more)
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [place for address in known for place in system(address, port, *arguments, **more)]

    def connect(address: tuple[str, int], **_: Any) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


def inside(tried: Sequence[str]) -> list[str]:
    """Not all spellings lead there by every rule: 0000002130706433 is public to who takes it for octal."""
    return [address for address in tried if not ipaddress.ip_address(address).is_global]


def deliver(urls: Sequence[str]) -> None:
    for url in urls:
        with pytest.raises(NotDelivered):
            webhook_client.post(Request(url, {"Content-Type": "application/json"}, b"{}"))


@pytest.mark.parametrize(("scheme", "allowed"), [("https", NOWHERE), ("https", ELSEWHERE), ("http", ELSEWHERE)])
def test_no_spelling_of_an_address_leads_inside(
    connected: list[str], settings: Settings, scheme: str, allowed: list[Network]
) -> None:
    settings.WEBHOOK_ALLOW_NETWORKS = allowed
    hosts = lines("hosts_inside.txt")
    assert len(set(hosts)) >= 150
    deliver([f"{scheme}://{host}:{PORT}/hook" for host in hosts])
    assert inside(connected) == []


@pytest.mark.parametrize("allowed", [NOWHERE, ELSEWHERE], ids=["nowhere", "elsewhere"])
def test_no_spelling_of_a_url_leads_inside(connected: list[str], settings: Settings, allowed: list[Network]) -> None:
    settings.WEBHOOK_ALLOW_NETWORKS = allowed
    spelt = [url.encode("latin-1").decode("unicode_escape") for url in lines("urls_inside.txt")]
    deliver([url.replace("{port}", str(PORT)) for url in spelt])
    assert inside(connected) == []


def test_what_is_allowed_is_tried(connected: list[str], settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_NETWORKS = [ipaddress.ip_network("10.0.0.0/8")]
    deliver(["https://kubernetes.default.svc/hook", "https://10.0.0.1.sslip.io/"])
    assert connected == ["10.96.0.1", "10.0.0.1"]
