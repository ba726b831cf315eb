"""`python -m tests.upstream PORT [--no-record]`; the credential that it wants is in `UPSTREAM_CREDENTIAL`."""

import argparse
import asyncio
import os
import resource
import signal

import uvloop
from aiohttp import web

from tests.upstream.server import Upstream


async def serve(port: int, upstream: Upstream) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = web.Server(upstream.handle, handler_cancellation=True, access_log=None, keepalive_timeout=600)
    listener = await loop.create_server(server, "127.0.0.1", port, backlog=4096)
    await stop.wait()
    listener.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--no-record", action="store_true", help="for benchmarks: count calls, keep nothing of them")
    arguments = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # benchmarks open thousands of streams
    upstream = Upstream(os.environ["UPSTREAM_CREDENTIAL"], record=not arguments.no_record)
    await serve(arguments.port, upstream)


if __name__ == "__main__":
    uvloop.run(main())
