"""Structured logs on standard error: JSON, or lines for a terminal.

Log events name pods and fields and never contain a value from a pod's spec.
"""

import logging.config
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import structlog
from structlog.typing import Processor

from app.core.settings import Settings

_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class _Format(NamedTuple):
    """How an event becomes a line: the processors of structlog's loggers, and of the standard library's."""

    own: Sequence[Processor]
    factory: Callable[..., Any]
    libraries: Sequence[Processor]


def _console() -> _Format:
    # The plain traceback does not print local variables, which may hold a pod.
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return _Format([renderer], structlog.PrintLoggerFactory(sys.stderr), [renderer])


def _json() -> _Format:
    to_bytes = structlog.processors.JSONRenderer(serializer=_serialize)
    to_text = structlog.processors.JSONRenderer(serializer=lambda *a, **k: _serialize(*a, **k).decode())
    traceback = structlog.processors.format_exc_info
    factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    return _Format([traceback, to_bytes], factory, [traceback, to_text])


def configure(settings: Settings) -> None:
    """Configure the logs of this process, including those of libraries."""
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    format_ = _console() if is_console else _json()
    structlog.configure(
        processors=[*_SHARED, *format_.own],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=format_.factory,
        cache_logger_on_first_use=True,
    )
    _configure_libraries(settings.log_level, format_.libraries)


def _configure_libraries(level: str, processors: Sequence[Processor]) -> None:
    """Format the records of standard library loggers, such as gunicorn's, in the same way."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": list(_SHARED),
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            # `vkweb migrate` prints one line that replaces those of each step.
            "alembic": {"level": "WARNING"},
        },
    }
    logging.config.dictConfig(config)


def _serialize(event: dict[str, Any], default: Any = None, **_: object) -> bytes:
    return orjson.dumps(event, default=default)
