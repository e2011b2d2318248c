"""Settings of the broker, read once from flags and environment variables."""

import argparse
import difflib
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from broker import __version__
from broker.errors import ConfigurationError
from broker.names import FLEET_NAME, FLEET_NAME_RULE
from broker.setting_types import (
    Endpoint,
    FleetSource,
    IPAddress,
    LabelName,
    Labels,
    LabelValue,
    ListenAddress,
    LogLevel,
    NodeName,
    Seconds,
    Thresholds,
    Token,
    Version,
)

_VARIABLES = {
    "pod_ip": "VKUBELET_POD_IP",
    "taint_key": "VKUBELET_TAINT_KEY",
    "taint_value": "VKUBELET_TAINT_VALUE",
    "taint_effect": "VKUBELET_TAINT_EFFECT",
    "tls_cert_file": "APISERVER_CERT_LOCATION",
    "tls_key_file": "APISERVER_KEY_LOCATION",
    "labels": "NODE_LABELS",
    "workers": "POD_SYNC_WORKERS",
}
"""Environment variables that differ from the field's name in capitals; most are those of the original broker."""
_SPELLINGS = {
    "node_name": "--nodename",
    "operating_system": "--os",
    "labels": "--node-labels",
    "workers": "--pod-sync-workers",
}
"""Flags accepted besides the field's name."""
_SECRETS = frozenset({"provider_token"})
"""Settings without a flag: every user of the machine can read the flags of a process."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Settings(BaseModel, frozen=True, extra="forbid"):
    """Settings: from a flag, else from an environment variable.

    The description of each field is printed by `--help`, and in docs/configuration.md.
    """

    node_name: NodeName = Field(default="virtual-kubelet-web", max_length=253, description="name of the node")
    nodes: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="number of nodes, named NODE_NAME-0, NODE_NAME-1 and so on; by default one, named NODE_NAME",
    )
    fleet: FleetSource | None = Field(
        default=None,
        description="pools of nodes: path of a fleet file, or configmap:NAMESPACE/NAME with the key fleet.yaml",
    )
    lease_identity: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="identity of this broker in the lease of the node; one that starts again with the same "
        "identity does not wait for the lease; default: a new one for each start",
    )
    web_endpoint_url: Endpoint = Field(description="URL of the provider, such as http://127.0.0.1:3000")
    provider_token: Token | None = Field(
        default=None, description="bearer token for requests to the provider; none by default"
    )
    provider_timeout: Annotated[Seconds, Field(gt=0, le=300)] = Field(
        default=30.0, description="timeout of a request to the provider"
    )
    status_interval: Annotated[Seconds, Field(ge=0.1, le=300)] = Field(
        default=5.0,
        description="interval between two reads of a pod's status, for a provider without /podStatuses",
    )
    kubeconfig: str | None = Field(
        default=None,
        description="path of a kubeconfig; by default the service account in a pod, else ~/.kube/config",
    )
    pod_ip: IPAddress | None = Field(
        default=None,
        description="IP address of the kubelet API for the API server; overrides the provider's InternalIP",
    )
    kubelet_host: IPAddress | None = Field(
        default=None, description="IP address that the kubelet API listens on; all by default"
    )
    kubelet_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=10250, description="port of the kubelet API (HTTPS); 0 for any free port"
    )
    tls_cert_file: Path | None = Field(
        default=None, description="certificate of the kubelet API, in PEM; self-signed by default"
    )
    tls_key_file: Path | None = Field(default=None, description="private key of the certificate, in PEM")
    client_ca_file: Path | None = Field(
        default=None, description="CA of client certificates for the kubelet API, in PEM; the cluster's by default"
    )
    authentication: bool = Field(default=True, description="authenticate requests to the kubelet API")
    authorization: bool = Field(
        default=True, description="authorize requests to the kubelet API by the API server"
    )
    metrics_addr: ListenAddress | None = Field(
        default=None,
        description="address such as :10255 for metrics and stats over plain HTTP; off by default",
    )
    stream_idle_timeout: Annotated[Seconds, Field(gt=0, le=7 * 86400)] = Field(
        default=14400.0, description="time without a byte after which an exec, attach or port-forward is ended"
    )
    stream_sessions: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=256,
        description="greatest number of exec, attach and port-forward sessions at once; each takes about 0.3 MB",
    )
    taint_key: LabelName = Field(
        default="virtual-kubelet.io/provider",
        description="key of the node's taint",
    )
    taint_value: LabelValue = Field(default="web", description="value of the taint")
    taint_effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="effect of the taint: NoSchedule, PreferNoSchedule or NoExecute"
    )
    disable_taint: bool = Field(default=False, description="do not taint the node")
    labels: Labels = Field(default={}, description="additional labels of the node, such as zone=a,disk=ssd")
    operating_system: Literal["linux", "windows"] = Field(
        default="linux", description="operating system of the node: linux or windows"
    )
    architecture: str = Field(
        default_factory=lambda: _ARCHITECTURES.get(platform.machine(), platform.machine()),
        description="architecture of the node, such as amd64 or arm64; this machine's by default",
    )
    kubelet_version: Version = Field(default="v1.36.0", description="Kubernetes version that the node reports")
    daemon_sets: bool = Field(default=True, description="run the pods of DaemonSets")
    pod_volumes: bool = Field(
        default=True,
        description="send the files of volumes, including service account tokens, to a provider with the "
        "extension podVolumes",
    )
    eviction_hard: Thresholds = Field(
        default={},
        description="thresholds below which pods are evicted, such as memory.available<100Mi,nodefs.available<10%,"
        "pid.available<5%; none by default",
    )
    eviction_pressure_transition_period: Annotated[Seconds, Field(ge=0, le=86400)] = Field(
        default=300.0, description="time for which a pressure of the node is reported after its threshold was met"
    )
    workers: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=32, description="number of pods reconciled at once"
    )
    log_level: LogLevel = Field(
        default="INFO", description="least level of log messages: DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="format of the logs: json, console, or auto (console on a terminal, else json)"
    )

    @classmethod
    def load(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Read the settings from flags and environment variables.

        Args:
            arguments: the flags.
            environment: the environment variables.

        Raises:
            ConfigurationError: invalid or misspelt settings; one line names each, without its value.
            SystemExit: after `--help` or `--version`.
        """
        parsed, unknown = _parser().parse_known_args(arguments)
        flags = {name: value for name, value in vars(parsed).items() if value is not None and name != "provider"}
        variables = {
            name: environment[variable(name)] for name in cls.model_fields if environment.get(variable(name))
        }
        problems = [*_unknown(unknown), *_misspelt(environment)]
        try:
            settings = cls.model_validate(variables | flags)
        except ValidationError as exc:
            problems += [_described(e, flags) for e in exc.errors(include_input=False, include_url=False)]
        if problems:
            raise ConfigurationError("\n".join(problems))
        return settings

    def changed(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, by variable name; secrets are redacted."""
        dumped = self.model_dump(mode="json")
        return {
            variable(name): dumped[name]
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.get_default(call_default_factory=True)
        }

    @property
    def taint(self) -> dict[str, str] | None:
        """The taint of the Node; None where it is disabled."""
        if self.disable_taint:
            return None
        return {"key": self.taint_key, "value": self.taint_value, "effect": self.taint_effect}

    @property
    def is_fleet(self) -> bool:
        """Whether there may be several nodes; NODE_NAME is then the name of the fleet."""
        return self.nodes is not None or self.fleet is not None

    @property
    def only_node(self) -> str | None:
        """Name of the only node; None where there may be several."""
        return None if self.is_fleet else self.node_name

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("APISERVER_CERT_LOCATION, APISERVER_KEY_LOCATION: set both or none")
        if self.nodes is not None and self.fleet is not None:
            raise ValueError("NODES, FLEET: set one of them")
        if self.is_fleet and not FLEET_NAME.fullmatch(self.node_name):
            raise ValueError(f"NODE_NAME: for a fleet, {FLEET_NAME_RULE}")
        if self.authorization and not self.authentication:
            raise ValueError("AUTHENTICATION: required by AUTHORIZATION; disable both or none")
        return self


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return _VARIABLES.get(name, name.upper())


def flag(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message)


def _parser() -> argparse.ArgumentParser:
    """Return a parser of `--flag value` and `--flag=value`; for a boolean also of `--flag` alone."""
    parser = _Parser(
        prog="vkweb broker",
        description="A Kubernetes node whose pods run at a web provider.",
        epilog="Each flag has an environment variable, in capitals. "
        f"By the environment only: PROVIDER_TOKEN, {_help('provider_token')}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--provider", choices=["web"], help="accepted for compatibility; always web")
    for name, field in Settings.model_fields.items():
        if name not in _SECRETS:
            spellings = [flag(name), *filter(None, [_SPELLINGS.get(name)])]
            nargs, const = ("?", "true") if field.annotation is bool else (None, None)
            shown = _help(name).replace("%", "%%")
            parser.add_argument(
                *spellings, dest=name, nargs=nargs, const=const, metavar=variable(name), help=shown
            )
    return parser


def _help(name: str) -> str:
    field = Settings.model_fields[name]
    default = field.default
    if field.is_required():
        default_text = " (required)"
    elif default is None or default == {} or field.default_factory:
        default_text = ""  # the description has the default
    elif isinstance(default, bool):
        default_text = f" ({str(default).lower()})"
    else:
        default_text = f" ({default:g}s)" if isinstance(default, float) else f" ({default})"
    return f"{field.description}{default_text}"


def _unknown(arguments: Sequence[str]) -> Iterable[str]:
    """Yield an error for each unknown flag, without its value, which may be a secret."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    for name in flags or (["arguments"] if arguments else []):
        yield f"{name}: unknown flag; see --help"


def _misspelt(environment: Iterable[str]) -> Iterable[str]:
    """Yield an error for each misspelt environment variable.

    Settings have no common prefix, so a variable counts as misspelt when its name is very similar to a setting:
    WEB_ENDPOINT does, MY_NODE_NAME does not.
    """
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(set(environment) - known):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.87)
        if close:
            yield f"{name}: no such setting; is it {close[0]}?"


def _described(error: Mapping[str, Any], flags: Mapping[str, object]) -> str:
    """Return one line with the setting and the error, without the value, which may be a secret."""
    message = re.sub(r"^\w+ should ", "must ", error["msg"].removeprefix("Value error, "))
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{variable(name)}: must be set: {Settings.model_fields[name].description}"
    message = _MESSAGES.get(error["type"], message)
    return f"{flag(name) if name in flags else variable(name)}: {message}"


_MESSAGES = {"int_parsing": "must be a whole number", "bool_parsing": "must be true or false"}
"""Type of an error → its message, where that of pydantic is for authors of Python programs."""
