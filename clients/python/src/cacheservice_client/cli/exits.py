"""What the exit code says."""

from cacheservice_client.errors import APIError, CacheError, Forbidden, InvalidAPIKey

OK = 0
MISS = 1
USAGE = 2
AUTH = 3
REFUSED = 4
UNAVAILABLE = 5
PARTIAL = 6
BUG = 70  # as sysexits.h has it; Python's own would be that of a miss
INTERRUPTED = 130
BROKEN_PIPE = 141

TABLE = """\
Exit codes:
  0    done
  1    no such entry (get, rm)
  2    wrong usage, a file that cannot be read or written, or a request that the service finds invalid
  3    no API key, or one that is unknown or may not do this
  4    refused by a limit: credits, quota, rate (402, 429)
  5    no answer, or the service is unavailable (5xx)
  6    import: some lines were not stored, the others were
  70   a mistake of cachectl's own, with a traceback
  130  interrupted, or a question answered with no
  141  nobody reads stdout any more (cachectl export | head)"""


class Failure(Exception):
    """Ends the program with one line on stderr and this exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def code_of(error: CacheError) -> int:
    if not isinstance(error, APIError):
        return UNAVAILABLE
    if isinstance(error, (InvalidAPIKey, Forbidden)):
        return AUTH
    if error.status in (402, 429):
        return REFUSED
    return UNAVAILABLE if error.status >= 500 else USAGE
