"""What a pod's annotations ask of its synthetic life; `docs/synthetic.md` is the page for users.

`synthetic.virtual-kubelet.io/run-for` is for every container of `spec.containers`, and
`run-for.synthetic.virtual-kubelet.io/web` for the container `web`, of whichever kind it is. The container's
name stands alone behind the slash, as AppArmor's annotations had it: so the longest name of a container still
makes a valid annotation, whose name has at most 63 characters.
"""

import difflib
import hashlib
from collections.abc import Callable
from datetime import timedelta
from math import ceil
from typing import Any, Literal, get_args

import msgspec

from app.core.timestamps import parse_duration
from app.kubernetes.pod import Container, Pod

DOMAIN = "synthetic.virtual-kubelet.io"
StartFailure = Literal["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"]
RunFailure = Literal["CrashLoopBackOff", "OOMKilled", "StartupProbe", "ReadinessProbe", "LivenessProbe"]
PodFailureReason = Literal["Evicted", "NodeLost"]
_PROBES = {"StartupProbe": "startup_probe", "ReadinessProbe": "readiness_probe", "LivenessProbe": "liveness_probe"}
_OF_A_CONTAINER = get_args(StartFailure) + get_args(RunFailure)
_OF_THE_POD = get_args(PodFailureReason)


class ContainerOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one container. Durations are whole seconds, as a status tells no finer.

    Attributes:
        run_for: from its start to its end, at least 1; None where nothing is said.
        exit_code: 0 to 255.
        fail: what goes wrong.
        fail_after: from its start until that happens, at least 1.
        stop_after: how long it takes to end when it is told to.
        logs: what it writes.
    """

    run_for: int | None = None
    exit_code: int | None = None
    fail: StartFailure | RunFailure | None = None
    fail_after: int | None = None
    stop_after: int = 0
    logs: str | None = None


class PodOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a pod.

    Attributes:
        start_delay: from its arrival to its containers' start; None where nothing is said.
        jitter: at most so much is added to `start_delay` and to `run_for`.
        fail: what happens to the whole pod.
        fail_after: seconds from its start until that happens; None where nothing is said.
        containers: name → overrides, for those that have any.
        problems: what could not be understood, each naming an annotation.
    """

    start_delay: timedelta | None = None
    jitter: timedelta = timedelta(0)
    fail: PodFailureReason | None = None
    fail_after: int | None = None
    containers: dict[str, ContainerOverrides] = {}
    problems: tuple[str, ...] = ()


NO_POD_OVERRIDES = PodOverrides()
NO_OVERRIDES = ContainerOverrides()


def parse_annotations(pod: Pod) -> PodOverrides:
    """Read a pod's annotations.

    A value that cannot be understood counts as not given, and becomes a problem that does not quote it.
    """
    annotations = pod.metadata.annotations
    if not annotations or not any(DOMAIN in key for key in annotations):
        return NO_POD_OVERRIDES
    reader = _AnnotationReader(pod)
    for key, value in sorted(annotations.items()):
        reader.read(key, value or "")
    return reader.overrides()


def jitter(uid: str, *what: str) -> float:
    """Draw a number from 0 to 1 for a pod, the same one every time."""
    digest = hashlib.sha256("\0".join((uid, *what)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class _AnnotationReader:
    """Sorts annotations into what they are for."""

    def __init__(self, pod: Pod) -> None:
        spec = pod.spec
        self._containers = {container.name: container for container in spec.all_containers}
        self._regular = [container.name for container in spec.containers]
        self._of_pod: dict[str, Any] = {}
        self._of_all: dict[str, Any] = {}
        self._of_one: dict[str, dict[str, Any]] = {}
        self._problems: list[str] = []

    def read(self, key: str, value: str) -> None:
        prefix, _, name = key.partition("/")
        try:
            if prefix == DOMAIN:
                self._read_for_pod(name, value)
            elif prefix.endswith(f".{DOMAIN}"):
                self._read_for_container(prefix.removesuffix(f".{DOMAIN}"), name, value)
        except ValueError as exc:
            self._problems.append(f"{key}: {exc}")

    def overrides(self) -> PodOverrides:
        overrides = {name: dict(self._of_all) for name in self._regular} if self._of_all else {}
        for name, own in self._of_one.items():
            overrides[name] = {**overrides.get(name, {}), **own}
        for name, known in overrides.items():
            if not _can_fail(self._containers[name], known.get("fail")):
                del known["fail"]
        return PodOverrides(
            **self._of_pod,
            fail_after=self._of_all.get("fail_after"),
            containers={name: ContainerOverrides(**known) for name, known in overrides.items()},
            problems=tuple(self._problems),
        )

    def _read_for_pod(self, name: str, value: str) -> None:
        if name in POD_ONLY:
            self._of_pod[_field(name)] = POD_ONLY[name](value)
        elif name == "fail" and value.strip() in _OF_THE_POD:
            self._of_pod["fail"] = value.strip()
        elif name in PER_CONTAINER:
            known = PER_CONTAINER[name](value)
            if name == "fail" and not any(_can_fail(self._containers[c], known) for c in self._regular):
                raise ValueError("no container has such a probe")
            self._of_all[_field(name)] = known
        else:
            raise ValueError(_unknown(name, [*POD_ONLY, *PER_CONTAINER]))

    def _read_for_container(self, name: str, container: str, value: str) -> None:
        if name in POD_ONLY:
            raise ValueError(f"is for the whole pod: {DOMAIN}/{name}")
        if name not in PER_CONTAINER:
            raise ValueError(_unknown(name, list(PER_CONTAINER)))
        if container not in self._containers:
            raise ValueError("the pod has no such container")
        if name == "fail" and value.strip() in _OF_THE_POD:
            raise ValueError(f"that happens to the whole pod: {DOMAIN}/{name}")
        known = PER_CONTAINER[name](value)
        if name == "fail" and not _can_fail(self._containers[container], known):
            raise ValueError("the container has no such probe")
        self._of_one.setdefault(container, {})[_field(name)] = known


def _field(annotation: str) -> str:
    return annotation.replace("-", "_")


def _can_fail(container: Container, fail: str | None) -> bool:
    """A probe fails only where there is one."""
    return fail not in _PROBES or getattr(container, _PROBES[fail]) is not None


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"no such annotation; is it {close[0]}?" if close else f"no such annotation; there are {', '.join(known)}"
    )


def _seconds(text: str, *, least: int) -> int:
    return max(least, ceil(parse_duration(text).total_seconds()))


def _exit_code(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 255:
        raise ValueError("must be a number from 0 to 255")
    return int(text)


def _fail(text: str) -> str:
    if text.strip() not in _OF_A_CONTAINER:
        raise ValueError(f"must be one of {', '.join(_OF_A_CONTAINER + _OF_THE_POD)}")
    return text.strip()


POD_ONLY: dict[str, Callable[[str], Any]] = {"start-delay": parse_duration, "jitter": parse_duration}
"""How the annotations are read that are for the whole pod, by their names."""
PER_CONTAINER: dict[str, Callable[[str], Any]] = {
    "run-for": lambda text: _seconds(text, least=1),
    "exit-code": _exit_code,
    "fail": _fail,
    "fail-after": lambda text: _seconds(text, least=1),
    "stop-after": lambda text: _seconds(text, least=0),
    "logs": str,
}
"""How the others are read."""
