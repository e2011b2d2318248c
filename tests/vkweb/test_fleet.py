"""`vkweb fleet check`: the nodes of a fleet file, and its errors."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vkweb.fleet import fleet

FILE = """\
adopt: {kwok.x-k8s.io/node: fake}
pools:
- {name: spot, count: 12, capacity: {cpu: 8, memory: 32Gi}, allocatable: {cpu: 7}, zones: [eu-1a, eu-1b]}
- {name: base, count: 1, taints: [{key: base, effect: NoExecute}]}
- {name: none, count: 0}
"""


def run(*arguments: str, code: int = 0, text: str = "", **environment: str) -> str:
    """Run `vkweb fleet ARGUMENTS`; check its exit status, and return its output."""
    clean = dict.fromkeys(("NODES", "FLEET", "NODE_NAME", "WEB_ENDPOINT_URL", "DISABLE_TAINT"))
    result = CliRunner().invoke(fleet, arguments, input=text, env={**clean, **environment})
    assert result.exit_code == code, result.output
    assert not isinstance(result.exception, Exception)
    return result.output


def test_a_valid_file_is_a_table_of_pools() -> None:
    valid, adopts, header, *pools = run("check", "-", text=FILE, DISABLE_TAINT="true").splitlines()
    assert (valid, adopts) == ("stdin: valid; number of nodes: 13", "adopts Nodes with kwok.x-k8s.io/node=fake")
    assert header.split() == ["POOL", "COUNT", "NODES", "CAPACITY", "ALLOCATABLE", "ZONES", "TAINTS"]
    assert [" ".join(pool.split()) for pool in pools] == [
        "spot 12 spot-0 … spot-11 cpu=8 memory=32Gi cpu=7 eu-1a eu-1b -",
        "base 1 base-0 - - - base:NoExecute",
        "none 0 - - - - -",
    ]


def test_each_node_is_an_object_of_json() -> None:
    nodes = [json.loads(line) for line in run("check", "-", "--json", text=FILE, NODE_NAME="lab").splitlines()]
    assert [node["name"] for node in nodes][-2:] == ["spot-11", "base-0"]
    assert nodes[1]["labels"]["topology.kubernetes.io/zone"] == "eu-1b"
    assert {node["labels"]["fleet.virtual-kubelet.io/name"] for node in nodes} == {"lab"}


def test_every_file_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "pools: []"), ("b", "pools:\n- {name: a}"), ("c", "pools: [")):
        Path(name).write_text(text)
    assert run("check", "a", "b", "c", code=1).splitlines() == [
        "a: valid; number of nodes: 0",
        "b:2: pools[0].count: must be set",
        "c:1: expected the node content, but found '<stream end>'",
    ]


def test_invalid_settings_are_an_error() -> None:
    assert run("check", "-", code=1, text=FILE, NODE_NAME="a.b").startswith(
        "environment: NODE_NAME: for a fleet, "
    )
