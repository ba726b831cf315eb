"""A first entry, stored and read back, as commands and code to paste, with the service's URL and an API key in them."""

from typing import NamedTuple


class Snippet(NamedTuple):
    """One tab of `console/snippets.html`."""

    name: str  # in ids of elements
    label: str
    text: str


_CURL = """\
export CACHE_URL={url}
export CACHE_API_KEY={token}

# Store an entry for a day.
curl -X PUT "$CACHE_URL/api/v1/cache/hello" \\
  -H "Authorization: Bearer $CACHE_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"value": "Hello!", "ttl": 86400, "cost": "0.04"}}'

# Read it: a hit.
curl "$CACHE_URL/api/v1/cache/hello" -H "Authorization: Bearer $CACHE_API_KEY"
"""

_PYTHON = """\
# pip install cacheservice-client
from cacheservice_client import Cache

cache = Cache(
    url="{url}",
    api_key="{token}",
)
cache.put("hello", "Hello!", ttl=86_400, cost="0.04")  # for a day

if hit := cache.get("hello"):
    print(hit.value)
"""

_TYPESCRIPT = """\
// npm install cacheservice-client
import {{ Cache }} from "cacheservice-client";

const cache = new Cache({{
  url: "{url}",
  apiKey: "{token}",
}});
await cache.put("hello", "Hello!", {{ ttl: 86_400, cost: "0.04" }}); // for a day

const found = await cache.get("hello");
if (found.hit) console.log(found.value);
"""

_TEXTS = (("curl", "curl", _CURL), ("python", "Python", _PYTHON), ("typescript", "TypeScript", _TYPESCRIPT))


def snippets(url: str, token: str) -> list[Snippet]:
    """`url` is the service's, without a slash at its end; `token` an API key that may write and read."""
    return [Snippet(name, label, text.format(url=url, token=token).strip()) for name, label, text in _TEXTS]
