"""Structured logs on standard error: JSON, or lines of text on a terminal.

Messages contain names of pods and fields, and no values from inside a pod.
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
    """Configure the logs of this process, including those of libraries."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    # The plain traceback prints no local variables, which may contain a pod.
    renderers: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_serialize)]
    )
    structlog.configure(
        processors=[*_SHARED, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": list(_SHARED),
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
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
