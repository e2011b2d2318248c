import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.runtimes.process import ProcessRuntime
from tests.app.runtimes.process import Driven, QuickRuntime, processes, settings, shims
from tests.waiting import eventually


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory for the runtime; kill its processes at the end."""
    directory = tmp_path / "runtime"
    yield directory

    def is_clear() -> bool:
        found = [*shims(directory), *processes(str(directory))]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    eventually(is_clear)


@pytest.fixture
def runtime(root: Path) -> ProcessRuntime:
    return QuickRuntime(settings(root))


Run = Callable[..., Driven]


@pytest.fixture
def run(runtime: ProcessRuntime) -> Run:
    """Return a function that creates and starts a pod."""

    def run(*containers: dict[str, Any], **spec: Any) -> Driven:
        driven = Driven(runtime, *containers, **spec)
        driven.sync()
        return driven

    return run
