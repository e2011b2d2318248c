"""Options of `kubectl logs`: the query of `/containerLogs`, parsed and validated as by a kubelet."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from broker.errors import BrokerError
from broker.kubernetes.objects import from_time

_INT64 = 2**63


class LogsError(BrokerError):
    """A request for logs that cannot be served."""

    status = HTTPStatus.BAD_REQUEST


class InvalidOptions(LogsError):
    """The options are invalid together, or out of range."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


@dataclass(frozen=True, kw_only=True, slots=True)
class LogOptions:
    """The `PodLogOptions` that a node receives.

    Attributes:
        follow: whether to continue with new lines.
        previous: whether to read the previous run of the container.
        timestamps: whether each line begins with its time.
        since_seconds: greatest age of a line in seconds; None: any.
        since_time: least time of a line; None: any.
        tail: number of lines from the end; None: all.
        limit_bytes: greatest number of bytes; None: no limit.
    """

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    since_time: datetime | None = None
    tail: int | None = None
    limit_bytes: int | None = None


def parse_options(query: Mapping[str, str]) -> LogOptions:
    """Parse the query.

    Raises:
        LogsError: a value cannot be parsed, or is not supported.
        InvalidOptions: the values violate `ValidatePodLogOptions`.
    """
    tail = query.get("tail") or query.get("tailLines")  # `tail` is the kubelet's older name
    options = LogOptions(
        follow=_flag(query, "follow"),
        previous=_flag(query, "previous"),
        timestamps=_flag(query, "timestamps"),
        since_seconds=_number("sinceSeconds", query.get("sinceSeconds")),
        since_time=_time("sinceTime", query.get("sinceTime")),
        tail=None if query.get("tail") == "all" else _number("tailLines", tail),
        limit_bytes=_number("limitBytes", query.get("limitBytes")),
    )
    if options.tail is not None and options.tail < 0:
        raise InvalidOptions("tailLines: must be at least 0")
    if options.limit_bytes is not None and options.limit_bytes < 1:
        raise InvalidOptions("limitBytes: must be at least 1")
    if options.since_seconds is not None and options.since_seconds < 1:
        raise InvalidOptions("sinceSeconds: must be at least 1")
    if options.since_seconds is not None and options.since_time is not None:
        raise InvalidOptions("sinceSeconds, sinceTime: mutually exclusive")
    match query.get("stream", "All"):
        case "All":
            return options
        case "Stdout" | "Stderr":
            raise LogsError("stream: this node supports All only")
        case _:
            raise InvalidOptions("stream: must be All, Stdout or Stderr")


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Parse a flag as apimachinery does: present, and neither `false` nor `0`."""
    return query.get(name, "false").lower() not in ("false", "0")


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -_INT64 <= int(text) < _INT64:
        raise LogsError(f"{name}: not a whole number of 64 bits")
    return int(text)


def _time(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return from_time(text)
    except ValueError:
        raise LogsError(f"{name}: not a time such as 2026-11-22T08:46:38Z") from None
