"""The types of settings: how a value is read from text, and checked."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from broker.names import LABEL_NAME, LABEL_VALUE, SUBDOMAIN

_DURATION = r"(\d+(?:\.\d+)?)(ms|s|m|h)"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_EVICTION_SIGNALS = ("memory.available", "nodefs.available", "pid.available")
_THRESHOLD = re.compile(r"(100|\d{1,2}(\.\d+)?)%|(?=.*[1-9])\d+(\.\d+)?([munkMGTPE]|[KMGTPE]i)?", re.ASCII)
_NO_THRESHOLD = ("0%", "100%")
"""Percentages that a kubelet ignores."""
_VERSION = re.compile(r"v\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(rf"({_DURATION})+", value):
        raise ValueError("not a duration such as 500ms, 10s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_DURATION, value))


def _fleet_source(value: str) -> str:
    if value.startswith("configmap:") and not re.fullmatch(r"configmap:[^/:]+/[^/:]+", value):
        raise ValueError("not a ConfigMap such as configmap:default/fleet")
    return value


def _subdomain(value: str) -> str:
    if not SUBDOMAIN.fullmatch(value):
        raise ValueError("must be lower case letters, digits, '-' and '.', with a letter or digit at both ends")
    return value


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError("not a URL such as http://127.0.0.1:3000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or password, which logs would show; use PROVIDER_TOKEN")
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return value


def _ip(value: str) -> str:
    try:
        return value and str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("not an IP address") from None


def _listen_address(value: str) -> str:
    found = re.fullmatch(r"([^:\s]*|\[[0-9a-fA-F:]+\]):(\d{1,5})", value or ":0")
    if not found or int(found[2]) > 65535:
        raise ValueError("not an address such as :10255 or 127.0.0.1:10255")
    return value


def _label_name(value: str) -> str:
    if not LABEL_NAME.fullmatch(value):
        raise ValueError("not a key such as example.com/name")
    return value


def _label_value(value: str) -> str:
    if not LABEL_VALUE.fullmatch(value):
        raise ValueError("at most 63 letters, digits, '-', '_' and '.'")
    return value


def _labels(value: object) -> object:
    if not isinstance(value, str):
        return value
    labels = {}
    for pair in filter(None, value.split(",")):
        name, equals, text = pair.strip().partition("=")
        if not (equals and LABEL_NAME.fullmatch(name) and LABEL_VALUE.fullmatch(text)):
            raise ValueError("not labels such as zone=a,disk=ssd")
        labels[name] = text
    return labels


def _thresholds(value: object) -> object:
    if not isinstance(value, str):
        return value
    thresholds = {}
    for pair in filter(None, value.split(",")):
        signal, less_than, text = (part.strip() for part in pair.partition("<"))
        if not less_than:
            raise ValueError("not thresholds such as memory.available<100Mi,nodefs.available<10%")
        if signal not in _EVICTION_SIGNALS:
            raise ValueError(f"the signals are {', '.join(_EVICTION_SIGNALS)}")
        if not _THRESHOLD.fullmatch(text):
            raise ValueError(f"{signal}: not a quantity above 0, such as 100Mi, or a percentage up to 100%")
        thresholds[signal] = text
    return {signal: text for signal, text in thresholds.items() if text not in _NO_THRESHOLD}


def _version(value: str) -> str:
    if not _VERSION.fullmatch(value):
        raise ValueError("not a version such as v1.36.0")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds)]
FleetSource = Annotated[str, AfterValidator(_fleet_source)]
NodeName = Annotated[str, AfterValidator(_subdomain)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Token = Annotated[SecretStr, AfterValidator(_token)]
IPAddress = Annotated[str, AfterValidator(_ip)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
LabelName = Annotated[str, AfterValidator(_label_name)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
Labels = Annotated[Mapping[str, str], BeforeValidator(_labels)]
Thresholds = Annotated[Mapping[str, str], BeforeValidator(_thresholds)]
Version = Annotated[str, AfterValidator(_version)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
