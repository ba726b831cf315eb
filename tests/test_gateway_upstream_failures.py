"""Upstreams that are slow, broken, too large or gone: the error says so in time, and nothing is left behind."""

import asyncio
import gzip
import ipaddress
import os
import ssl
import tracemalloc
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.upstreams import Answer, Deadline, Upstreams
from tests.raw_servers import Answer as Serve
from tests.raw_servers import Exchange, RawServer, cut_off, raw_server
from tests.upstream_calls import (
    MOST,
    client,
    error_of,
    provider,
    read,
    request,
    statuses,
    with_server,
)


def test_where_nobody_listens_nothing_began() -> None:
    async def run() -> None:
        async with raw_server(statuses(200)) as server:
            base_url = server.url
        async with client() as upstreams:
            error = await error_of(upstreams.send(provider(base_url), request(), None))
            assert (error.status, error.code, error.began) == (502, "upstream_unreachable", False)
            assert error.message == "The provider 'ours' could not be reached: it takes no connections."

    uvloop.run(run())


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"rubbish\r\n\r\n", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "upstream_unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", "upstream_broken"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 10_000 + b"\r\n", "upstream_broken"),
    ],
    ids=["no http", "head", "length", "chunks", "chunk size", "gzip", "two lengths", "long header", "many headers"],
)
def test_after_the_first_byte_nothing_is_tried_again(sent: bytes, code: str) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.send(sent)
        raise cut_off()

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        async def whole() -> None:
            await read(await upstreams.send(provider(server.url, retries=5), request(), None))

        error = await error_of(whole())
        assert (error.status, error.code, error.began) == (502, code, True)
        assert len(server.requests) == 1

    with_server(serve, scenario)


async def hang(exchange: Exchange) -> None:
    await exchange.hang()


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"1\r\nx\r\n")
        await asyncio.sleep(0.2)


async def stall(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await exchange.hang()


@pytest.mark.parametrize(
    ("serve", "policy", "said"),
    [
        (hang, {"first_byte_seconds": 1}, "did not begin to answer within 1 s"),
        (hang, {"total_seconds": 1}, "took more than the 1 s that a request may take in all"),
        (stall, {"idle_seconds": 1}, "sent nothing for 1 s"),
        (stall, {"total_seconds": 1}, "took more than the 1 s that a request may take in all"),
        (drip, {"total_seconds": 1, "idle_seconds": 1}, "took more than the 1 s that a request may take in all"),
    ],
)
def test_time_runs_out(serve: Serve, policy: dict[str, int], said: str) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        async def whole() -> None:
            await read(await upstreams.send(provider(server.url, **policy), request(), None))

        error = await error_of(whole())
        assert (error.status, error.code, error.began) == (504, "upstream_timeout", True)
        assert error.message == f"The provider 'ours' {said}."
        await server.until_gone(1)
        assert len(server.requests) == 1

    with_server(serve, scenario)


def test_all_providers_of_a_request_share_its_time() -> None:
    """It is the request's, whatever the policy of the provider that is asked last says."""

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        deadline = Deadline.after(1)
        error = await error_of(upstreams.send(provider(server.url, total_seconds=30), request(), None, deadline))
        assert error.message == "The provider 'ours' took more than the 1 s that a request may take in all."
        assert deadline.over

    with_server(hang, scenario)


@pytest.mark.parametrize("status", [520, 521, 522, 523, 524])
def test_what_cloudflare_says_of_the_server_behind_it_is_tried_again(status: int) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url), request(), None)
        assert (answer.status, await read(answer), len(server.requests)) == (200, b"{}", 2)

    with_server(statuses(status, 200), scenario)


def test_a_handshake_that_hangs_is_no_connection() -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        upstream = provider(server.url.replace("http:", "https:"), connect_seconds=1, retries=1)
        error = await error_of(upstreams.send(upstream, request(), None))
        assert (error.code, error.began, server.connections) == ("upstream_timeout", False, 2)
        assert error.message == "The provider 'ours' could not be connected to within 1 s."

    with_server(hang, scenario)


def test_a_request_that_nobody_takes_is_given_up() -> None:
    """Its body does not fit into the buffers on the way."""

    async def scenario() -> None:
        stopped = asyncio.Event()

        async def never_read(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await stopped.wait()
            writer.transport.abort()

        server = await asyncio.start_server(never_read, "127.0.0.1", 0, limit=1024)
        upstream = provider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", first_byte_seconds=1)
        async with client() as upstreams:
            error = await error_of(upstreams.send(upstream, request(bytes(50_000_000)), None))
            assert (error.code, error.began) == ("upstream_timeout", True)
        stopped.set()
        server.close()

    uvloop.run(scenario())


async def declared(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nx")
    await exchange.hang()


async def endless(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"10000\r\n" + bytes(65536) + b"\r\n")


BOMB = gzip.compress(bytes(200_000_000))  # of 200 kB


async def bomb(exchange: Exchange) -> None:
    await exchange.answer(200, BOMB[:90_000], "Content-Encoding: gzip")


@pytest.mark.parametrize("serve", [declared, endless, bomb])
def test_an_answer_that_is_too_large_is_broken_off(serve: Serve) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url), request(), None)
        tracemalloc.start()
        error = await error_of(read(answer))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (error.status, error.code, error.began) == (502, "upstream_too_large", True)
        assert "more than the 100000 bytes" in error.message
        assert peak < 4_000_000
        await server.until_gone(1)

    with_server(serve, scenario)


def test_an_answer_of_just_the_bound_is_whole() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(200, bytes(MOST if exchange.number == 1 else MOST + 1))

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        assert len(await read(await upstreams.send(provider(server.url), request(), None))) == MOST
        await error_of(read(await upstreams.send(provider(server.url), request(), None)))

    with_server(serve, scenario)


def test_a_call_that_is_cancelled_leaves_no_connection() -> None:
    """While it waits for the answer, in the middle of it, and when it is closed there."""

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        files = len(os.listdir("/proc/self/fd"))
        waiting = [asyncio.create_task(upstreams.send(provider(server.url), request(), None)) for _ in range(20)]
        while len(server.requests) < 20:
            await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
        await server.until_gone(20)
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= files + 1  # the event loop's own

    with_server(hang, scenario)

    async def in_the_middle(server: RawServer, upstreams: Upstreams) -> None:
        begun = asyncio.Event()

        async def reading(answer: Answer) -> None:
            async with aclosing(answer.chunks()) as pieces:  # type: ignore[type-var]
                async for _ in pieces:
                    begun.set()

        task = asyncio.create_task(reading(await upstreams.send(provider(server.url), request(), None)))
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.until_gone(1)
        answer = await upstreams.send(provider(server.url), request(), None)
        await answer.close()
        await server.until_gone(2)
        assert server.connections == 2

    with_server(stall, in_the_middle)


def own_certificate(directory: Path) -> ssl.SSLContext:
    """For 127.0.0.1, by nobody that anybody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "own.pem").write_bytes(plain + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "own.pem")
    return context


@pytest.mark.parametrize(("own", "said"), [(True, "no TLS certificate that could be verified"), (False, "speak TLS")])
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(own: bool, said: str, tmp_path: Path) -> None:
    async def no_tls(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def scenario() -> None:
        async with raw_server(statuses(200), tls=own_certificate(tmp_path)) as server, client() as upstreams:
            plain = await asyncio.start_server(no_tls, "127.0.0.1", 0)
            port = server.port if own else plain.sockets[0].getsockname()[1]
            error = await error_of(upstreams.send(provider(f"https://127.0.0.1:{port}"), request(), None))
            assert (error.status, error.code, error.began) == (502, "upstream_unreachable", False)
            assert said in error.message
            plain.close()
            assert server.requests == []

    uvloop.run(scenario())
