"""APIs that answer the same to the same request, and those of which it is not known what they do."""

from gateway.apis.base import API, Body


class Computed(API):
    """Moderations, rankings, counts of tokens: nothing is made up."""

    name = "computed"

    def randomness(self, body: Body) -> str | None:
        return None


class Unknown(API):
    """Of OpenAI and Anthropic, whatever is not known here: most of it makes something new each time, such as a batch, a
    thread or a file, whose id must not be given out twice."""

    name = "unknown"

    def randomness(self, body: Body) -> str | None:
        return "unknown API"
