"""A provider whose URL leads back to the gateway: it does not call itself for ever."""

import httpx
import pytest

from gateway import loops
from gateway.models import Kind
from tests.gateway_cast import Client, client, gateway_server, question
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]


def test_a_provider_that_is_this_gateway_is_told_so_at_the_first_turn(client: Client) -> None:
    key = client.key.token.encode()
    client.provider("loop", Kind.OTHER, base_url=f"{client.url}/loop", credential=key)
    client.provider("other", Kind.OTHER, base_url=f"{client.url}/loop", credential=key)
    with httpx.Client(timeout=10, headers={"Authorization": f"Bearer {client.key.token}"}) as http:
        for name in ("loop", "other"):
            answer = http.get(f"{client.url}/{name}/models")
            assert answer.status_code == 508, answer.text
            assert answer.json()["error"]["code"] == "loop_detected"
    assert len(client.events(2)) == 2, "one turn each"


def test_another_installation_may_be_the_provider(client: Client) -> None:
    answer = client.post(question(), CDN_Loop="cacheservice-0123456789abcdef, example")
    assert answer.status_code == 200
    [call] = client.upstream.calls()
    *before, ours = call.headers["cdn-loop"].split(", ")
    assert before == ["cacheservice-0123456789abcdef", "example"]
    assert ours.startswith("cacheservice-")


def test_the_name_is_found_among_others() -> None:
    name = loops.here()
    loops.check(b"cacheservice-0123456789abcdef")
    with pytest.raises(loops.LoopDetected):
        loops.check(f"example, {name}".encode())
