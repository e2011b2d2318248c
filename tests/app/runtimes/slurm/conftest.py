import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.runtimes.slurm import SlurmRuntime
from tests.app.runtimes.process import Driven, QuickRuntime, settings
from tests.app.runtimes.slurm.cluster import SlurmCluster


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SlurmCluster]:
    """Yield a cluster with two nodes."""
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


@pytest.fixture
def cluster(shared_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """Yield a cluster without jobs, which the commands of the runtime use."""
    monkeypatch.setenv("SLURM_CONF", str(shared_cluster.configuration))
    monkeypatch.setenv("PATH", shared_cluster.environment["PATH"])
    yield shared_cluster
    shared_cluster.clear()


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


Run = Callable[..., Driven]


@pytest.fixture
def run(runtime: SlurmRuntime) -> Run:
    """Return a function that creates and submits a pod."""

    def run(*containers: dict[str, Any], **spec: Any) -> Driven:
        driven = Driven(runtime, *containers, **spec)
        driven.sync()
        return driven

    return run
