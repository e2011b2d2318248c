"""The directory of a pod instance on this machine, and the shim that works in it.

    RUNTIME_DIRECTORY/<pod's UID>/lock, volumes
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/state.json, usage.json, stop.json, stop.fifo
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/plan.socket, streams.socket, shim.log
    RUNTIME_DIRECTORY/<pod's UID>/<time of acceptance>/<container>/<run>.<segment>.log

A UID that is deleted and created again is a new instance of the pod, with its own directory under the same UID.

A provider that restarts must know whether a pod has a running shim. A process ID does not answer this: the kernel
reuses process IDs. So the process that holds `lock` is the pod's only shim, and the kernel releases the lock
when that process ends, even by SIGKILL. A free lock means that there is no shim; if the last observation in
`state.json` is not final either, a shim must be started.
"""

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec

from app.core.errors import Unavailable
from app.runtimes.base import AcceptedPod
from app.runtimes.observed import Observation
from app.runtimes.process.shim.disk import remove_tree
from app.runtimes.process.shim.record import (
    OBSERVATIONS,
    STATE,
    STOP,
    WAKE_FIFO,
    WANTS_STOP,
    WANTS_USAGE,
    StopRequest,
    replace,
    send_plan,
)
from app.runtimes.process.volumes import volumes_of

_SHIM = (sys.executable, "-S", "-s", "-P", "-X", "utf8", "-m", "shim")
_NEEDED_BY_PYTHON = ("LD_LIBRARY_PATH",)
"""Environment variables that a Python interpreter in a home directory may need to start."""
_SHIM_START_TIMEOUT_SECONDS = 60
_PREDECESSOR_GRACE_SECONDS = 30.0


class ShimError(Unavailable):
    """The files of a pod cannot be read or written, or its shim could not be started."""


class _State(msgspec.Struct, frozen=True):
    """The content of `state.json`."""

    observations: tuple[Observation, ...] = msgspec.field(name=OBSERVATIONS)


_DECODER = msgspec.json.Decoder(_State)


class PodDirectory:
    """The files of one instance of a pod, from its acceptance to its removal.

    Args:
        pod_directory: the directory of all instances with this UID; its name is the UID.
        number: the time of acceptance, in microseconds since 1970.
    """

    def __init__(self, pod_directory: Path, number: int) -> None:
        self._pod_directory = pod_directory
        self._number = number
        self.path = pod_directory / str(number)

    @classmethod
    def of(cls, pod: AcceptedPod, *, root: Path) -> Self:
        """Return the directory of a pod under `root`, the RUNTIME_DIRECTORY. Nothing is created."""
        return cls(root / (pod.manifest.pod.metadata.uid or ""), microseconds(pod.accepted_at))

    @property
    def mark(self) -> str:
        """The prefix of the mark of the pod's processes; the name of the container follows."""
        return f"{self._pod_directory}/"

    @property
    def files(self) -> Path:
        """The directory of the files of the pod's volumes."""
        return volumes_of(self._pod_directory)

    def observations(self) -> tuple[Observation, ...]:
        """Return the observations in `state.json`, oldest first; empty before a shim has started.

        Raises:
            ShimError: the file cannot be read.
        """
        path = self.path / STATE
        try:
            return _DECODER.decode(path.read_bytes()).observations
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise ShimError(f"{path}: {exc.strerror}") from exc
        except msgspec.DecodeError as exc:
            raise ShimError(f"{path}: not a state file") from exc

    @property
    def has_shim(self) -> bool:
        """Whether a shim runs or is being started."""
        try:
            with self._try_lock() as lock:
                return lock is None
        except FileNotFoundError:
            return False

    def ensure_shim(self, plan: Callable[[], dict[str, Any]], *, may_start: bool) -> bool:
        """Start a shim, unless one runs or the pod has ended.

        A new shim continues from `state.json`. It kills the processes that a killed shim left behind and reports
        their containers as lost; the restart policy decides whether they run again.

        Args:
            plan: returns the plan of the shim; called only if one is started.
            may_start: start the pod if there is no `state.json` yet.

        Returns:
            Whether a shim runs for this UID.

        Raises:
            ShimError: the shim could not be started.
        """
        try:
            self._pod_directory.mkdir(mode=0o700, exist_ok=True)
            with self._try_lock() as lock:
                others = [number for number in self._instances() if number != self._number]
                if lock is None:
                    self._stop_predecessors(others)
                    return True
                observations = self.observations()
                if any(number > self._number for number in others):
                    return False  # a late call: the pod was deleted and created again
                if (observations and observations[-1].final) or not (observations or may_start):
                    return False
                for number in others:
                    remove_tree(str(self._pod_directory / str(number)))
                self.path.mkdir(mode=0o700, exist_ok=True)
                self._start_shim(plan(), lock)
                return True
        except OSError as exc:
            raise ShimError(f"{self._pod_directory}: {exc.strerror}") from exc

    def send_plan(self, plan: dict[str, Any]) -> None:
        """Send a plan to the pod's shim, if one runs.

        Raises:
            ShimError: the shim does not read it.
        """
        try:
            send_plan(str(self.path), plan)
        except OSError as exc:
            raise ShimError(f"{self.path}: {exc.strerror or 'the shim does not read its plan'}") from exc

    def request_stop(self, stop: StopRequest) -> None:
        """Write `stop.json`, which makes the current or the next shim end the pod.

        A request without a reason is a deletion: only one with a shorter grace period replaces it.

        Raises:
            ShimError: the file cannot be written.
        """
        path = self.path / STOP
        try:
            before = json.loads(path.read_bytes()) if path.exists() else None
            if before and before["reason"] is None and (stop.reason or stop.grace >= before["grace"]):
                return
            if before == stop._asdict():
                return
            for directory in (self._pod_directory, self.path):
                directory.mkdir(mode=0o700, exist_ok=True)
            replace(str(path), stop._asdict())
            self._wake_shim()
        except OSError as exc:
            raise ShimError(f"{path}: {exc.strerror}") from exc

    def remove(self) -> bool:
        """Remove the pod's files. Return False, and remove nothing, while a shim runs for this UID.

        Raises:
            ShimError: the files cannot be removed.
        """
        try:
            with self._try_lock() as lock:
                if lock is None:
                    return False
                if self._instances() in ([], [self._number]):
                    self._remove_all()
                return True
        except FileNotFoundError:
            return True
        except OSError as exc:
            raise ShimError(f"{self._pod_directory}: {exc.strerror}") from exc

    def _remove_all(self) -> None:
        remove_tree(str(self._pod_directory))

    def request_usage(self) -> bool:
        """Ask the pod's shim to measure the usage of its containers; return whether one runs."""
        try:
            return self._wake_shim(WANTS_USAGE)
        except OSError:
            return False

    def _wake_shim(self, message: bytes = WANTS_STOP) -> bool:
        """Wake the pod's shim; return whether one runs. The next one reads `stop.json` when it starts."""
        try:
            fifo = os.open(self.path / WAKE_FIFO, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            with contextlib.suppress(BlockingIOError):  # the pipe is full, so the shim wakes up anyway
                os.write(fifo, message)
        finally:
            os.close(fifo)
        return True

    def _stop_predecessors(self, others: list[int]) -> None:
        """Stop earlier instances: a UID has one shim at a time, so this instance waits for their end."""
        for number in others:
            if number < self._number:
                stop = StopRequest(at=0, grace=_PREDECESSOR_GRACE_SECONDS, reason=None)
                PodDirectory(self._pod_directory, number).request_stop(stop)

    def _instances(self) -> list[int]:
        return [int(path.name) for path in self._pod_directory.iterdir() if path.name.isdigit()]

    @contextlib.contextmanager
    def _try_lock(self) -> Iterator[int | None]:
        """Yield the descriptor of the pod's lock while it is held; None if another process holds it.

        Raises:
            FileNotFoundError: the pod has no directory.
        """
        path = self._pod_directory / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have removed the directory after `open`: then this lock protects nothing.
            held = lock if _is_file_at(path, lock) else None
        except BlockingIOError:
            held = None
        try:
            yield held
        finally:
            os.close(lock)

    def _start_shim(self, plan: dict[str, Any], lock: int) -> None:
        """Start a shim, which inherits the lock.

        Raises:
            ShimError: the shim exits with an error, or does not start in time.
        """
        needed = {name: os.environ[name] for name in _NEEDED_BY_PYTHON if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - a program of this package
                [*_SHIM, str(self.path), str(lock)],
                input=json.dumps(plan).encode(),
                env={"PYTHONPATH": str(Path(__file__).parent), **needed},
                cwd="/",
                pass_fds=[lock],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_SHIM_START_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ShimError("the shim does not start") from exc
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ShimError(f"{self.path}: {lines[-1] if lines else 'the shim was killed'}")


def microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _is_file_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
