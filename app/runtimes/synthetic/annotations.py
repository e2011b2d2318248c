"""Parse the annotations that control a simulated pod; users find them in `docs/synthetic.md`.

`synthetic.virtual-kubelet.io/run-for` applies to every container of `spec.containers`, and
`run-for.synthetic.virtual-kubelet.io/web` to the container `web`, of any kind. The name part of an annotation has
at most 63 characters, as has a container's name; the container's name is therefore the whole name part, as in
AppArmor's annotations.
"""

import difflib
import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from math import ceil
from typing import Annotated, Any, Literal, get_args

import msgspec

from app.core.timestamps import parse_duration
from app.kubernetes.pod import Container, Pod
from app.runtimes.synthetic.curves.parse import Load, parse_cpu, parse_memory

DOMAIN = "synthetic.virtual-kubelet.io"
StartFailure = Literal["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"]
RunFailure = Literal[
    "CrashLoopBackOff", "OOMKilled", "StartupProbe", "ReadinessProbe", "LivenessProbe", "PostStartHook"
]
PodFailureReason = Literal["Evicted", "NodeLost"]
_PROBES = {"StartupProbe": "startup_probe", "ReadinessProbe": "readiness_probe", "LivenessProbe": "liveness_probe"}
_CONTAINER_FAILURES = get_args(StartFailure) + get_args(RunFailure)
_POD_FAILURES = get_args(PodFailureReason)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a command that is executed in a container.

    Attributes:
        command: the pattern of the command, its words joined by spaces; `*` matches any text.
        delay: the time before the reply.
    """

    command: str
    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    delay: timedelta = timedelta(0)


class ContainerOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """The annotations of one container. Durations are in whole seconds, as in a status; None means unset.

    Attributes:
        run_for: the time from its start to its end, at least 1.
        exit_code: 0 to 255.
        fail: the failure.
        fail_after: the time from its start to the failure; a run or a pod that ends by it lasts at least 1.
        stop_after: the time from SIGTERM to its end.
        logs: the text of its log.
        exec: the replies to commands; the first that matches is used.
        usage_cpu: its CPU, in cores.
        usage_memory: its memory, in bytes.
    """

    run_for: int | None = None
    exit_code: int | None = None
    fail: StartFailure | RunFailure | None = None
    fail_after: int | None = None
    stop_after: int = 0
    logs: str | None = None
    exec: tuple[Reply, ...] = ()
    usage_cpu: Load | None = None
    usage_memory: Load | None = None


class PodOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """The annotations of a pod. None means unset.

    Attributes:
        start_delay: the time from its acceptance to the start of its containers.
        start_delay_factor: the factor of the start delay, whether of the annotation or of the settings.
        jitter: the maximum that is added to `start_delay` and to `run_for`.
        fail: the failure of the whole pod.
        fail_after: the seconds from its start to the failure.
        containers: name → overrides, for containers that have any.
        problems: the annotations that are invalid, each with the reason.
    """

    start_delay: timedelta | None = None
    start_delay_factor: float = 1.0
    jitter: timedelta = timedelta(0)
    fail: PodFailureReason | None = None
    fail_after: int | None = None
    containers: dict[str, ContainerOverrides] = {}
    problems: tuple[str, ...] = ()


NO_POD_OVERRIDES = PodOverrides()
NO_OVERRIDES = ContainerOverrides()


def parse_annotations(pod: Pod) -> PodOverrides:
    """Parse a pod's annotations.

    An invalid value is ignored and reported as a problem, without the value.
    """
    annotations = pod.metadata.annotations
    if not annotations or not any(DOMAIN in key for key in annotations):
        return NO_POD_OVERRIDES
    reader = _AnnotationReader(pod)
    for key, value in sorted(annotations.items()):
        reader.read(key, value or "")
    return reader.overrides()


def jitter(uid: str, *purpose: str) -> float:
    """Return a number from 0 to 1 that depends on the pod's UID and the purpose only."""
    digest = hashlib.sha256("\0".join((uid, *purpose)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class _AnnotationReader:
    """Collects the annotations of the pod, of all containers and of single containers."""

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
        elif name == "fail" and value.strip() in _POD_FAILURES:
            self._of_pod["fail"] = value.strip()
        elif name in PER_CONTAINER:
            known = PER_CONTAINER[name](value)
            if name == "fail" and not any(_can_fail(self._containers[c], known) for c in self._regular):
                raise ValueError("no container has such a probe or hook")
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
        if name == "fail" and value.strip() in _POD_FAILURES:
            raise ValueError(f"that happens to the whole pod: {DOMAIN}/{name}")
        known = PER_CONTAINER[name](value)
        if name == "fail" and not _can_fail(self._containers[container], known):
            raise ValueError("the container has no such probe or hook")
        self._of_one.setdefault(container, {})[_field(name)] = known


def _field(annotation: str) -> str:
    return annotation.replace("-", "_")


def _can_fail(container: Container, fail: str | None) -> bool:
    """Return whether a container can have a failure: that of a probe or a hook requires the probe or the hook."""
    if fail == "PostStartHook":
        return container.lifecycle is not None and container.lifecycle.post_start is not None
    return fail not in _PROBES or getattr(container, _PROBES[fail]) is not None


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return (
        f"no such annotation; is it {close[0]}?" if close else f"no such annotation; there are {', '.join(known)}"
    )


def _seconds(text: str, *, least: int) -> int:
    return max(least, ceil(parse_duration(text).total_seconds()))


def _factor(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text.strip(), re.ASCII):
        raise ValueError("must be a number such as 10 or 2.5")
    return float(text)


def _exit_code(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > 255:
        raise ValueError("must be a number from 0 to 255")
    return int(text)


def _fail(text: str) -> str:
    if text.strip() not in _CONTAINER_FAILURES:
        raise ValueError(f"must be one of {', '.join(_CONTAINER_FAILURES + _POD_FAILURES)}")
    return text.strip()


class _Reply(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A reply in the annotation."""

    stdout: str = ""
    stderr: str = ""
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    delay: str = "0s"


# msgspec prepares a type on first use, and a process in which two threads do so at once crashes.
_REPLIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REPLY = msgspec.json.Decoder(str | _Reply)


def _replies(text: str) -> tuple[Reply, ...]:
    try:
        replies = _REPLIES.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("must be a JSON object: command → output") from None
    return tuple(_reply(command, raw) for command, raw in replies.items())


def _reply(command: str, raw: msgspec.Raw) -> Reply:
    try:
        reply = _REPLY.decode(raw)
        if isinstance(reply, str):
            return Reply(command=command, stdout=reply)
        return Reply(
            command=command,
            stdout=reply.stdout,
            stderr=reply.stderr,
            exit_code=reply.exit_code,
            delay=parse_duration(reply.delay),
        )
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise ValueError(
            f"{command[:64]!r} must be an output, or an object of stdout, stderr, exitCode (0 to 255), delay"
        ) from None


POD_ONLY: dict[str, Callable[[str], Any]] = {
    "start-delay": parse_duration,
    "start-delay-factor": _factor,
    "jitter": parse_duration,
}
"""The parsers of the annotations for the whole pod: name → parser."""
PER_CONTAINER: dict[str, Callable[[str], Any]] = {
    "run-for": lambda text: _seconds(text, least=1),
    "exit-code": _exit_code,
    "fail": _fail,
    "fail-after": lambda text: _seconds(text, least=0),
    "stop-after": lambda text: _seconds(text, least=0),
    "logs": str,
    "exec": _replies,
    "usage-cpu": parse_cpu,
    "usage-memory": parse_memory,
}
"""The parsers of the annotations for containers: name → parser."""
