import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.runtimes.slurm import SlurmRuntime
from app.runtimes.slurm.job_options import PREFIX
from tests.app.runtimes.process import QuickRuntime, settings
from tests.app.runtimes.process.conftest import Run, run
from tests.app.runtimes.slurm.cluster import SlurmCluster

__all__ = ["Run", "run"]


@contextmanager
def started() -> Iterator[SlurmCluster]:
    """Yield a new cluster with two nodes."""
    if not SlurmCluster.is_installed():
        if os.environ.get("CI"):
            pytest.fail("Slurm is not installed: in CI nothing is skipped")
        pytest.skip("Slurm (slurmctld, slurmd, slurm-client, munge) is not installed")
    cluster = SlurmCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[SlurmCluster]:
    """Yield the cluster of the tests that kill no daemon."""
    with started() as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[SlurmCluster]:
    """Yield the cluster of one test, whose controller may be killed: its nodes take long to return to it."""
    with started() as cluster:
        yield cluster


@pytest.fixture
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """Yield a cluster without jobs, which the commands of the runtime use."""
    is_own = "own_cluster" in request.fixturenames
    cluster: SlurmCluster = request.getfixturevalue("own_cluster" if is_own else "shared_cluster")
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    monkeypatch.setenv("PATH", cluster.environment["PATH"])
    yield cluster
    if not is_own:
        cluster.clear()


class QuickSlurmRuntime(SlurmRuntime):
    """A runtime that restarts containers soon, and looks at the queue often."""

    queue_age = timedelta(milliseconds=100)
    back_off = QuickRuntime.back_off


MakeRuntime = Callable[..., SlurmRuntime]


@pytest.fixture
def make_runtime(cluster: SlurmCluster, tmp_path: Path) -> MakeRuntime:
    """Return a function that makes a runtime, as a provider does when it starts."""

    def make(**more: Any) -> SlurmRuntime:
        return QuickSlurmRuntime(settings(tmp_path / "shared", **{"slurm_python": sys.executable, **more}))

    return make


@pytest.fixture
def runtime(make_runtime: MakeRuntime) -> SlurmRuntime:
    return make_runtime()


def annotated(**annotations: str) -> dict[str, str]:
    """Return annotations of the runtime."""
    return {f"{PREFIX}{name}": value for name, value in annotations.items()}


def ready(runtime: SlurmRuntime) -> dict[str, str]:
    """Return the condition `Ready` of the node."""
    now = datetime.now(UTC)
    return next(c for c in runtime.conditions(now=now, since=now) if c["type"] == "Ready")


def output(fd: int | None) -> bytes:
    """Read a descriptor to its end."""
    assert fd is not None
    found = b""
    try:
        while data := os.read(fd, 65536):
            found += data
    except OSError:  # the end of a terminal
        pass
    os.close(fd)
    return found
