"""A large body that was refused is read on for a while, and forgotten, so that its sender gets to read why.

A server that hangs up while somebody still sends resets the connection, and an answer that was not read yet is lost
with it: proxies then make a 502 of a 401 or 413, which clients take for a reason to try again.
"""

import asyncio

from cacheservice.http import Message, Receive

MOST_BYTES = 64 * 1024 * 1024
SECONDS = 10.0


class Body:
    """A request's `receive` that knows whether all of the body came."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._ended = not message.get("more_body")
        return message

    async def linger(self) -> None:
        """Read what is left of it, within bounds. For after the answer: it has been sent by then."""
        left = MOST_BYTES
        try:
            async with asyncio.timeout(SECONDS):
                while not self._ended and left > 0:
                    left -= len((await self()).get("body", b""))
        except TimeoutError:
            return
