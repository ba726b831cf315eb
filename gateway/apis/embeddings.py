"""OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings"""

from collections.abc import Sequence
from typing import Any

from gateway.apis.base import API, Body
from gateway.apis.reading import items, member


class Embeddings(API):
    """Of each input on its own, so that a request can be answered in parts."""

    name = "embeddings"
    prompts = ("input",)

    def randomness(self, body: Body) -> str | None:
        return None

    def incomplete(self, answer: Body) -> str | None:
        return super().incomplete(answer) or (None if items(answer.get("data")) else "no embeddings")

    def worst_output(self, body: Body) -> int | None:
        return 0

    def inputs(self, body: Body) -> list[Any] | None:
        """The inputs, each a string or a list of tokens; None where they cannot be told apart."""
        given = body.get("input")
        if isinstance(given, str):
            return [given]
        if not isinstance(given, list) or not given:
            return None
        if all(isinstance(token, int) for token in given):
            return [given]
        return given if all(isinstance(each, (str, list)) for each in given) else None

    def part(self, body: Body, inputs: Sequence[Any]) -> Body:
        """The same request for these inputs only."""
        return {**body, "input": list(inputs)}

    def vectors(self, answer: Body, expected: int) -> list[dict[str, Any]]:
        """The answer's items in the order of the inputs. Raises ValueError unless there is one for each."""
        found = items(answer.get("data"))
        by_index = {member(each, "index"): each for each in found if type(member(each, "index")) is int}
        if len(found) != expected or by_index.keys() != set(range(expected)):
            raise ValueError(f"not one embedding for each of the {expected} inputs")
        return [by_index[index] for index in range(expected)]

    def joined(self, answer: Body, vectors: Sequence[dict[str, Any]]) -> Body:
        """An answer with these items, numbered anew; the rest, the usage too, as in `answer`."""
        return {**answer, "data": [{**vector, "index": index} for index, vector in enumerate(vectors)]}
