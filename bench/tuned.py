"""The application with another MAX_BATCH, for `--variants`: it is a constant, not a setting."""

import os

from cacheservice.asgi import application
from cacheservice.entries import gather

gather.MAX_BATCH = int(os.environ["BENCH_MAX_BATCH"])

__all__ = ["application"]
