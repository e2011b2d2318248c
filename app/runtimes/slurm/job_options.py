"""The options of sbatch for a pod: resources, time limit, priority and annotations.

Every value is checked against a pattern and becomes one word of a command, so none reaches a shell. What cannot be
honored is refused with the name of the field.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from app.core.errors import InvalidRequest
from app.core.quantity import parse_quantity
from app.core.settings import Settings
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodSpec, ResourceRequirements
from app.kubernetes.resources import container_requests, peak_request, pod_requests

PREFIX = "slurm.virtual-kubelet.io/"
"""The prefix of annotations, and of labels in a node selector."""

_MEBIBYTE = 1024 * 1024
_KUBERNETES = ("cpu", "memory", "ephemeral-storage")
_LEAST_NICE = -2_147_483_645


class _Option(NamedTuple):
    """An option of sbatch, and the pattern of its value."""

    name: str
    pattern: re.Pattern[str]


_NAME = re.compile(r"[A-Za-z0-9][\w.@+-]{0,127}")
OPTIONS: Mapping[str, _Option] = MappingProxyType(
    {
        "partition": _Option("--partition", re.compile(r"[A-Za-z0-9][\w.-]{0,63}(,[A-Za-z0-9][\w.-]{0,63})*")),
        "account": _Option("--account", _NAME),
        "qos": _Option("--qos", _NAME),
        "constraint": _Option("--constraint", re.compile(r"[A-Za-z0-9\[(][\w.&|,:*()\[\]-]{0,255}")),
        "reservation": _Option("--reservation", _NAME),
        "nodes": _Option("--nodes", re.compile(r"[1-9]\d{0,5}(-[1-9]\d{0,5})?")),
    }
)
"""Annotation, without its prefix → option."""

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "contiguous": "--contiguous",
        "exclusive": "--exclusive",
        "hold": "--hold",
        "nomultithread": "--hint=nomultithread",
        "overcommit": "--overcommit",
        "requeue": "--requeue",
        "spread-job": "--spread-job",
        "use-min-nodes": "--use-min-nodes",
    }
)
"""A word of the annotation `flags` → option."""
_OTHERS = ("flags", "user")


class _Spec(msgspec.Struct, rename="camel", frozen=True):
    node_selector: dict[str, str] | None = None
    priority: int | None = None


class _Pod(msgspec.Struct, frozen=True):
    spec: _Spec


_DECODER = msgspec.json.Decoder(_Pod)


def job_options(manifest: Manifest, settings: Settings) -> list[str]:
    """Return the options of sbatch for a pod.

    Raises:
        InvalidRequest: Slurm cannot give what the pod asks for, or an annotation is invalid.
    """
    try:
        spec = _DECODER.decode(manifest.text).spec
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)) from exc
    annotations = _annotations(manifest)
    selected = {
        name.removeprefix(PREFIX): value
        for name, value in (spec.node_selector or {}).items()
        if name.removeprefix(PREFIX) in OPTIONS and name.startswith(PREFIX)
    }
    flags = annotations.pop("flags", "")
    annotations.pop("user", None)
    options = {**selected, **annotations}
    if settings.slurm_partitions:
        options.setdefault("partition", settings.slurm_partitions[0])
    _check_partition(options.get("partition", ""), settings)
    return [
        *_resources(manifest.pod.spec, settings),
        *_time_limit(manifest.pod.spec),
        *_nice(spec.priority),
        *(_option(name, value) for name, value in sorted(options.items())),
        *_flags(flags),
    ]


def _annotations(manifest: Manifest) -> dict[str, str]:
    found = {}
    for name, value in (manifest.pod.metadata.annotations or {}).items():
        short = name.removeprefix(PREFIX)
        if short == name:
            continue
        if short not in OPTIONS and short not in _OTHERS:
            known = ", ".join(sorted([*OPTIONS, *_OTHERS]))
            raise InvalidRequest(f"no such annotation; there are {known}", field=f"metadata.annotations[{name}]")
        if value:
            found[short] = value
    return found


def _option(name: str, value: str) -> str:
    option = OPTIONS[name]
    if not option.pattern.fullmatch(value):
        message = f"is not a value of sbatch's {option.name}"
        raise InvalidRequest(message, field=f"metadata.annotations[{PREFIX}{name}]")
    return f"{option.name}={value}"


def _check_partition(value: str, settings: Settings) -> None:
    chosen = settings.slurm_partitions
    if chosen and value and not set(value.split(",")) <= set(chosen):
        raise InvalidRequest("is not a partition of this node", field=f"metadata.annotations[{PREFIX}partition]")


def _flags(text: str) -> Iterator[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not set(words) <= FLAGS.keys():
        known = ", ".join(FLAGS)
        raise InvalidRequest(
            f"has an unknown word; there are {known}", field=f"metadata.annotations[{PREFIX}flags]"
        )
    if "requeue" not in words:
        yield "--no-requeue"
    yield from (FLAGS[word] for word in words)


def _resources(spec: PodSpec, settings: Settings) -> Iterator[str]:
    requests = pod_requests(spec)
    yield f"--cpus-per-task={max(1, -(-requests.cpu_millicores // 1000))}"
    if requests.memory_bytes:
        yield f"--mem={-(-requests.memory_bytes // _MEBIBYTE)}M"
    generic = _extended_resources(spec, settings.slurm_gres)
    if generic:
        yield f"--gres={','.join(f'{name}:{count}' for name, count in sorted(generic.items()))}"


def _extended_resources(spec: PodSpec, table: Mapping[str, str]) -> dict[str, int]:
    """Return GRES → count."""
    containers = list(container_requests(spec, partial(_generic, table)))
    names = {name for container in containers for name in container.amounts}
    return {name: int(count) for name in names if (count := peak_request(name, containers))}


def _generic(
    table: Mapping[str, str], resources: ResourceRequirements | None, *, field: str
) -> dict[str, Decimal]:
    amounts = {**(resources.limits or {}), **(resources.requests or {})} if resources else {}
    found = {}
    for name, amount in amounts.items():
        if name in _KUBERNETES:
            continue
        if name not in table:
            raise InvalidRequest("is not a resource of Slurm; see SLURM_GRES", field=f"{field}[{name}]")
        try:
            count = parse_quantity(str(amount))
        except ValueError as exc:
            raise InvalidRequest(str(exc), field=f"{field}[{name}]") from exc
        found[table[name]] = count.to_integral_value(ROUND_CEILING)
    return found


def _time_limit(spec: PodSpec) -> Iterator[str]:
    """Yield the limit, in whole minutes: the shim ends the pod exactly, so Slurm gives it the grace period too."""
    if spec.active_deadline_seconds is not None:
        seconds = spec.active_deadline_seconds + spec.grace.total_seconds()
        yield f"--time={int(-(-seconds // 60)) or 1}"


def _nice(priority: int | None) -> Iterator[str]:
    """Yield how much a pod with a negative priority steps back; raising a priority needs an operator in Slurm."""
    if priority is not None and priority < 0:
        yield f"--nice={-max(priority, _LEAST_NICE)}"
