"""How a server process ends under load without a request that fails.

SIGTERM ──▶ draining: /readyz answers 503, and each answer asks for its connection to be closed, so that proxies and
clients go elsewhere; requests are answered as ever. `seconds` later granian ends: it takes no new connections, finishes
what is under way, and closes the rest. A second SIGTERM ends the wait.

granian knows no such interval, but takes SIGINT for the same as SIGTERM: so SIGTERM is ours, and SIGINT is passed on.
"""

import asyncio
import os
import signal

import structlog

from cacheservice.http import Message, Send

log = structlog.get_logger(__name__)

_under_way = False


def under_way() -> bool:
    """Whether this process is about to end, and wants no new requests."""
    return _under_way


def begin_on_sigterm(seconds: int) -> None:
    """For the main thread of a server process, on its loop, after granian has set its own signal handlers."""
    loop = asyncio.get_running_loop()

    def begin() -> None:
        global _under_way
        if _under_way:
            _end()
            return
        _under_way = True
        log.info("draining", seconds=seconds)
        loop.call_later(seconds, _end)

    if seconds:
        loop.add_signal_handler(signal.SIGTERM, begin)


def closing(send: Send) -> Send:
    """Tells the client that its connection ends with this answer."""

    async def closing_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return closing_send


def _end() -> None:
    os.kill(os.getpid(), signal.SIGINT)
