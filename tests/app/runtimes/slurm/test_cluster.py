"""The capacity of a cluster, from what sinfo prints, and its health."""

from pathlib import Path

import pytest

from app.core.errors import ConfigurationError
from app.core.settings import Settings
from app.runtimes.slurm import SlurmRuntime
from app.runtimes.slurm.cluster import parse_nodes
from tests.app.runtimes.process import settings
from tests.app.runtimes.slurm.cluster import SlurmCluster
from tests.app.runtimes.slurm.conftest import MakeRuntime, ready
from tests.waiting import eventually


def test_nodes_of_several_partitions_count_once() -> None:
    found = parse_nodes("n1|idle|64|1000|(null)\nn1|idle|64|1000|(null)\nn2|mixed|32|500|(null)\n")
    assert (found.nodes, found.total, found.cpus, found.memory) == (2, 2, 96, 1500)


@pytest.mark.parametrize(
    "state", ["down", "down*", "drained", "draining", "idle*", "fail", "maint", "unknown", "allocated$*"]
)
def test_unavailable_nodes_are_subtracted(state: str) -> None:
    found = parse_nodes(f"n1|idle|64|1000|gpu:1\nn2|{state}|64|1000|gpu:1\n")
    assert (found.nodes, found.total, found.cpus, found.generic["gpu"]) == (1, 2, 64, 1)


def test_generic_resources_count_with_and_without_type() -> None:
    found = parse_nodes("n1|idle|64|1000|gpu:a100:4(S:0-1),nic:2\nn2|idle~|64|1000|gpu:h100:2,shard:8\n")
    assert found.generic == {"gpu": 6, "gpu:a100": 4, "gpu:h100": 2, "nic": 2, "shard": 8}


def test_the_node_has_the_capacity_of_the_cluster(runtime: SlurmRuntime) -> None:
    found = runtime.capacity()
    assert (found["cpu"], found["memory"], found["nvidia.com/gpu"]) == ("128", "128000Mi", "2")
    assert ready(runtime)["status"] == "True"


def test_the_node_has_the_chosen_partitions(make_runtime: MakeRuntime) -> None:
    assert make_runtime(slurm_partitions="small").capacity()["cpu"] == "64"


def test_a_drained_node_is_subtracted(cluster: SlurmCluster, make_runtime: MakeRuntime) -> None:
    cluster.run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=test")
    eventually(lambda: "drained" in cluster.run("sinfo", "-h", "-N", "-n", "n1", "-o", "%T"))
    assert make_runtime().capacity()["cpu"] == "64"


def test_without_an_available_node_it_is_unready(cluster: SlurmCluster, make_runtime: MakeRuntime) -> None:
    cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    eventually(lambda: "drained" in cluster.run("sinfo", "-h", "-N", "-n", "n2", "-o", "%T"))
    assert ready(make_runtime(slurm_partitions="small"))["message"] == "Slurm: none of the 1 nodes can run jobs"


def test_capacity_that_is_set_counts(make_runtime: MakeRuntime) -> None:
    assert make_runtime(capacity={"cpu": "3"}).capacity() == {"cpu": "3"}


def test_a_controller_that_is_gone_makes_the_node_unready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    runtime = SlurmRuntime(settings(tmp_path))
    assert ready(runtime)["status"] == "False"
    assert ready(runtime)["message"] == "Slurm: sinfo: No such file or directory"
    assert runtime.capacity()["cpu"] == "0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_PARTITIONS", "a b"),
        ("SLURM_GRES", '{"x/y": "gpu:1"}'),
        ("SLURM_PYTHON", "a b"),
        ("CONTAINER_COMMAND", "x {img}"),
        ("CONTAINER_COMMAND", "'"),
    ],
)
def test_invalid_settings_stop_the_start(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_environment()
