"""Structured logs on standard error: JSON, or lines for a terminal.

Log events name pods and fields and never contain a value from a pod's spec.
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
    # The plain traceback does not print local variables, which may hold a pod.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def configure(settings: Settings) -> None:
    """Configure the logs of this process, including those of libraries."""
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
    """Format the records of standard library loggers, such as gunicorn's, in the same way."""
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
            # `vkweb migrate` prints one line that replaces those of each step.
            "alembic": {"level": "WARNING"},
        },
    }
    logging.config.dictConfig(config)


def _serialize(event: dict[str, Any], default: Any = None, **_: object) -> bytes:
    return orjson.dumps(event, default=default)
