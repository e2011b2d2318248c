"""The settings: read once from the environment, at the entry point, into a frozen object."""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.core.errors import ConfigurationError
from app.core.quantity import parse_quantity
from app.core.timestamps import format_duration, parse_duration

_ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class NodeAddress(BaseModel, frozen=True, extra="forbid"):
    """A NodeAddress of Kubernetes."""

    type: Literal["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "Hostname"]
    address: str = Field(min_length=1)

    @model_validator(mode="after")
    def _is_ip(self) -> Self:
        if self.type.endswith("IP"):
            _parse_ip(self.address)
        return self


def _parse_ip(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("not an IP address") from None


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """What can be set, each by the environment variable of the same name in capitals.

    The description of a field is its documentation: `flask config` prints it, and a test holds the README
    to it.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, coerce_numbers_to_str=True, validate_default=False
    )

    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=3000, description="port of the contract")
    host: str = Field(
        default="",
        description="address to listen on; 127.0.0.1 by default, 0.0.0.0 where PROVIDER_TOKEN is set",
    )
    health_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="a second port, on every address, that has /healthz, /readyz and /metrics only",
    )
    database_url: str = Field(
        default="sqlite:///data/provider.db",
        description="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME",
    )
    node_name: str = Field(
        default="virtual-kubelet-web",
        min_length=1,
        max_length=253,
        description="the node whose pods these are; many nodes can share a PostgreSQL",
    )
    capacity: Mapping[str, str] = Field(
        default={"cpu": "100", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "1000"},
        description="JSON map, resource to quantity: what the node says that it has",
    )
    node_addresses: tuple[NodeAddress, ...] = Field(
        default=(), description='JSON array such as [{"type": "InternalIP", "address": "10.0.0.5"}]'
    )
    vkubelet_pod_ip: str | None = Field(
        default=None,
        description="the node's InternalIP where NODE_ADDRESSES is not set; 127.0.0.1 by default",
    )
    pod_cidr: IPNetwork = Field(
        default=ipaddress.IPv4Network("198.18.0.0/15"),
        description="network that pods get their addresses from; the default is one that nobody routes",
    )
    start_delay: timedelta = Field(
        default=timedelta(0),
        description="from a pod's arrival to its containers' start, such as 1500ms or 2s",
    )
    runtime: str = Field(
        default="app.runtimes.synthetic:SyntheticRuntime",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:Class of what does the work; the default only seems to run pods",
    )
    runtime_directory: Path = Field(
        default=Path("data/runtime"), description="where a runtime that needs files keeps them"
    )
    init_duration: timedelta = Field(
        default=timedelta(0), description="how long an init container seems to run, in whole seconds"
    )
    job_duration: timedelta = Field(
        default=timedelta(seconds=5), description="how long a container of a Job seems to run, in whole seconds"
    )
    provider_token: SecretStr | None = Field(
        default=None, description="secret that every request of the contract must bear; none by default"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins, with commas between, whose pages may call this; * for all"
    )
    audit_hash_chain: bool = Field(
        default=False, description="each audit row holds the hash of the one before, for `flask audit verify`"
    )
    max_content_length: Annotated[int, Field(ge=1024, le=1024**3)] = Field(
        default=2 * 1024 * 1024, description="largest request body, in bytes"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console on a terminal"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda: max(2, min(8, _usable_cpus())),
        description="processes; one a processor by default, at least 2 and at most 8",
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(default=8, description="threads of each process")

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a setting is wrong or misspelt; a line for each names it, with no value of it.
        """
        problems = list(_misspelt(os.environ, known={name.upper() for name in cls.model_fields}))
        try:
            settings = cls()
        except ValidationError as exc:
            problems += [_described(error) for error in exc.errors(include_input=False, include_url=False)]
        except SettingsError as exc:
            match = re.search(r'field "(\w+)"', str(exc))
            problems.append(f"{match[1].upper() if match else 'environment'}: not the JSON that is needed here")
        if problems:
            raise ConfigurationError("\n".join(problems))
        return settings

    @property
    def database(self) -> URL:
        """The URL of the database, for SQLAlchemy."""
        return make_url(self.database_url)

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """The addresses of the node; never empty."""
        return self.node_addresses or (
            NodeAddress(type="InternalIP", address=self.vkubelet_pod_ip or "127.0.0.1"),
        )

    @property
    def host_ips(self) -> tuple[str, ...]:
        """The node's own IPs, as its pods' statuses repeat them; never empty."""
        return tuple(a.address for a in self.addresses if a.type == "InternalIP") or ("127.0.0.1",)

    def in_force(self) -> dict[str, str]:
        """Give every setting as one would write it, secrets masked."""
        dumped = self.model_dump(mode="json")
        dumped["database_url"] = self.database.render_as_string(hide_password=True)
        for name in ("start_delay", "init_duration", "job_duration"):
            dumped[name] = format_duration(getattr(self, name))
        dumped["cors_origins"] = ",".join(self.cors_origins)
        return {
            name.upper(): "" if value is None else value if isinstance(value, str) else _json(value)
            for name, value in dumped.items()
        }

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("not a URL such as sqlite:///FILE or postgresql://HOST/NAME") from None
        if url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
            raise ValueError("must begin with sqlite:// or postgresql://")
        if url.get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise ValueError("names no file; a database in memory would lose every pod")
            if url.query:
                raise ValueError("takes no parameters for SQLite")
        if {"password", "passfile", "sslpassword"} & set(url.query):
            raise ValueError("put the password in front of the @, where it is masked")
        return value

    @field_validator("capacity")
    @classmethod
    def _is_capacity(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for resource, quantity in value.items():
            try:
                amount = parse_quantity(quantity)
            except ValueError as exc:
                raise ValueError(f"{resource}: {exc}") from None
            if amount < 0:
                raise ValueError(f"{resource}: must not be negative")
        return value

    @field_validator("vkubelet_pod_ip")
    @classmethod
    def _is_ip(cls, value: str) -> str:
        return _parse_ip(value)

    @field_validator("pod_cidr", mode="before")
    @classmethod
    def _is_network(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            raise ValueError("not a network such as 10.1.0.0/16, its host bits zero") from None
        if network.num_addresses < 4:  # the first and the last are nobody's
            raise ValueError("has no room for a pod")
        return network

    @field_validator("log_level", mode="before")
    @classmethod
    def _is_level(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("start_delay", "init_duration", "job_duration", mode="before")
    @classmethod
    def _is_duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("init_duration", "job_duration")
    @classmethod
    def _is_whole(cls, value: timedelta) -> timedelta:
        if value.microseconds:
            raise ValueError("must be whole seconds: a status tells no finer")
        return value

    @field_validator("job_duration")
    @classmethod
    def _is_some(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise ValueError("must be at least a second")
        return value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _are_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        origins = tuple(origin.strip() for origin in value.split(",") if origin.strip())
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is *, or a scheme and a host such as http://localhost:8080")
        return origins

    @field_validator("provider_token")
    @classmethod
    def _is_token(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces, as a header can carry it")
        return value

    @model_validator(mode="before")
    @classmethod
    def _host_by_token(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("host"):
            return {**values, "host": "0.0.0.0" if values.get("provider_token") else "127.0.0.1"}  # noqa: S104
        return values

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        try:
            loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError("HOST: must be an IP address or localhost") from None
        if not loopback and not self.provider_token:
            raise ValueError(
                "HOST: is reachable from other machines, which needs a PROVIDER_TOKEN: "
                "the contract itself knows no authentication"
            )
        if self.health_port == self.port:
            raise ValueError("HEALTH_PORT: must not be PORT")
        return self


def _misspelt(environment: Iterable[str], *, known: set[str]) -> Iterable[str]:
    """Find variables that are nearly a setting.

    Settings have no prefix of their own to tell them from other variables, so a name counts as misspelt
    when it is very like a known one: DATABSE_URL is, MY_NODE_NAME is not.
    """
    for name in sorted(set(environment) - known):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.87)
        if close:
            yield f"{name}: no such setting; is it {close[0]}?"


def _described(error: Mapping[str, Any]) -> str:
    """Say in a line which setting is wrong and why; never with the value, which may be a secret."""
    name, *within = [str(part) for part in error["loc"]] or [""]
    where = ".".join([name.upper(), *within])
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
