"""A runtime of processes: it starts one shim per pod, and builds statuses from the shim's observations."""

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import structlog

from app.core.errors import ConfigurationError, InvalidRequest
from app.core.settings import Settings
from app.kubernetes.env import CONFIG_ERROR
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodReference
from app.kubernetes.stats import NodeStats
from app.kubernetes.status import PodStatus, Transition
from app.kubernetes.volumes import Volume
from app.runtimes.base import AcceptedPod, LogLine, Runtime, Timeline
from app.runtimes.observed import (
    Observation,
    ObservedContainer,
    build_lost_status,
    build_observed_status,
    build_problem_status,
    has_started,
    observed_transitions,
    with_new_containers,
)
from app.runtimes.process.logs import read_log
from app.runtimes.process.machine import Machine
from app.runtimes.process.plan import inherited_variables, plan
from app.runtimes.process.pod_dir import PodDirectory, ShimError, microseconds
from app.runtimes.process.shim.record import StopRequest
from app.runtimes.process.spec import check_uid, decode_spec, missing_objects, ordered_containers, validate_spec
from app.runtimes.process.streams import PodStreams, ShimStreams
from app.runtimes.process.usage import ProcessUsage
from app.runtimes.process.volumes import put_volumes, sweep
from app.runtimes.streams import Session, StreamOptions
from app.runtimes.usage import EarlierUsage

_KEPT = timedelta(minutes=10)
"""How long the files of a deleted pod are kept."""
_SWEEP_SECONDS = 60.0
"""The shortest time between two searches for files of UIDs that were not created."""
_PODS = 110
"""The default of a kubelet's `maxPods`."""

log = structlog.get_logger("app")


class ProcessRuntime(Runtime):
    """Runs the command of each container as a process of this machine.

    A shim per pod runs them and survives this server; see :mod:`app.runtimes.process.shim`. Files hold all state.
    """

    has_pod_network = False
    computes_ahead = False
    keeps_logs = _KEPT
    reports_usage = True
    keeps_deadlines = True
    waits_for_environments = True
    reports_node_usage = True
    scheme: ClassVar[str] = "process"
    """The prefix of container IDs, before `://`."""
    takes_volumes = True
    back_off: ClassVar[tuple[timedelta, timedelta]] = (timedelta(seconds=10), timedelta(seconds=300))
    """The first and the longest delay before a restart, the same as a kubelet's."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._root = settings.runtime_directory.absolute()
        if not sys.platform.startswith("linux"):
            raise ConfigurationError("RUNTIME: ProcessRuntime needs Linux")
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk = shutil.disk_usage(self._root).total
        except OSError as exc:
            raise ConfigurationError(f"RUNTIME_DIRECTORY: {self._root}: {exc.strerror}") from exc
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise ConfigurationError(f"RUNTIME_DIRECTORY: {self._root}: may not be written")
        self._sweep()
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._machine = Machine(self._root)
        self._capacity = {
            "cpu": str(len(os.sched_getaffinity(0))),
            "memory": f"{memory // 1024}Ki",
            "ephemeral-storage": f"{disk // 1024}Ki",
            "pods": str(_PODS),
        }

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Accept a pod whose containers can all run as processes. The pod is pending until its shim starts.

        Raises:
            InvalidRequest: a field is not supported.
        """
        validate_spec(pod.manifest, user=self._user(pod.manifest))
        status = build_observed_status(pod, Observation(now), at=now, scheme=self.scheme)
        return Timeline([Transition(now, status)], continues_at=now)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Accept a change that affects no running process: labels, images, environments, deadline, grace period.

        Ephemeral containers can be added.

        Raises:
            InvalidRequest: the change affects a process.
        """
        spec = validate_spec(pod.manifest, user=self._user(pod.manifest))
        if not spec.extends(decode_spec(before)):
            raise InvalidRequest("a running pod cannot be changed; delete and create it again", field="spec")
        status = with_new_containers(pod, _observed(current.status, pod.manifest))
        return Timeline([Transition(now, status)], continues_at=now)

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """Return an empty timeline that continues at once; the end is reported when the shim observes it."""
        return Timeline([], continues_at=now)

    def sync(self, pod: AcceptedPod) -> None:
        """Start the pod's shim or send it the changed pod, or request its stop if the pod is deleted.

        Raises:
            ShimError: the files cannot be written, or the shim could not be started.
        """
        directory = self._directory(pod)
        if pod.deletion_requested_at is None and directory.has_shim:
            directory.send_plan(self._plan(pod, directory))
        self._ensure_shim(directory, pod, may_start=pod.deletion_requested_at is None)

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Return the transitions of new observations; start the shim if it is missing. None if nothing changed."""
        try:
            return self._advance(pod, current=current, now=now)
        except ShimError as exc:
            log.warning("cannot reconcile a pod", uid=pod.manifest.pod.metadata.uid, problem=str(exc))
            at = current.next_timestamp(now)
            status = build_problem_status(pod, str(exc), at=at, previous=current.status)
            if pod.deletion_requested_at or has_started(current.status) or status == current.status:
                return None
            return Timeline([Transition(at, status)], continues_at=now)

    def _advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        directory = self._directory(pod)
        observations = directory.observations()
        if not _is_final(observations):
            # A pod that has run and lost its state file is not run again, nor is one of another runtime.
            may_start = (
                pod.deletion_requested_at is None
                and not has_started(current.status)
                and self._can_run(pod.manifest)
            )
            has_shim = self._ensure_shim(directory, pod, may_start=may_start)
            observations = directory.observations()
            if has_shim and not observations:
                return None
            if has_shim and missed_update(observations[-1], pod.manifest):
                directory.send_plan(self._plan(pod, directory))
        transitions = list(observed_transitions(pod, observations, current=current, scheme=self.scheme))
        if not observations:
            at = current.next_timestamp(now)
            lost = build_lost_status(pod, at=at, previous=current.status)
            transitions = [Transition(at, lost)] if lost != current.status else []
        if observations and not _is_final(observations):
            return Timeline(transitions, continues_at=now) if transitions else None
        return self._end(pod, directory, transitions, now=now)

    def _end(
        self, pod: AcceptedPod, directory: PodDirectory, transitions: list[Transition], *, now: datetime
    ) -> Timeline | None:
        """Return the timeline of a pod that has ended. Its files are removed some time after its deletion."""
        if pod.deletion_requested_at is None:
            return Timeline(transitions)
        remove_at = pod.deletion_requested_at + _KEPT
        if transitions or now < remove_at:
            return Timeline(transitions, continues_at=remove_at)
        return Timeline([]) if directory.remove() else None

    def put_volumes(self, pod: PodReference, volumes: Sequence[Volume]) -> None:
        """Write the files of volumes. Those of UIDs that are not created are removed by :meth:`conditions`.

        Raises:
            InvalidRequest: the UID cannot name a directory.
            ShimError: the files cannot be written, or another request writes them.
        """
        check_uid(pod.uid)
        try:
            put_volumes(self._root / (pod.uid or ""), volumes)
        except BlockingIOError as exc:
            raise ShimError("the volumes are being written by another request") from exc
        except OSError as exc:
            raise ShimError(f"cannot write the files of the volumes: {exc.strerror}") from exc

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Read the log that the shim writes."""
        directory = self._directory(pod)
        current = _last(directory.observations(), container)
        # During a back-off the last run has ended: it is the previous one.
        run = current.runs - (2 if previous and current.pause is None else 1)

        def is_over() -> bool:
            observations = directory.observations()
            latest = _last(observations, container)
            is_running = latest.run is not None and latest.run.finished is None and latest.runs - 1 == run
            return not is_running or not self._is_alive(pod, directory)

        return read_log(directory.path / container, run, is_over=is_over)

    def exec(self, pod: AcceptedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        """Start a command as a child of the pod's shim."""
        return self._streams(pod).run(container, command, streams)

    def attach(
        self, pod: AcceptedPod, container: str, streams: StreamOptions, *, status: Callable[[], PodStatus]
    ) -> Session:
        """Attach to the streams that the pod's shim holds.

        The end of the client's input detaches it, unless the container has `stdinOnce` and no terminal. Source:
        `ContainerIO.Attach` of containerd.
        """
        return self._streams(pod).attach(container, streams, ends_input=_ends_input(pod, container))

    def port_forward(self, pod: AcceptedPod, port: int) -> socket.socket:
        """Connect to a port on which a process of the pod listens."""
        return self._streams(pod).connect(port)

    def _streams(self, pod: AcceptedPod) -> PodStreams:
        return ShimStreams(self._directory(pod).path)

    def usage(self, pod: AcceptedPod, *, earlier: Sequence[EarlierUsage] = ()) -> ProcessUsage:
        """Return what reads the measurements of the pod's shim."""
        return ProcessUsage(self._directory(pod))

    def node_usage(self) -> NodeStats:
        """Return the usage of this machine, and of the file system of RUNTIME_DIRECTORY."""
        return self._machine.usage(self.settings.node_name)

    def capacity(self) -> dict[str, str]:
        """Return CAPACITY if it is set, else the capacity of this machine."""
        return super().capacity() if "capacity" in self.settings.model_fields_set else dict(self._capacity)

    def conditions(self, *, now: datetime, since: datetime) -> list[dict[str, str]]:
        """Return the node's conditions. Each report also removes files of UIDs that were not created in time."""
        if time.monotonic() - self._swept_at > _SWEEP_SECONDS:
            self._sweep()
        return super().conditions(now=now, since=since)

    def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        with suppress(OSError):  # the directory is gone: what needs it reports that
            sweep(self._root)

    def directories(self) -> tuple[Path, ...]:
        """Return RUNTIME_DIRECTORY, which holds state and logs."""
        return (self._root,)

    def _is_alive(self, pod: AcceptedPod, directory: PodDirectory) -> bool:
        """Return whether the shim of a pod runs; else its last observations do not change any more."""
        return directory.has_shim

    def _directory(self, pod: AcceptedPod) -> PodDirectory:
        return PodDirectory.of(pod, root=self._root)

    def _ensure_shim(self, directory: PodDirectory, pod: AcceptedPod, *, may_start: bool) -> bool:
        """Request a due stop and start a missing shim. Return whether a shim runs."""
        self._request_stop(directory, pod)
        return directory.ensure_shim(lambda: self._plan(pod, directory), may_start=may_start)

    def _request_stop(self, directory: PodDirectory, pod: AcceptedPod) -> None:
        """Write when the pod is to be ended, because of its deletion or its deadline."""
        deadline = decode_spec(pod.manifest).active_deadline_seconds
        grace = pod.manifest.pod.spec.grace if pod.grace is None else pod.grace
        if pod.deletion_requested_at:
            at = microseconds(pod.deletion_requested_at)
            directory.request_stop(StopRequest(at=at, grace=grace.total_seconds(), reason=None))
        elif deadline is not None:
            at = microseconds(pod.accepted_at + timedelta(seconds=deadline))
            directory.request_stop(StopRequest(at=at, grace=grace.total_seconds(), reason="DeadlineExceeded"))

    def _plan(self, pod: AcceptedPod, directory: PodDirectory) -> dict[str, Any]:
        return plan(
            pod.manifest,
            pod.placement,
            mark=directory.mark,
            back_off=self.back_off,
            inherited=self._inherited_variables(),
            files=directory.files,
            mounts=self.settings.mounts,
        )

    def _user(self, manifest: Manifest) -> int:
        """Return the number of the user that the containers of a pod run as."""
        return os.geteuid()

    def _can_run(self, manifest: Manifest) -> bool:
        """Return whether the containers can run; those of a pod that another runtime accepted may not."""
        try:
            validate_spec(manifest, user=self._user(manifest))
        except InvalidRequest:
            return False
        return True

    def _inherited_variables(self) -> dict[str, str]:
        """Return the variables that a container has unless the pod sets them."""
        return inherited_variables()


def _ends_input(pod: AcceptedPod, container: str) -> bool:
    """Return whether the end of an attached client's input is that of a container's."""
    containers = ordered_containers(decode_spec(pod.manifest))
    return any(c.name == container and c.stdin_once and not c.tty for c, _, _ in containers)


def _is_final(observations: tuple[Observation, ...]) -> bool:
    return bool(observations) and observations[-1].final


def missed_update(observation: Observation, manifest: Manifest) -> bool:
    """Return whether a shim missed an update.

    It does not know an ephemeral container, or a container waits for an environment that the manifest has.
    """
    missing = missing_objects(manifest)
    return bool(missing.keys() - observation.containers.keys()) or any(
        container.waiting is not None and container.waiting.reason == CONFIG_ERROR and not missing[name]
        for name, container in observation.containers.items()
    )


def _last(observations: tuple[Observation, ...], container: str) -> ObservedContainer:
    return observations[-1].containers.get(container, ObservedContainer()) if observations else ObservedContainer()


def _observed(status: PodStatus, manifest: Manifest) -> PodStatus:
    """Return a status with the observed generation of a manifest, otherwise unchanged."""
    generation = manifest.pod.metadata.generation
    conditions = tuple(msgspec.structs.replace(c, observed_generation=generation) for c in status.conditions)
    return msgspec.structs.replace(status, observed_generation=generation, conditions=conditions)
