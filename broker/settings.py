"""The settings: read once, from flags and the environment, at the entry point, into a frozen object."""

import argparse
import difflib
import ipaddress
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from broker import __version__
from broker.errors import ConfigurationError

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
"""The environment variables that are not the field's own name in capitals; most are the original broker's."""
_SPELLINGS = {
    "node_name": "--nodename",
    "operating_system": "--os",
    "labels": "--node-labels",
    "workers": "--pod-sync-workers",
}
"""Flags that are accepted beside the field's own name."""
_SECRETS = frozenset({"provider_token"})
"""No flags: any user of the machine sees those."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_VERSION = re.compile(r"v\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


def _to_seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    if not match:
        raise ValueError("not a duration such as 500ms, 10s or 2m")
    return float(match[1]) * _UNITS[match[2]]


Seconds = Annotated[float, BeforeValidator(_to_seconds)]


class Settings(BaseModel, frozen=True, extra="forbid"):
    """What can be set: by a flag, else by an environment variable.

    The description of a field is its documentation: `--help` prints it.
    """

    node_name: str = Field(default="virtual-kubelet-web", max_length=253, description="name of the node")
    web_endpoint_url: str = Field(description="URL of the provider, such as http://127.0.0.1:3000")
    provider_token: SecretStr | None = Field(
        default=None, description="secret that every request to the provider bears; none by default"
    )
    provider_timeout: Annotated[Seconds, Field(gt=0, le=300)] = Field(
        default=30.0, description="how long the provider may take for an answer"
    )
    status_interval: Annotated[Seconds, Field(ge=0.1, le=300)] = Field(
        default=5.0, description="how often a provider that has no /podStatuses is asked for each pod's status"
    )
    kubeconfig: str | None = Field(
        default=None,
        description="the cluster; by default the one that this runs in, else the one of ~/.kube/config",
    )
    pod_ip: str | None = Field(
        default=None,
        description="address at which the API server reaches this program; goes before the provider's InternalIP",
    )
    kubelet_host: str | None = Field(
        default=None, description="address that the kubelet API listens on; every one by default"
    )
    kubelet_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=10250, description="port of the kubelet API (HTTPS); 0 for any that is free"
    )
    tls_cert_file: Path | None = Field(
        default=None, description="certificate of the kubelet API, in PEM; self-signed by default"
    )
    tls_key_file: Path | None = Field(default=None, description="key of that certificate, in PEM")
    client_ca_file: Path | None = Field(
        default=None, description="authority whose client certificates the kubelet API accepts, in PEM"
    )
    authentication: bool = Field(default=True, description="ask a caller of the kubelet API who it is")
    authorization: bool = Field(default=True, description="ask the API server whether that caller may")
    metrics_addr: str | None = Field(
        default=None,
        description="address such as :10255 that has metrics and stats over HTTP, open to all; off by default",
    )
    taint_key: str = Field(
        default="virtual-kubelet.io/provider",
        description="key of the taint that keeps pods away which do not tolerate it",
    )
    taint_value: str = Field(default="web", description="value of the taint")
    taint_effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="NoSchedule", description="NoSchedule, PreferNoSchedule or NoExecute"
    )
    disable_taint: bool = Field(default=False, description="have no taint")
    labels: Mapping[str, str] = Field(
        default={}, description="labels of the node beside its own, such as zone=a,disk=ssd"
    )
    operating_system: Literal["linux", "windows"] = Field(
        default="linux", description="linux or windows, as pods select it"
    )
    architecture: str = Field(
        default_factory=lambda: _ARCHITECTURES.get(platform.machine(), platform.machine()),
        description="such as amd64 or arm64, as pods select it; this machine's by default",
    )
    kubelet_version: str = Field(default="v1.36.0", description="version of Kubernetes that the node says it is")
    daemon_sets: bool = Field(default=True, description="run the pods of DaemonSets")
    workers: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=32, description="how many pods are worked on at once"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console on a terminal"
    )

    @classmethod
    def load(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Read flags and environment.

        Raises:
            ConfigurationError: something is wrong or misspelt; a line for each names it, with no value of it.
            SystemExit: the flags asked for `--help` or `--version`, which has been printed.
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

    @property
    def taint(self) -> dict[str, str] | None:
        """The taint, as a Node has it; None where it is disabled."""
        if self.disable_taint:
            return None
        return {"key": self.taint_key, "value": self.taint_value, "effect": self.taint_effect}

    @field_validator("node_name")
    @classmethod
    def _is_subdomain(cls, value: str) -> str:
        if not _SUBDOMAIN.fullmatch(value):
            raise ValueError(
                "a node's name is lower case letters, digits, '-' and '.', a letter or digit at both ends"
            )
        return value

    @field_validator("web_endpoint_url")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment:
            raise ValueError("not a URL such as http://127.0.0.1:3000")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "has a user or a password in it, which logs would show; PROVIDER_TOKEN is for secrets"
            )
        return value.rstrip("/")

    @field_validator("provider_token")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces, as a header can carry it")
        return value

    @field_validator("pod_ip", "kubelet_host")
    @classmethod
    def _is_ip(cls, value: str | None) -> str | None:
        try:
            return value and str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("not an IP address") from None

    @field_validator("metrics_addr")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        found = re.fullmatch(r"([^:\s]*|\[[0-9a-fA-F:]+\]):(\d{1,5})", value or ":0")
        if not found or int(found[2]) > 65535:
            raise ValueError("not an address such as :10255 or 127.0.0.1:10255")
        return value

    @field_validator("taint_key")
    @classmethod
    def _is_label_name(cls, value: str) -> str:
        if not _LABEL_NAME.fullmatch(value):
            raise ValueError("not a key such as example.com/name")
        return value

    @field_validator("taint_value")
    @classmethod
    def _is_label_value(cls, value: str) -> str:
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError("at most 63 letters, digits, '-', '_' and '.'")
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _are_labels(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        labels = {}
        for pair in filter(None, value.split(",")):
            name, equals, text = pair.strip().partition("=")
            if not (equals and _LABEL_NAME.fullmatch(name) and _LABEL_VALUE.fullmatch(text)):
                raise ValueError("not labels such as zone=a,disk=ssd")
            labels[name] = text
        return labels

    @field_validator("kubelet_version")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if not _VERSION.fullmatch(value):
            raise ValueError("not a version such as v1.36.0")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _is_level(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("APISERVER_CERT_LOCATION, APISERVER_KEY_LOCATION: one needs the other")
        if self.authorization and not self.authentication:
            raise ValueError("AUTHENTICATION: without it nobody can be authorized; disable AUTHORIZATION as well")
        return self


def variable(name: str) -> str:
    """Give the environment variable of a setting."""
    return _VARIABLES.get(name, name.upper())


def flag(name: str) -> str:
    """Give the flag of a setting."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(message)


def _parser() -> argparse.ArgumentParser:
    """Make flags of the settings: `--flag value` and `--flag=value`; of a boolean, also `--flag` alone."""
    parser = _Parser(
        prog="vkweb broker",
        description="A Kubernetes node whose pods run at a web provider.",
        epilog="Each flag can be given as the environment variable in capitals. "
        f"By the environment only: PROVIDER_TOKEN, {_help('provider_token')}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--provider", choices=["web"], help="accepted for compatibility: it is always web")
    for name, field in Settings.model_fields.items():
        if name not in _SECRETS:
            spellings = [flag(name), *filter(None, [_SPELLINGS.get(name)])]
            lone = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
            parser.add_argument(*spellings, dest=name, metavar=variable(name), help=_help(name), **lone)  # type: ignore[arg-type]  # argparse's overloads know no dict
    return parser


def _help(name: str) -> str:
    field = Settings.model_fields[name]
    default = field.default
    if field.is_required():
        told = " (required)"
    elif default is None or default == {} or field.default_factory:
        told = ""  # the description says what holds then
    elif isinstance(default, bool):
        told = f" ({str(default).lower()})"
    else:
        told = f" ({default:g}s)" if isinstance(default, float) else f" ({default})"
    return f"{field.description}{told}"


def _unknown(arguments: Sequence[str]) -> Iterable[str]:
    """Name what is no flag; not its value, for somebody may have tried to give a secret."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    for name in flags or (["arguments"] if arguments else []):
        yield f"{name}: no such flag; --help lists them all"


def _misspelt(environment: Iterable[str]) -> Iterable[str]:
    """Find variables that are nearly a setting.

    Settings have no prefix of their own to tell them from other variables, so a name counts as misspelt
    when it is very like a known one: WEB_ENDPOINT is, MY_NODE_NAME is not.
    """
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(set(environment) - known):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.87)
        if close:
            yield f"{name}: no such setting; is it {close[0]}?"


def _described(error: Mapping[str, Any], flags: Mapping[str, object]) -> str:
    """Say in a line which setting is wrong and why; never with the value, which may be a secret."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return str(message)
    name = str(error["loc"][0])
    if error["type"] == "missing":
        return f"{variable(name)}: must be set: {Settings.model_fields[name].description}"
    return f"{flag(name) if name in flags else variable(name)}: {message}"
