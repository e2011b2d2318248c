"""Structured logs on standard error: JSON for machines, lines for a person at a terminal.

What is logged names pods and fields; a value from inside a pod never gets here.
"""

import logging.config
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import Processor

from app.core.settings import Settings

_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _console_renderer() -> Processor:
    # Of the ways to print an exception, the plain one does not print local variables, a pod among them.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def configure(settings: Settings) -> None:
    """Set up this process's logs, those of libraries included."""
    # To a person, or to a machine?
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        _console_renderer() if console else structlog.processors.JSONRenderer(serializer=_serialize)
    )
    structlog.configure(
        processors=[*_SHARED, structlog.processors.format_exc_info, renderer]
        if not console
        else [*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr)
        if console
        else structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    _configure_libraries(settings, console=console)


def _configure_libraries(settings: Settings, *, console: bool) -> None:
    """Have what logs through the standard library, gunicorn too, write as this program does."""
    final: Processor = (
        _console_renderer()
        if console
        else structlog.processors.JSONRenderer(serializer=lambda *a, **k: _serialize(*a, **k).decode())
    )
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": list(_SHARED),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *([] if console else [structlog.processors.format_exc_info]),
                    final,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": settings.log_level},
        "loggers": {
            "gunicorn.error": {"level": settings.log_level, "handlers": [], "propagate": True},
            # Its own lines about each step say less than the one that `flask migrate` prints.
            "alembic": {"level": "WARNING"},
        },
    }
    logging.config.dictConfig(config)


def _serialize(event: dict[str, Any], default: Any = None, **_: object) -> bytes:
    return orjson.dumps(event, default=default)
