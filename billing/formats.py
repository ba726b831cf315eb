"""In which format an answer is wanted: JSON, unless `format=` or `Accept` names another one that there is."""

from collections.abc import Mapping

from cacheservice.errors import InvalidRequest

MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "pdf": "application/pdf"}


def wanted(parameters: Mapping[str, list[str]], accept: str, offered: tuple[str, ...]) -> str:
    """One of `offered`, names of MEDIA_TYPES, JSON first. The query's `format` is for links, which set no Accept.

    Of an Accept that names several the one of most weight is taken, then the first offered; one that names none of them
    gets JSON. Raises InvalidRequest for another `format`.
    """
    if "format" in parameters:
        [name] = parameters["format"]
        if name not in offered:
            raise InvalidRequest(f"format: '{name[:20]}' is not allowed; choose one of {', '.join(offered)}.")
        return name
    weights = _weights(accept)

    def preference(name: str) -> tuple[float, bool]:
        media_type = MEDIA_TYPES[name]
        weight = weights.get(media_type, weights.get("*/*", 0.0))
        return weight, weight > 0 and media_type in weights

    return max(offered, key=preference)


def _weights(accept: str) -> dict[str, float]:
    """The media types that an Accept header names, with their weights (RFC 9110, 12.5.1)."""
    weights = {}
    for each in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in each.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[media_type] = weight
    return weights
