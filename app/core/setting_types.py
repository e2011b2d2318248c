"""The types of settings: how a value is read from text, checked, and written as text again."""

import ipaddress
import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr
from pydantic_settings import NoDecode
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.core.nodes import parse_ip
from app.core.quantity import parse_amount_or_percentage, parse_quantity
from app.core.timestamps import format_duration, parse_duration

_ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")
_SLURM_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_GRES = re.compile(r"[A-Za-z]\w*(:[A-Za-z][\w.-]*)?")
_PLACEHOLDERS = ("container", "image", "mounts", "namespace", "pod", "workdir")
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _whole(value: timedelta) -> timedelta:
    if value.microseconds:
        raise ValueError("must be whole seconds, the precision of times in a pod status")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be more than 0s")
    return value


def _at_least(least: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if value < least:
            raise ValueError(f"must be at least {format_duration(least)}")
        return value

    return AfterValidator(check)


def _names(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _partitions(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_SLURM_NAME.fullmatch, names)):
        raise ValueError("a partition has letters, digits, dots, hyphens and underscores only")
    return names


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError("an origin must be *, or a scheme and host such as http://localhost:8080")
    return origins


def _database_url(value: str) -> str:
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError("not a URL such as sqlite:///FILE or postgresql://HOST/NAME") from None
    if url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
        raise ValueError("must start with sqlite:// or postgresql://")
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise ValueError("must name a file; an in-memory database would lose all pods")
        if url.query:
            raise ValueError("must not have parameters for SQLite")
    if {"password", "passfile", "sslpassword"} & set(url.query):
        raise ValueError("the password must be before the @, where it is redacted in output")
    return value


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("not a network such as 10.1.0.0/16 with zero host bits") from None
    if network.num_addresses < 4:  # the first and last addresses are not assigned
        raise ValueError("has no address for a pod")
    return network


def _template(value: str) -> str:
    try:
        shlex.split(value)
    except ValueError as exc:
        raise ValueError(f"not a command: {exc}") from None
    if unknown := set(re.findall(r"{(\w+)}", value)) - set(_PLACEHOLDERS):
        raise ValueError(f"has an unknown placeholder {min(unknown)}; there are {', '.join(_PLACEHOLDERS)}")
    return value


def _gres(value: Mapping[str, str]) -> Mapping[str, str]:
    if not all(map(_GRES.fullmatch, value.values())):
        raise ValueError("a generic resource is NAME or NAME:TYPE, such as gpu or gpu:a100")
    return value


def _size(value: str) -> str:
    if parse_quantity(value) < 0:
        raise ValueError("must not be negative")
    return value


def _usage(value: str) -> str:
    parse_amount_or_percentage(value)
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, to fit in an HTTP header")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Port = Annotated[int, Field(ge=1, le=65535)]
IPAddress = Annotated[str, AfterValidator(parse_ip)]
PodNetwork = Annotated[IPNetwork, BeforeValidator(_network)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(format_duration, when_used="json")]
WholeSeconds = Annotated[Duration, AfterValidator(_whole)]
RunTime = Annotated[WholeSeconds, _at_least(timedelta(seconds=1))]
SessionTime = Annotated[Duration, _at_least(timedelta(minutes=1))]
Timeout = Annotated[Duration, AfterValidator(_positive)]
Size = Annotated[str, AfterValidator(_size)]
"""A quantity that is not negative."""
Usage = Annotated[str, AfterValidator(_usage)]
"""A quantity, or a percentage."""
_Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names), PlainSerializer(",".join, when_used="json")]
"""Names, separated by commas."""
Partitions = Annotated[_Names, AfterValidator(_partitions)]
Origins = Annotated[_Names, AfterValidator(_origins)]
GenericResources = Annotated[Mapping[str, str], AfterValidator(_gres)]
CommandTemplate = Annotated[str, AfterValidator(_template)]
