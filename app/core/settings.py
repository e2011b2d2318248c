"""The settings: read from the environment once, at the entry point, into a frozen object."""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError
from sqlalchemy import URL, make_url

from app.core.errors import ConfigurationError
from app.core.nodes import Capacity, NodeAddress, NodeOverride, check_allocatable, internal_ips
from app.core.setting_types import (
    CommandTemplate,
    DatabaseUrl,
    Duration,
    GenericResources,
    IPAddress,
    LogLevel,
    Origins,
    Partitions,
    PodNetwork,
    Port,
    RunTime,
    SessionTime,
    Size,
    Timeout,
    Token,
    Usage,
    WholeSeconds,
)

_NO_OVERRIDE = NodeOverride()
HEALTH_THREADS = 4
"""Threads of each worker process for `/healthz` and `/readyz`, beside THREADS."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, but replaced


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """The settings. Each is read from the environment variable of the same name in upper case.

    The description of a field is its documentation: `vkweb config` prints it, and `docs/configuration.md` is
    generated from it.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_ignore_empty=True, coerce_numbers_to_str=True, validate_default=False
    )

    port: Port = Field(default=3000, description="TCP port of the provider API")
    host: str = Field(
        default="",
        description="IP address to listen on; default: 127.0.0.1, or 0.0.0.0 if PROVIDER_TOKEN is set",
    )
    health_port: Port | None = Field(
        default=None,
        description="second port, on all addresses, that serves only /healthz, /readyz and /metrics",
    )
    database_url: DatabaseUrl = Field(
        default="sqlite:///data/provider.db",
        description="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/NAME",
    )
    node_name: str = Field(
        default="virtual-kubelet-web",
        min_length=1,
        max_length=253,
        description="name of the node, or of a fleet of nodes; several can share a PostgreSQL database",
    )
    capacity: Capacity = Field(
        default={"cpu": "100", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "1000"},
        description="capacity of the node: a JSON object of resource names and quantities",
    )
    node_addresses: tuple[NodeAddress, ...] = Field(
        default=(),
        description='node addresses: a JSON array such as [{"type": "InternalIP", "address": "10.0.0.5"}]',
    )
    vkubelet_pod_ip: IPAddress | None = Field(
        default=None,
        description="InternalIP of the node if NODE_ADDRESSES is not set; default: 127.0.0.1",
    )
    node_overrides: Mapping[str, NodeOverride] = Field(
        default={},
        description="what differs on nodes of a fleet: a JSON object of node names, or patterns such as spot-*, "
        "and objects of capacity, allocatable, labels, taints and addresses",
    )
    pod_cidr: PodNetwork = Field(
        default=ipaddress.IPv4Network("198.18.0.0/15"),
        description="network of the pod IPs; the default is reserved for benchmarks and not routed",
    )
    start_delay: Duration = Field(
        default=timedelta(0),
        description="time from the creation of a pod to the start of its containers, such as 1500ms or 2s",
    )
    runtime: str = Field(
        default="app.runtimes.synthetic:SyntheticRuntime",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="runtime, as package.module:Class; the default simulates pods",
    )
    runtime_directory: Path = Field(
        default=Path("data/runtime"), description="directory for the files of a runtime"
    )
    slurm_partitions: Partitions = Field(
        default=(),
        description="partitions of Slurm that are the node, separated by commas; jobs go to the first unless a "
        "pod names another; default: all, and jobs go to the cluster's default partition",
    )
    slurm_gres: GenericResources = Field(
        default={"nvidia.com/gpu": "gpu"},
        description="generic resources of Slurm: a JSON object of resource names and GRES names",
    )
    slurm_users: Mapping[str, tuple[str, ...]] = Field(
        default={},
        description="users that jobs of Slurm run as: a JSON object of namespaces and their users, the first of "
        "which is the default; the provider must run as root; default: all jobs run as the provider's user",
    )
    container_command: CommandTemplate = Field(
        default="",
        description="command of Slurm jobs that runs a container in its image, such as "
        "apptainer exec --bind={mounts} docker://{image}; default: the command runs on the host",
    )
    slurm_python: str = Field(
        default="python3", pattern=r"^[\w./+-]+$", description="Python 3.11 or later on the nodes of Slurm"
    )
    mounts: Literal["auto", "namespace", "environment"] = Field(
        default="auto",
        description="how ProcessRuntime gives volumes to containers: namespace mounts them, environment sets "
        "VOLUME_NAME variables, auto mounts where the machine allows it",
    )
    init_duration: WholeSeconds = Field(
        default=timedelta(0), description="simulated run time of an init container, in whole seconds"
    )
    job_duration: RunTime = Field(
        default=timedelta(seconds=5), description="simulated run time of a container of a Job, in whole seconds"
    )
    usage_cpu: Usage = Field(
        default="10%",
        description="simulated CPU usage of a container without an annotation: a quantity, or a percentage of its "
        "request, at least 1m",
    )
    usage_memory: Usage = Field(
        default="10%",
        description="simulated memory usage of a container without an annotation: a quantity, or a percentage of "
        "its request, at least 1Mi",
    )
    provider_token: Token | None = Field(
        default=None,
        description="bearer token required on every request of the provider API, and to sign in to the dashboard; "
        "default: none",
    )
    session_lifetime: SessionTime = Field(
        default=timedelta(hours=12), description="time after which a session of the dashboard ends, such as 12h"
    )
    session_idle_timeout: SessionTime = Field(
        default=timedelta(hours=1),
        description="time after which a session of the dashboard ends if no page of it is visible",
    )
    cors_origins: Origins = Field(
        default=(), description="allowed CORS origins, separated by commas; * allows all"
    )
    audit_hash_chain: bool = Field(
        default=False, description="store hash-chained audit events, which `vkweb audit verify` checks"
    )
    max_content_length: Annotated[int, Field(ge=1024, le=1024**3)] = Field(
        default=32 * 1024 * 1024, description="maximum size of a request body, in bytes"
    )
    request_timeout: Timeout = Field(
        default=timedelta(seconds=30),
        description="time for a request to arrive, and for a client to take the response; each may take 1 s more "
        "per 64 KiB",
    )
    streams: bool = Field(
        default=True, description="serve exec, attach and port-forward; false answers them with 501"
    )
    stream_sessions: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=256, description="number of streams (exec, attach, port-forward) per worker process"
    )
    min_free_disk: Size | None = Field(
        default=None,
        description="free disk space below which pods are not created or updated, such as 64Mi; "
        "default: a tenth of the file system, at most 64Mi",
    )
    log_level: LogLevel = Field(default="INFO", description="minimum level: DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto (console on a terminal, json otherwise)"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default_factory=lambda: max(2, min(8, _usable_cpus())),
        description="number of worker processes; default: one per CPU, at least 2 and at most 8",
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8, description="number of threads per worker process"
    )

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            ConfigurationError: settings are invalid or misspelt. The message has a line per error, which names
                the setting and never contains its value.
        """
        problems = list(_misspelt(os.environ, known={name.upper() for name in cls.model_fields}))
        try:
            settings = cls()
        except ValidationError as exc:
            problems += [_format_error(error) for error in exc.errors(include_input=False, include_url=False)]
        except SettingsError as exc:
            match = re.search(r'field "(\w+)"', str(exc))
            problems.append(f"{match[1].upper() if match else 'environment'}: invalid JSON")
        if problems:
            raise ConfigurationError("\n".join(problems))
        return settings

    @property
    def database(self) -> URL:
        """The database URL as an SQLAlchemy URL."""
        return make_url(self.database_url)

    @cached_property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """The node addresses; never empty."""
        return self.node_addresses or (
            NodeAddress(type="InternalIP", address=self.vkubelet_pod_ip or "127.0.0.1"),
        )

    @cached_property
    def host_ips(self) -> tuple[str, ...]:
        """The internal IPs of the node, for the `hostIPs` of pod statuses; never empty."""
        return internal_ips(self.addresses) or ("127.0.0.1",)

    def node_override(self, node: str) -> NodeOverride:
        """Return what differs on a node: the value of the first pattern that matches its name."""
        found = (value for pattern, value in self.node_overrides.items() if fnmatchcase(node, pattern))
        return next(found, _NO_OVERRIDE)

    @property
    def has_default_runtime(self) -> bool:
        """Whether the runtime is the one that simulates pods: part of this product, and created without I/O."""
        return self.runtime == str(type(self).model_fields["runtime"].default)

    @property
    def url(self) -> str:
        """The URL of the provider for clients on this machine, such as `http://127.0.0.1:3000`."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def held_requests(self) -> int:
        """The number of requests that a worker process holds open at most."""
        return max(1, self.threads // 2)

    def changed(self) -> dict[str, str]:
        """Return the settings that differ from the defaults, as :meth:`in_force` does."""
        defaults = self.model_construct(host="127.0.0.1").in_force()  # which reads no environment
        return {name: value for name, value in self.in_force().items() if value != defaults[name]}

    def in_force(self) -> dict[str, str]:
        """Return all settings by variable name, as text for the environment; secrets are redacted."""
        dumped = self.model_dump(mode="json")
        dumped["node_overrides"] = {
            node: override.model_dump(exclude_none=True) for node, override in self.node_overrides.items()
        }
        dumped["database_url"] = self.database.render_as_string(hide_password=True)
        return {
            name.upper(): "" if value is None else value if isinstance(value, str) else _json(value)
            for name, value in dumped.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _host_by_token(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("host"):
            return {**values, "host": "0.0.0.0" if values.get("provider_token") else "127.0.0.1"}  # noqa: S104
        return values

    @model_validator(mode="after")
    def _are_allocatable(self) -> Self:
        """Check NODE_OVERRIDES against CAPACITY; what a runtime finds by itself is not known yet."""
        if "capacity" in self.model_fields_set:
            for node, override in self.node_overrides.items():
                try:
                    check_allocatable(override.allocatable, override.capacity or self.capacity)
                except ValueError as exc:
                    raise ValueError(f"NODE_OVERRIDES.{node}.{exc}") from None
        return self

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        try:
            loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError("HOST: must be an IP address or localhost") from None
        if not loopback and not self.provider_token:
            raise ValueError(
                "HOST: is reachable from other machines, which needs a PROVIDER_TOKEN: "
                "the provider API has no other authentication"
            )
        if self.health_port == self.port:
            raise ValueError("HEALTH_PORT: must differ from PORT")
        return self


def _misspelt(environment: Iterable[str], *, known: set[str]) -> Iterable[str]:
    """Yield an error for each environment variable whose name is close to that of a setting.

    Settings have no common prefix, so other variables cannot be rejected. A name counts as misspelt if it is
    very similar to a setting: DATABSE_URL is, MY_NODE_NAME is not.
    """
    for name in sorted(set(environment) - known):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.87)
        if close:
            yield f"{name}: no such setting; is it {close[0]}?"


def _format_error(error: Mapping[str, Any]) -> str:
    """Format a validation error as one line: setting and reason, not the value, which may be secret."""
    name, *within = [str(part) for part in error["loc"]] or [""]
    where = ".".join([name.upper(), *within])
    # The messages of pydantic begin with the type: "Input should be a valid integer".
    message = re.sub(r"^\w+ should ", "must ", error["msg"].removeprefix("Value error, "))
    message = _MESSAGES.get(error["type"], message)
    return f"{where}: {message}" if where else message


_MESSAGES = {
    "dict_type": "must be a JSON object",
    "tuple_type": "must be a JSON array",
    "extra_forbidden": "no such field",
    "missing": "must be set",
    "int_parsing": "must be a whole number",
    "bool_parsing": "must be true or false",
}
"""Type of an error → its message, where that of pydantic is for authors of Python programs."""


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
