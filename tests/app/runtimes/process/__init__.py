"""Helpers of tests of the process runtime: a runtime with short back-offs, called as by the services."""

import os
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self

import orjson
from msgspec.structs import replace

from app.core.settings import Settings
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import ContainerStatus, PodStatus, Transition
from app.pods.accepted import accept
from app.runtimes import Session, StreamOptions
from app.runtimes.process import ProcessRuntime
from app.runtimes.process.pod_dir import PodDirectory
from app.runtimes.process.shim.processes import MARK
from tests.pods import a_pod
from tests.waiting import eventually

SECRET = "hunter2-the-secret"


class QuickRuntime(ProcessRuntime):
    """A runtime that restarts containers after at most 80 ms."""

    back_off = (timedelta(milliseconds=20), timedelta(milliseconds=80))


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """Return a container that runs a script."""
    return {"name": name, "image": "busybox", "command": ["/bin/sh", "-c", script], **fields}


class Driven:
    """A pod with its stored statuses, as the services keep them."""

    def __init__(
        self, runtime: ProcessRuntime, *containers: dict[str, Any], accepted_at: datetime | None = None, **pod: Any
    ) -> None:
        self.runtime = runtime
        manifest = Manifest.parse(orjson.dumps(a_pod(containers=list(containers), **pod)))
        self._begin(manifest, accepted_at or datetime.now(UTC))

    def _begin(self, manifest: Manifest, at: datetime) -> None:
        self.pod = accept(self.runtime, manifest, pod_ip=None, accepted_at=at, starts_at=None)
        timeline = self.runtime.create(self.pod, now=at)
        self.timeline = timeline.transitions
        self.continues_at = timeline.continues_at

    def again(self) -> Self:
        """Create the pod again with the same UID."""
        another = copy(self)
        another._begin(self.pod.manifest, datetime.now(UTC))
        return another

    @property
    def uid(self) -> str:
        return self.pod.manifest.pod.metadata.uid or ""

    @property
    def directory(self) -> PodDirectory:
        return PodDirectory.of(self.pod, root=self.runtime.settings.runtime_directory)

    @property
    def status(self) -> PodStatus:
        """The last stored status."""
        return self.timeline[-1].status

    def container(self, name: str = "web") -> ContainerStatus:
        found = self.status.container(name)
        assert found
        return found

    def ended(self, name: str = "web") -> tuple[int, str | None]:
        """Return the exit code and the reason of a container that has ended."""
        terminated = self.container(name).state.terminated
        assert terminated
        return terminated.exit_code, terminated.reason

    def sync(self) -> None:
        self.runtime.sync(self.pod)

    def delete(self, *, grace: float | None = None, sync: bool = True) -> None:
        now = datetime.now(UTC)
        duration = None if grace is None else timedelta(seconds=grace)
        self.pod = replace(self.pod, deletion_requested_at=now, grace=duration)
        timeline = self.runtime.delete(self.pod, current=self.timeline[-1], grace=timedelta(0), now=now)
        self._store(timeline.transitions, timeline.continues_at)
        if sync:
            self.sync()

    def change(self, *, generation: int = 2, sync: bool = True, **spec: Any) -> None:
        """Change the pod's specification."""
        before = self.pod.manifest
        document = orjson.loads(before.text)
        document["spec"] |= spec
        document["metadata"]["generation"] = generation
        now = datetime.now(UTC)
        self.pod = replace(self.pod, manifest=Manifest.parse(orjson.dumps(document)))
        timeline = self.runtime.update(self.pod, before=before, current=self.timeline[-1], now=now)
        self._store(timeline.transitions, timeline.continues_at)
        if sync:
            self.sync()

    def read(self, *, after: timedelta = timedelta(0)) -> PodStatus:
        """Advance the timeline where it is overdue, and return the last status."""
        now = datetime.now(UTC) + after
        if self.continues_at and self.continues_at <= now:
            timeline = self.runtime.advance(self.pod, current=self.timeline[-1], now=now)
            if timeline:
                self._store(timeline.transitions, timeline.continues_at)
        return self.status

    def until(self, condition: Callable[[PodStatus], object]) -> PodStatus:
        """Read until the status meets a condition, and return it."""
        return eventually(lambda: status if condition(status := self.read()) else None)

    def until_over(self) -> PodStatus:
        return self.until(lambda status: status.phase in ("Succeeded", "Failed"))

    def until_running(self) -> PodStatus:
        return self.until(lambda status: status.phase == "Running")

    def log(self, container: str = "web", *, previous: bool = False) -> list[bytes]:
        """Return the existing lines of a log."""
        lines = self.runtime.logs(self.pod, container, previous=previous, status=lambda: self.status)
        found = []
        for line in lines:
            if line is None:
                break
            found.append(line.text)
        return found

    def exec(self, *command: str, container: str = "web", **streams: bool) -> Session:
        """Start a command; with standard output and error unless streams are named."""
        options = StreamOptions(**(streams or {"stdout": True, "stderr": True}))
        return self.runtime.exec(self.pod, container, command, options)

    def sh(self, script: str, **streams: bool) -> Session:
        """Start a shell command."""
        return self.exec("/bin/sh", "-c", script, container="web", **streams)

    def attach(self, container: str = "web", **streams: bool) -> Session:
        """Attach to a container; to standard output and error unless streams are named."""
        options = StreamOptions(**(streams or {"stdout": True, "stderr": True}))
        return self.runtime.attach(self.pod, container, options, status=lambda: self.status)

    def until_logged(self, line: bytes, container: str = "web") -> None:
        eventually(lambda: line in self.log(container))

    def _store(self, transitions: list[Transition], continues_at: datetime | None) -> None:
        for transition in transitions:
            assert transition.effective_at > self.timeline[-1].effective_at
            self.timeline.append(transition)
        self.continues_at = continues_at


def descriptors(*pids: int | str) -> list[int]:
    """Return the number of descriptors that each process has open.

    Of a shim: once its container has logged a line. A container is `Running` just before its process starts,
    and its log is opened with its first line.
    """
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]


def lowest_free(pid: int | str, count: int) -> int:
    """Return the limit of descriptors that leaves a shim a number of them, once it has written its state."""
    folder = Path(f"/proc/{pid}/fd")

    def at_rest() -> set[int]:
        opened = list(folder.iterdir())
        # The state is visible before its directory, which is open meanwhile, is on the disk.
        return set() if any(fd.is_dir() for fd in opened) else {int(fd.name) for fd in opened}

    opened = eventually(at_rest)
    return list(islice((fd for fd in range(1 << 20) if fd not in opened), count))[-1] + 1


def none_left_open(before: list[int], *pids: int | str) -> bool:
    """Return whether no process has more descriptors open than before; garbage of earlier tests may be fewer."""
    return all(now <= then for now, then in zip(descriptors(*pids), before, strict=True))


def processes(mark: str) -> list[int]:
    """Return the processes that belong to a pod, or to all pods of a directory, by their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
                if any(variable.startswith(f"{MARK}={mark}".encode()) for variable in environment):
                    found.append(int(name))
    return found


def shims(directory: Path) -> list[int]:
    """Return the running shims of a directory."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                arguments = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                if b"shim" in arguments and any(str(directory).encode() in word for word in arguments):
                    found.append(int(name))
    return found


def the_shim(directory: Path) -> int:
    """Wait until there is one shim; there are two while it starts or starts a container."""
    (pid,) = eventually(lambda: found if len(found := shims(directory)) == 1 else None)
    return pid


def settings(directory: Path, **more: Any) -> Settings:
    return Settings.model_validate({"runtime_directory": directory, **more})
