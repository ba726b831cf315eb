"""Structured logs: one JSON object a line on stderr, from structlog and from libraries alike.

docs/observability.md describes the fields. granian's main process, which has no Django, gets its formatter from here
through granian.json.
"""

import logging
import logging.config
from contextvars import ContextVar
from typing import Any

import structlog

from cacheservice import tracing

# Of the request that this is about, for lines that are logged where it is not at hand.
request_id: ContextVar[str] = ContextVar("request_id")
_processors: list[Any] = []  # one list whoever configures again: loggers that were used before go on with it


def configure(config: dict[str, Any]) -> None:
    """Set up logging; `config` is settings.LOGGING: {"level": …}. Django calls it once at start."""
    _processors[:] = [*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": json_formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            "loggers": {
                "django.request": {"level": "CRITICAL"},  # views log their failures with the request's id
                # Lines for each task and connection; failures are errors.
                "celery": {"level": config["level"] if config["level"] == "DEBUG" else "WARNING"},
            },
        }
    )
    logging.captureWarnings(True)


def json_formatter() -> logging.Formatter:
    """For handlers of the standard library's."""
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        foreign_pre_chain=_shared(),
    )


def _shared() -> list[structlog.typing.Processor]:
    """What each line gets, whoever writes it."""
    return [
        structlog.contextvars.merge_contextvars,
        _name_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]


def _name_request(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Its id, and where it is traced that of its trace."""
    if (found := request_id.get("")) and "request_id" not in event:
        event["request_id"] = found
    if tracing.on:
        event.update(tracing.ids())
    return event
