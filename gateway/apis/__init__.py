"""The APIs that the gateway knows, and which of them a request is for."""

from collections.abc import Mapping
from typing import Final

from gateway.apis.anthropic_messages import Messages
from gateway.apis.base import API, Body
from gateway.apis.embeddings import Embeddings
from gateway.apis.images import Images, Video
from gateway.apis.openai_chat import ChatCompletions, Completions
from gateway.apis.openai_responses import Responses
from gateway.apis.other import Computed, Unknown
from gateway.models import Kind


class _Counts(Computed):
    """Of tokens, before a model is asked. https://docs.anthropic.com/en/docs/build-with-claude/token-counting,
    https://ai.google.dev/gemini-api/docs/tokens, https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html
    """

    free = True


# What their paths end with, below the base URL; an ending of another one comes after it.
_APIS: Final[Mapping[str, API]] = {
    "/chat/completions": ChatCompletions(),
    "/completions": Completions(),
    "/responses": Responses(),
    "/v1/messages": Messages(),
    "/embeddings": Embeddings(),
    "/images/generations": Images(),
    "/videos": Video(),
    "/video/generations": Video(),
    "/videos/generations": Video(),
    "/moderations": Computed(),
    "/rerank": Computed(),
    "/tokenize": Computed(),
    "/messages/count_tokens": _Counts(),
    "/responses/input_tokens": _Counts(),
    ":countTokens": _Counts(),
    "/count-tokens": _Counts(),
    "/count_tokens": Computed(),
}
_MESSAGES = _APIS["/v1/messages"]
_OTHER, _UNKNOWN = API(), Unknown()


def api_for(kind: str, path: str, body: Body | None = None) -> API:
    """The API that a request to a provider of this kind (models.Kind) is for.

    `path`: below the provider's base URL, with or without a version: `/v1/chat/completions`, `/chat/completions`.
    `body`: the decoded request; no two of these APIs share a path, so it is not looked at.
    """
    path = path.partition("?")[0].rstrip("/")
    for suffix, api in _APIS.items():
        if path.endswith(suffix):
            return api
    if kind == Kind.ANTHROPIC and path == "/messages":
        return _MESSAGES
    return _OTHER if kind == Kind.OTHER else _UNKNOWN
