"""The directory in which the processes of a server keep their metrics."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def memory_directory() -> str | None:
    """Return a directory for files in memory; None if the system has none."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def create_metrics_directory() -> None:
    """Create the directory and set the variable that names it; do nothing if the variable is set.

    It is empty at the start, kept by a reload and removed when this process ends. prometheus-client reads the
    variable when it is imported; after that, this function does nothing.
    """
    if _VARIABLE in os.environ or "prometheus_client" in sys.modules:
        return
    master = os.getpid()
    directory = Path(memory_directory() or tempfile.gettempdir()) / f"virtual-kubelet-web-{master}"
    shutil.rmtree(directory, ignore_errors=True)  # left by a process with the same ID that was killed
    directory.mkdir(mode=0o700)
    os.environ[_VARIABLE] = str(directory)

    def remove() -> None:
        if os.getpid() == master:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)


def disable_metrics_directory() -> None:
    """Remove a user's directory from the environment, before prometheus-client is imported.

    A process that is both provider and broker would write the metrics of both there, and each part would report
    those of the other.
    """
    for variable in (_VARIABLE, _VARIABLE.lower()):
        os.environ.pop(variable, None)
