"""Wherever a tenant says that its provider is: no connection leads into the operator's own network."""

import asyncio
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import pytest
import uvloop

from accounts.networks import Network
from cacheservice import egress
from gateway.connections import Lookups
from gateway.policy import Policy
from gateway.providers import Upstream
from gateway.upstreams import Request, UpstreamError, Upstreams
from tests.raw_servers import Exchange, raw_server

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
ELSEWHERE = [ipaddress.ip_network("10.99.0.0/16")]  # so that http:// is a scheme; nothing is there
NOWHERE = list[Network]()

DATA = Path(__file__).resolve().parent / "data"
METADATA = ["169.254.169.254"]


def lines(name: str) -> list[str]:
    texts = (DATA / name).read_text().splitlines()
    return [text for text in texts if text and not text.startswith("#")]


class Names:
    """A name server of a tenant's own: says what it likes, and of other names what the system's says."""

    known: dict[str, list[str]] = {
        "mapped.example": ["::ffff:127.0.0.1"],
        "nat64.example": ["64:ff9b::7f00:1"],
        "mixed.example": ["93.184.216.34", "127.0.0.1"],
        "second.example": ["2606:2800:220:1::1", "::1", "93.184.216.34"],
        "zoned.example": ["fe80::1%1"],
        "none.example": [],
        "octal.example": ["0177.0.0.1"],
        "kubernetes.default.svc": ["10.96.0.1"],
        "10.0.0.1.sslip.io": ["10.0.0.1"],
        "host.docker.internal": ["172.17.0.1"],
        "ip6-localhost": ["::1"],
        "metadata.google.internal": METADATA,
        "metadata.goog": METADATA,
        "metadata": METADATA,
        "instance-data": METADATA,
        "instance-data.ec2.internal": METADATA,
        "169.254.169.254.nip.io": METADATA,
        "127.0.0.1.nip.io": ["127.0.0.1"],
        "localtest.me": ["127.0.0.1"],
        "lvh.me": ["127.0.0.1"],
        "vcap.me": ["127.0.0.1"],
    }

    def __init__(self) -> None:
        self._system = Lookups()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        known = self.known.get(host.rstrip(".").lower())
        return await self._system(host, port) if known is None else known

    def close(self) -> None:
        self._system.close()


def provider(base_url: str) -> Upstream:
    return Upstream(
        tenant_id=1,
        name="theirs",
        kind="openai",
        base_url=base_url,
        credential=b"sk-secret",
        credential_header="authorization",
        policy=Policy(connect_seconds=5, retries=0),
        fallbacks=(),
        revision=1,
    )


async def ask(upstreams: Upstreams, base_url: str) -> int:
    """The answer's status."""
    answer = await upstreams.send(provider(base_url), Request("POST", "/v1/x", "", (), b"{}"), None)
    await answer.close()
    return answer.status


async def ok(exchange: Exchange) -> None:
    await exchange.answer(200)


async def not_refused(urls: Sequence[str], allowed: Sequence[Network]) -> dict[str, int | str]:
    """What came of the URLs that were not refused before a connection was tried. That a name leads nowhere will do."""
    names, others = Names(), dict[str, int | str]()
    upstreams = Upstreams(allowed=allowed, lookup=names)
    await upstreams.start()
    for url in urls:
        try:
            others[url] = await ask(upstreams, url)
        except UpstreamError as error:
            assert not error.began
            if error.code != "upstream_refused_address" and "does not resolve" not in error.message:
                others[url] = error.message
    await upstreams.close()
    names.close()
    return others


def test_no_spelling_of_an_address_leads_inside() -> None:
    hosts = lines("hosts_inside.txt")
    assert len(set(hosts)) >= 150

    async def scenario() -> None:
        async with raw_server(ok) as trap:
            for scheme, allowed in (("https", NOWHERE), ("https", ELSEWHERE), ("http", ELSEWHERE)):
                urls = [f"{scheme}://{host}:{trap.port}/v1" for host in hosts]
                assert await not_refused(urls, allowed) == {}
            assert trap.connections == 0
            upstreams = Upstreams(allowed=LOOPBACK)  # and it would have counted
            await upstreams.start()
            assert await ask(upstreams, f"http://localhost:{trap.port}") == 200
            await upstreams.close()
            assert trap.connections == 1

    uvloop.run(scenario())


def test_no_spelling_of_a_url_leads_inside() -> None:
    async def scenario() -> None:
        async with raw_server(ok) as trap:
            spelt = [url.encode("latin-1").decode("unicode_escape") for url in lines("urls_inside.txt")]
            urls = [url.replace("{port}", str(trap.port)) for url in spelt]
            assert await not_refused(urls, NOWHERE) == {}
            assert await not_refused(urls, ELSEWHERE) == {}
            assert trap.connections == 0

    uvloop.run(scenario())


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    async def scenario() -> None:
        async with raw_server(ok) as trap:

            async def redirect(exchange: Exchange) -> None:
                await exchange.answer(status, b"", f"Location: {trap.url}/", "URI: /", f"Refresh: 0; url={trap.url}/")

            async with raw_server(redirect) as server:
                upstreams = Upstreams(allowed=LOOPBACK)
                await upstreams.start()
                with pytest.raises(
                    UpstreamError, match=r"redirects \(\d+\), which is not followed: give the final URL"
                ):
                    await ask(upstreams, server.url)
                await upstreams.close()
                assert (len(server.requests), trap.connections) == (1, 0)

    uvloop.run(scenario())


class Rebinding:
    """Says another address each time, as a name server with a TTL of 0 does."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.lookups = list(addresses), 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.lookups += 1
        return [self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]]


def test_a_name_that_changes_its_mind_leads_nowhere_else() -> None:
    """Each lookup is checked, and the connection goes to what was checked: 127.0.0.2 is allowed here, 127.0.0.1 not."""

    async def scenario() -> None:
        names = Rebinding("127.0.0.2", "127.0.0.1")
        only = [ipaddress.ip_network("127.0.0.2/32")]

        async def once(exchange: Exchange) -> None:
            await exchange.answer(200, b"", "Connection: close")

        async with raw_server(ok) as trap, raw_server(once, "127.0.0.2") as server:
            upstreams = Upstreams(allowed=only, lookup=names)
            await upstreams.start()
            for _ in range(5):  # for the same host and port the checked address is remembered for some seconds
                assert await ask(upstreams, f"http://rebinding.example:{server.port}") == 200
            assert (names.lookups, server.connections) == (1, 5)
            for _ in range(5):
                with pytest.raises(UpstreamError) as refused:
                    await ask(upstreams, f"http://rebinding.example:{trap.port}")
                assert refused.value.code == "upstream_refused_address"
            assert (names.lookups, trap.connections) == (6, 0)
            await upstreams.close()

    uvloop.run(scenario())


def test_one_address_that_is_not_allowed_spoils_the_others() -> None:
    async def scenario() -> None:
        class Both:
            async def __call__(self, host: str, port: int) -> Sequence[str]:
                return ["127.0.0.2", "127.0.0.1"]

        async with raw_server(ok) as trap, raw_server(ok, "127.0.0.2") as server:
            upstreams = Upstreams(allowed=[ipaddress.ip_network("127.0.0.2/32")], lookup=Both())
            await upstreams.start()
            for port in (trap.port, server.port):
                with pytest.raises(UpstreamError, match="private or reserved"):
                    await ask(upstreams, f"http://both.example:{port}")
            await upstreams.close()
            assert (trap.connections, server.connections) == (0, 0)

    uvloop.run(scenario())


def test_in_clear_only_into_allowed_networks() -> None:
    """Not even where the name looks like one of them."""

    async def scenario() -> None:
        upstreams = Upstreams(allowed=LOOPBACK, lookup=Rebinding("93.184.216.34"))
        await upstreams.start()
        for base_url in ("http://93.184.216.34", "http://localhost.example"):
            with pytest.raises(UpstreamError, match="operator's own networks") as refused:
                await ask(upstreams, base_url)
            assert (refused.value.code, refused.value.began) == ("upstream_refused_address", False)
        await upstreams.close()

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "path",
    [
        *("v1", ".evil.example/", "@evil.example/", "", "/../x", "/v1/..", "/%2e%2e/x", "/v1/.%2E/x", "/./x"),
        *("/a b", "/a\r\nX: y", "/a\\b", "/a#b", "/ü"),
    ],
)
def test_a_path_stays_below_the_base_url(path: str) -> None:
    async def scenario() -> None:
        async with raw_server(ok) as server:
            upstreams = Upstreams(allowed=LOOPBACK)
            await upstreams.start()
            with pytest.raises(UpstreamError) as refused:
                await upstreams.send(provider(f"{server.url}/base"), Request("POST", path, "", (), b"{}"), None)
            await upstreams.close()
            assert (refused.value.code, server.connections) == ("upstream_refused_address", 0)

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        *("8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "11.0.0.0"),
        *("2606:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
    ],
)
def test_public_addresses_are_allowed(text: str) -> None:
    assert egress.is_allowed(ipaddress.ip_address(text), [])


def test_what_the_operator_allows_is_allowed_however_it_is_spelt() -> None:
    allowed = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/32")]
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5"):
        assert egress.is_allowed(ipaddress.ip_address(text), allowed)
        egress.check_addresses([ipaddress.ip_address(text)], "http", allowed)
    for text in ("10.2.0.1", "::ffff:10.2.0.1", "fd00:2::5"):
        assert not egress.is_allowed(ipaddress.ip_address(text), allowed)


def test_lookups_do_not_block_the_loop() -> None:
    async def scenario() -> None:
        lookups = Lookups()
        found, _ = await asyncio.gather(lookups("localhost", 80), asyncio.sleep(0))
        lookups.close()
        assert set(found) <= {"127.0.0.1", "::1"}

    uvloop.run(scenario())
