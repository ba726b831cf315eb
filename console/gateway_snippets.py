"""Where a provider's clients find it here, and a first call as commands and code to paste.

The API key in them is a placeholder: its token is shown once, when the key is made.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from console.snippets import Snippet
from gateway.models import Kind, Provider

KEY: Final = "YOUR_API_KEY"
# Those that Anthropic's and OpenAI's own servers know; of others nobody knows the models' names.
_MODELS: Final = {"api.openai.com": "gpt-4o-mini", "api.anthropic.com": "claude-sonnet-4-6"}
PROVIDERS_KEY: Final = "YOUR_PROVIDERS_KEY"
_VERSION: Final = re.compile(r"/v\d")

_OPENAI_CURL = """\
curl {url}/chat/completions \\
  -H "Authorization: Bearer {key}" \\
{curl_own}  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "temperature": 0,
       "messages": [{{"role": "user", "content": "Say hello."}}]}}'
"""
_OPENAI_PYTHON = """\
# pip install openai
from openai import OpenAI

client = OpenAI(
    base_url="{url}",
    api_key="{key}",
{python_own})
answer = client.chat.completions.create(
    model="{model}",
    temperature=0,  # what is random is not cached
    messages=[{{"role": "user", "content": "Say hello."}}],
)
print(answer.choices[0].message.content)
"""
_OPENAI_TYPESCRIPT = """\
// npm install openai
import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: "{url}",
  apiKey: "{key}",
{typescript_own}}});
const answer = await client.chat.completions.create({{
  model: "{model}",
  temperature: 0, // what is random is not cached
  messages: [{{ role: "user", content: "Say hello." }}],
}});
console.log(answer.choices[0].message.content);
"""
_ANTHROPIC_CURL = """\
curl {url}/v1/messages \\
  -H "x-api-key: {key}" \\
{curl_own}  -H "anthropic-version: 2023-06-01" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "max_tokens": 100, "temperature": 0,
       "messages": [{{"role": "user", "content": "Say hello."}}]}}'
"""
_ANTHROPIC_PYTHON = """\
# pip install anthropic
from anthropic import Anthropic

client = Anthropic(
    base_url="{url}",
    api_key="{key}",
{python_own})
answer = client.messages.create(
    model="{model}",
    max_tokens=100,
    extra_body={{"temperature": 0}},  # what is random is not cached
    messages=[{{"role": "user", "content": "Say hello."}}],
)
print(answer.content[0].text)
"""
_ANTHROPIC_TYPESCRIPT = """\
// npm install @anthropic-ai/sdk
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{
  baseURL: "{url}",
  apiKey: "{key}",
{typescript_own}}});
const answer = await client.messages.create({{
  model: "{model}",
  max_tokens: 100,
  ...{{ temperature: 0 }}, // what is random is not cached; not every version's types have it
  messages: [{{ role: "user", content: "Say hello." }}],
}});
console.log(answer.content);
"""
_OTHER_CURL = """\
# Put the API's own path and body in.
curl {url}/v1/rerank \\
  -H "Authorization: Bearer {key}" \\
{curl_own}  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "query": "hello", "documents": ["Hi!", "Bye."]}}'
"""
_OTHER_PYTHON = """\
# pip install httpx
import httpx

answer = httpx.post(
    "{url}/v1/rerank",  # the API's own path
    headers={{
        "Authorization": "Bearer {key}",
{python_own_header}    }},
    json={{"model": "{model}", "query": "hello", "documents": ["Hi!", "Bye."]}},
    timeout=60,
)
print(answer.headers["X-Cache"], answer.json())
"""
_OTHER_TYPESCRIPT = """\
const answer = await fetch("{url}/v1/rerank", {{ // the API's own path
  method: "POST",
  headers: {{
    Authorization: "Bearer {key}",
    "Content-Type": "application/json",
{typescript_own_header}  }},
  body: JSON.stringify({{ model: "{model}", query: "hello", documents: ["Hi!", "Bye."] }}),
}});
console.log(answer.headers.get("X-Cache"), await answer.json());
"""

_TEXTS: Final[Mapping[str, tuple[str, str, str]]] = {
    Kind.OPENAI: (_OPENAI_CURL, _OPENAI_PYTHON, _OPENAI_TYPESCRIPT),
    Kind.ANTHROPIC: (_ANTHROPIC_CURL, _ANTHROPIC_PYTHON, _ANTHROPIC_TYPESCRIPT),
    Kind.OTHER: (_OTHER_CURL, _OTHER_PYTHON, _OTHER_TYPESCRIPT),
}
_TABS: Final = (("curl", "curl"), ("python", "Python"), ("typescript", "TypeScript"))


def client_url(provider: Provider) -> str:
    """What a client gives its SDK as the base URL.

    OpenAI's SDKs put the paths behind the API's version, so it is in there, unless the provider's own URL has it.
    """
    url = f"{settings.PUBLIC_URL}/gateway/{provider.name}"
    versioned = provider.kind == Kind.OPENAI and not _VERSION.search(urlsplit(provider.base_url).path)
    return f"{url}/v1" if versioned else url


def snippets(provider: Provider, *, has_credential: bool) -> list[Snippet]:
    """One call by each of three ways. Where the provider has no credential here, the client brings its own."""
    filled = {
        "url": client_url(provider),
        "key": KEY,
        "model": _MODELS.get(urlsplit(provider.base_url).hostname or "", "YOUR_MODEL"),
        **_own("" if has_credential else _own_value(provider)),
    }
    texts = _TEXTS[provider.kind]
    return [
        Snippet(name, label, text.format(**filled).strip()) for (name, label), text in zip(_TABS, texts, strict=True)
    ]


def _own_value(provider: Provider) -> str:
    return f"Bearer {PROVIDERS_KEY}" if provider.credential_header == "authorization" else PROVIDERS_KEY


def _own(value: str) -> dict[str, str]:
    """The lines that send the client's own credential; none where there is no need."""
    header = f'"X-Upstream-Authorization": "{value}"'
    lines = {
        "curl_own": f'  -H "X-Upstream-Authorization: {value}" \\\n',
        "python_own": f"    default_headers={{{header}}},\n",
        "typescript_own": f"  defaultHeaders: {{ {header} }},\n",
        "python_own_header": f"        {header},\n",
        "typescript_own_header": f"    {header},\n",
    }
    return lines if value else dict.fromkeys(lines, "")
