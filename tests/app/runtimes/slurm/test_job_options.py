"""Requests and annotations of a pod, as options of sbatch."""

from typing import Any

import orjson
import pytest

from app.core.errors import InvalidRequest
from app.core.settings import Settings
from app.kubernetes.manifest import Manifest
from app.runtimes.slurm.job_options import FLAGS, OPTIONS, PREFIX, job_options
from tests.pods import a_pod
from tests.server import ROOT

LEAST = ["--cpus-per-task=1", "--no-requeue"]


def options(
    annotations: dict[str, str] | None = None, *, settings: dict[str, Any] | None = None, **spec: Any
) -> list[str]:
    spec.setdefault("containers", [{"name": "web", "command": ["x"]}])
    document = a_pod(**spec)
    document["metadata"]["annotations"] = {f"{PREFIX}{name}": value for name, value in (annotations or {}).items()}
    return job_options(Manifest.parse(orjson.dumps(document)), Settings.model_validate(settings or {}))


def asking(**requests: str) -> dict[str, Any]:
    return {"name": "web", "command": ["x"], "resources": {"requests": requests, "limits": requests}}


def test_a_pod_without_requests_gets_one_cpu() -> None:
    assert options() == LEAST


def test_requests_become_cpus_and_memory() -> None:
    containers = [asking(cpu="1500m", memory="1Gi"), {**asking(cpu="250m", memory="1"), "name": "other"}]
    assert options(containers=containers)[:2] == ["--cpus-per-task=2", "--mem=1025M"]


def test_extended_resources_become_gres() -> None:
    gpu = asking(**{"nvidia.com/gpu": "2"})
    assert "--gres=gpu:2" in options(containers=[gpu])
    table = {"slurm_gres": {"nvidia.com/gpu": "gpu:a100", "example.com/nic": "nic"}}
    both = asking(**{"nvidia.com/gpu": "2", "example.com/nic": "1"})
    assert "--gres=gpu:a100:2,nic:1" in options(containers=[both], settings=table)


def test_init_containers_and_containers_share_devices() -> None:
    first = {**asking(**{"nvidia.com/gpu": "3"}), "name": "first"}
    assert "--gres=gpu:3" in options(containers=[asking(**{"nvidia.com/gpu": "2"})], initContainers=[first])


def test_an_unknown_resource_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"spec.containers\[0\].resources\[example.com/fpga\]"):
        options(containers=[asking(**{"example.com/fpga": "1"})])


def test_the_deadline_becomes_a_time_limit() -> None:
    assert "--time=2" in options(activeDeadlineSeconds=60, terminationGracePeriodSeconds=30)


def test_only_a_negative_priority_becomes_nice() -> None:
    assert "--nice=100" in options(priority=-100)
    assert options(priority=1000) == LEAST


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partition", "small"),
        ("account", "physics"),
        ("qos", "high"),
        ("constraint", "[rack1|rack2]&gpu"),
        ("reservation", "maint.1"),
        ("nodes", "2-4"),
    ],
)
def test_annotations_become_options(name: str, value: str) -> None:
    assert f"{OPTIONS[name].name}={value}" in options({name: value})


def test_flags_are_words_of_a_list() -> None:
    assert options({"flags": "exclusive, requeue"}) == ["--cpus-per-task=1", "--exclusive", "--requeue"]
    with pytest.raises(InvalidRequest, match="unknown word"):
        options({"flags": "wrap=reboot"})


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize("value", ["-x", "a b", "$(reboot)", "a;b", "a\nb", "'", "`id`", "a%j"])
def test_no_annotation_reaches_a_shell(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"{PREFIX}{name}\]"):
        options({name: value})


def test_an_unknown_annotation_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no such annotation"):
        options({"wrap": "x"})


def test_the_first_chosen_partition_is_the_default() -> None:
    chosen = {"slurm_partitions": "small,main"}
    assert "--partition=small" in options(settings=chosen)
    assert "--partition=main" in options({"partition": "main"}, settings=chosen)
    with pytest.raises(InvalidRequest, match="not a partition of this node"):
        options({"partition": "secret"}, settings=chosen)


def test_a_node_selector_selects_as_annotations_do() -> None:
    selector = {f"{PREFIX}constraint": "fast", "kubernetes.io/os": "linux"}
    assert "--constraint=fast" in options(nodeSelector=selector)
    assert "--constraint=slow" in options({"constraint": "slow"}, nodeSelector=selector)


def test_the_document_lists_options_and_flags() -> None:
    text = (ROOT / "docs" / "slurm.md").read_text()
    assert all(f"| `{name}` | `{option.name}` |" in text for name, option in OPTIONS.items())
    assert all(f"`{flag}`" in text for flag in FLAGS)
