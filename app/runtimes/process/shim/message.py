"""The termination message of a container: what it writes to the file of `terminationMessagePath`, or its log.

The file is in the container's directory, and is mounted in its namespace; see :mod:`.volumes`. Each run has a new
one, which is removed when it has been read.

Source: `getTerminationMessage` and `makeMounts` in `kuberuntime_container.go` of the kubelet, and the sizes in
`pkg/kubelet/container/runtime.go`.
"""

import contextlib
import os
from typing import Any

from .log import last_lines

DEFAULT_PATH = "/dev/termination-log"
"""The API server's default of `terminationMessagePath`."""
_FILE = "termination-log"
_FILE_LIMIT = 4096
_LOG_LIMIT, _LOG_LINES = 2048, 80


def create(directory: str) -> str:
    """Make the empty file of a new run; return its path.

    Args:
        directory: the container's directory.

    Raises:
        OSError: it cannot be made.
    """
    path = os.path.join(directory, _FILE)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o666)  # as in a kubelet; the directory is that of its owner alone
    finally:
        os.close(fd)
    return path


def take(directory: str, spec: dict[str, Any], *, run: int, code: int) -> str | None:
    """Return the message of a run that has ended, and remove its file; None if there is none.

    Args:
        directory: the container's directory.
        spec: the container in the plan: `message_from_log`, whether the log is the message of a run that failed
            without another one, and `message_limit`, the size in bytes that its pod leaves it.
        run: the number of the run.
        code: its exit code.
    """
    text = _take_file(os.path.join(directory, _FILE))
    if not text and code and spec.get("message_from_log"):
        text = last_lines(directory, run, lines=_LOG_LINES, limit=_LOG_LIMIT)
    text = text[: spec.get("message_limit", _FILE_LIMIT)]
    # PostgreSQL stores no NUL.
    return text.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}") or None


def _take_file(path: str) -> bytes:
    """Return the end of a file, and remove it; a container may have written more than a message can have."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _FILE_LIMIT))
            text = file.read(_FILE_LIMIT)
        os.unlink(path)
    except OSError:
        return b""
    return text
