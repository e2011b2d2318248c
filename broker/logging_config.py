"""Structured logs on standard error: JSON for machines, lines for a person at a terminal.

What is logged names pods and fields; a value from inside a pod never gets here.
"""

import logging.config
import sys
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

from broker.settings import Settings

_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(settings: Settings) -> None:
    """Set up this process's logs, those of libraries included."""
    # To a person, or to a machine?
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    # Of the ways to print an exception, the plain one does not print local variables, a pod among them.
    ending: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_serialize)]
    )
    structlog.configure(
        processors=[*_SHARED, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": list(_SHARED),
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structured": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": settings.log_level},
        }
    )


def _serialize(event: dict[str, Any], default: Any = None, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=default).decode()
