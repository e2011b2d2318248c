"""One question to Slurm for all pods, threads and processes of a provider.

Each process that wants an answer reads it from a file. One that finds it too old takes a lock, reads again, and
asks. So Slurm is asked once in an interval, whatever the number of pods and readers, and not at all while nobody
reads. An error is an answer too: a controller that does not answer is asked once in an interval, not for each pod.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

from app.runtimes.process.shim.record import replace
from app.runtimes.slurm.commands import SlurmError

T = TypeVar("T")


class Answer(NamedTuple, Generic[T]):
    """An answer, and the time before which the question was not asked, in seconds since 1970."""

    asked_at: float
    content: T


class Health(NamedTuple):
    """Why the last question was not answered, None if it was, and since when this holds, in seconds since 1970."""

    error: str | None
    since: float


class SharedAnswer(Generic[T]):
    """An answer that came at most `max_age` seconds ago.

    Args:
        path: its file; beside it is a lock.
        ask: asks Slurm; returns the text of the answer.
        parse: parses the text.
        max_age: in seconds.
    """

    def __init__(self, path: Path, ask: Callable[[], str], parse: Callable[[str], T], *, max_age: float) -> None:
        self._path = path
        self._ask = ask
        self._parse = parse
        self._max_age = max_age
        self._guard = Lock()
        self._stored: _Stored[T] | None = None

    def get(self, *, after: float = 0.0) -> Answer[T]:
        """Return an answer to a question that was asked after a time.

        Raises:
            SlurmError: Slurm did not answer.
        """
        found = self._fresh(after)
        if found is None:
            with self._locked():
                found = self._fresh(after) or self._renewed()
        if found.asked_at <= after:
            raise SlurmError("the clock of this machine went back")
        if found.error is not None or found.content is None:
            raise SlurmError(found.error or "")
        return Answer(found.asked_at, found.content)

    def last(self) -> T | None:
        """Return the last answer that is no error, whatever its age, without asking; None without one."""
        try:
            return self._load().content
        except (OSError, ValueError):
            return None

    def health(self) -> Health:
        """Return whether Slurm answers.

        Raises:
            OSError: the file cannot be read or written.
        """
        with suppress(SlurmError):
            self.get()
        stored = self._load()
        return Health(stored.error, stored.since)

    def _fresh(self, after: float) -> "_Stored[T] | None":
        try:
            found = self._load()
        except (OSError, ValueError):
            return None
        is_fresh = found.asked_at > after and 0 <= time.time() - found.answered_at < self._max_age
        return found if is_fresh else None

    def _renewed(self) -> "_Stored[T]":
        """Ask, and return the answer, whatever time that took."""
        self._renew()
        return self._load()

    def _load(self) -> "_Stored[T]":
        stat = self._path.stat()
        version = (stat.st_ino, stat.st_mtime_ns)
        with self._guard:
            stored = self._stored
        if stored is None or stored.version != version:
            document = json.loads(self._path.read_bytes())
            text = document["text"]
            content = None if text is None else self._parse(text)
            at, answered = document["at"], document.get("answered", document["at"])
            stored = _Stored(version, at, answered, document["since"], document["error"], content)
            with self._guard:
                self._stored = stored
        return stored

    def _renew(self) -> None:
        before: dict[str, Any] = {"at": 0.0, "since": 0.0, "text": None, "error": ""}
        with suppress(OSError, ValueError):
            before = json.loads(self._path.read_bytes())
        at, error, text = time.time(), None, before["text"]
        try:
            text = self._ask()
        except SlurmError as exc:
            error = str(exc)
        has_changed = not before["at"] or (error is None) != (before["error"] is None)
        since = at if has_changed else before["since"]
        document = {"at": at, "answered": time.time(), "since": since, "text": text, "error": error}
        replace(str(self._path), document, durable=False)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class _Stored(NamedTuple, Generic[T]):
    version: tuple[int, int]
    asked_at: float
    answered_at: float
    since: float
    error: str | None
    content: T | None
