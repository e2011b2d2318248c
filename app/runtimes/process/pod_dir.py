"""One life of a pod on this machine: its directory, and the shim that is at work in it.

    RUNTIME_DIRECTORY/<pod's UID>/lock
    RUNTIME_DIRECTORY/<pod's UID>/<when it was accepted>/state.json, stop.json, stop.fifo, shim.log
    RUNTIME_DIRECTORY/<pod's UID>/<when it was accepted>/<container>/<run>.<segment>.log

Who has the lock is the pod's only shim; the kernel takes it away from a process that ends, however it ends. So
nobody asks whether a number is a process that lives, or which process it is: a lock that is free means that there
is no shim, and a state that is not the final one means that there should be one.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
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
from app.runtimes.process.shim.record import BELL, STATE, STOP, Stop, replace

_SHIM = (sys.executable, "-S", "-s", "-P", "-X", "utf8", "-m", "shim")
_NEEDED_BY_PYTHON = ("LD_LIBRARY_PATH",)
"""Without it an interpreter that a user has installed may not start."""
_SHIM_STARTS_WITHIN_SECONDS = 60
_GRACE_OF_A_FORGOTTEN_LIFE = 30.0


class ShimError(Unavailable):
    """The files of a pod cannot be used, or no shim could be started."""


class _State(msgspec.Struct, frozen=True):
    moments: tuple[Observation, ...]


_DECODER = msgspec.json.Decoder(_State)


class PodDirectory:
    """A pod's life from its arrival to its end; a UID that comes back has another.

    Args:
        pod_directory: of all lives of the pod; its name is the pod's UID.
        number: when it was accepted, in microseconds since 1970.
    """

    def __init__(self, pod_directory: Path, number: int) -> None:
        self._pod_directory = pod_directory
        self._number = number
        self.directory = pod_directory / str(number)

    @classmethod
    def of(cls, pod: AcceptedPod, *, root: Path) -> Self:
        """Find the life of a pod under RUNTIME_DIRECTORY."""
        return cls(root / (pod.manifest.pod.metadata.uid or ""), microseconds(pod.accepted_at))

    @property
    def mark(self) -> str:
        """What its processes are marked with, before the name of the container."""
        return f"{self._pod_directory}/"

    def moments(self) -> tuple[Observation, ...]:
        """Read what its shim has written down; nothing where it has not begun.

        Raises:
            ShimError: it cannot be read.
        """
        path = self.directory / STATE
        try:
            return _DECODER.decode(path.read_bytes()).moments
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise ShimError(f"{path}: {exc.strerror}") from exc
        except msgspec.DecodeError as exc:
            raise ShimError(f"{path}: not what a shim writes") from exc

    @property
    def is_at_work(self) -> bool:
        """Whether there is a shim, or one is being started."""
        try:
            with self._turn() as lock:
                return lock is None
        except FileNotFoundError:
            return False

    def keep_going(self, plan: Callable[[], dict[str, Any]], *, may_begin: bool) -> bool:
        """See to it that a shim is at work on what is not over.

        A shim goes on from what is written down. What another one ran that was killed is killed too, and reported
        as lost; whether it is run again is a question of the restart policy.

        Args:
            plan: gives what to run.
            may_begin: begin, where nothing is written down yet.

        Returns:
            Whether somebody is at work on this pod.

        Raises:
            ShimError: no shim could be started.
        """
        try:
            self._pod_directory.mkdir(mode=0o700, exist_ok=True)
            with self._turn() as lock:
                others = [life for life in self._lives() if life != self._number]
                if lock is None:
                    self._hasten(others)
                    return True
                moments = self.moments()
                if any(life > self._number for life in others):
                    return False  # this call comes late: the pod has been deleted and is here again
                if (moments and moments[-1].final) or not (moments or may_begin):
                    return False
                for life in others:
                    shutil.rmtree(self._pod_directory / str(life))
                self.directory.mkdir(mode=0o700, exist_ok=True)
                self._start_shim(plan(), lock)
                return True
        except OSError as exc:
            raise ShimError(f"{self._pod_directory}: {exc.strerror}") from exc

    def ask_to_stop(self, stop: Stop) -> None:
        """Have its shim end the pod, at once or later; the one that is to come where there is none.

        Raises:
            ShimError: this cannot be written down.
        """
        path = self.directory / STOP
        try:
            before = json.loads(path.read_bytes()) if path.exists() else None
            if before == stop._asdict() or (before and not before["reason"]):
                return  # that a pod is deleted is never taken back
            for directory in (self._pod_directory, self.directory):
                directory.mkdir(mode=0o700, exist_ok=True)
            replace(str(path), stop._asdict())
            self._ring()
        except OSError as exc:
            raise ShimError(f"{path}: {exc.strerror}") from exc

    def remove(self) -> bool:
        """Remove what is left of it; False where somebody is at work on the pod."""
        try:
            with self._turn() as lock:
                if lock is None:
                    return False
                if self._lives() in ([], [self._number]):
                    shutil.rmtree(self._pod_directory)
                return True
        except FileNotFoundError:
            return True
        except OSError as exc:
            raise ShimError(f"{self._pod_directory}: {exc.strerror}") from exc

    def _ring(self) -> None:
        try:
            bell = os.open(self.directory / BELL, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in (errno.ENXIO, errno.ENOENT):
                return  # nobody is at work, and whoever will be looks first
            raise
        try:
            with contextlib.suppress(BlockingIOError):  # it has been rung often enough
                os.write(bell, b"\n")
        finally:
            os.close(bell)

    def _hasten(self, others: list[int]) -> None:
        """End a life that somebody has forgotten to end: one shim a pod, so this one has to wait for it."""
        for life in others:
            if life < self._number:
                stop = Stop(at=0, grace=_GRACE_OF_A_FORGOTTEN_LIFE, reason=None)
                PodDirectory(self._pod_directory, life).ask_to_stop(stop)

    def _lives(self) -> list[int]:
        return [int(path.name) for path in self._pod_directory.iterdir() if path.name.isdigit()]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[int | None]:
        """Hold the pod's lock; None where somebody else does.

        Raises:
            FileNotFoundError: there is no such pod.
        """
        path = self._pod_directory / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever removes the directory has the lock of a file that is not there any more.
            held = lock if _is_at(path, lock) else None
        except BlockingIOError:
            held = None
        try:
            yield held
        finally:
            os.close(lock)

    def _start_shim(self, plan: dict[str, Any], lock: int) -> None:
        """Start a shim, which takes the lock over.

        Raises:
            ShimError: it says that it cannot begin.
        """
        needed = {name: os.environ[name] for name in _NEEDED_BY_PYTHON if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603 - of this program's own
                [*_SHIM, str(self.directory), str(lock)],
                input=json.dumps(plan).encode(),
                env={"PYTHONPATH": str(Path(__file__).parent), **needed},
                cwd="/",
                pass_fds=[lock],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_SHIM_STARTS_WITHIN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ShimError("the shim does not start") from exc
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise ShimError(f"{self.directory}: {words[-1] if words else 'the shim was killed'}")


def microseconds(time: datetime) -> int:
    """Write a time as microseconds since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
