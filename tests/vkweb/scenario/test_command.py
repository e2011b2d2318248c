"""`vkweb scenario`: check, dry run, play with record and report, errors."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from app.db.engine import Database
from app.db.fleets import add_fleet
from tests.broker.apiserver import ApiServer
from tests.broker.certificates import Authority
from tests.broker.kubeconfig import write_kubeconfig
from tests.server import CLEAN, ROOT
from vkweb.scenario.command import scenario

POOL = "fleet.virtual-kubelet.io/pool"
SCENARIO = """\
seed: 3
steps:
- {at: 0s, action: partition, pool: spot, count: 2, for: 200ms}
- {at: 100ms, action: drain, pool: spot, count: 1}
"""


def run(*arguments: str, code: int = 0, env: Mapping[str, str | None] = {}) -> str:
    """Run `vkweb scenario ARGUMENTS` in this process; check its exit status, and return its output."""
    clean = dict.fromkeys(("KUBECONFIG", "DATABASE_URL", "NODE_NAME"))
    result = CliRunner().invoke(scenario, arguments, env={**clean, **env})
    assert result.exit_code == code, result.output
    assert not isinstance(result.exception, Exception)
    return result.output


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start `vkweb scenario ARGUMENTS` of the checkout."""
    return subprocess.Popen(
        [sys.executable, ROOT / "vkweb", "scenario", *arguments],
        env={**CLEAN, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, which has no database."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The scenario, in the current folder of the command."""
    (tmp_path / "spot.yaml").write_text(SCENARIO)
    return "spot.yaml"


@pytest.fixture
def kubeconfig(api: ApiServer, authority: Authority, tmp_path: Path) -> str:
    """A kubeconfig of the fake API server, whose cluster has three nodes of the pool spot."""
    for index in range(3):
        labels = {"type": "virtual-kubelet", POOL: "spot"}
        api.store.create("nodes", {"metadata": {"name": f"spot-{index}", "labels": labels}, "spec": {}})
    return str(write_kubeconfig(tmp_path / "kubeconfig", api, authority))


def test_check_prints_errors_of_every_file(tmp_path: Path, file: str) -> None:
    (tmp_path / "bad.yaml").write_text("seed: 1\nsteps:\n- {at: 1s, action: slwo}\n")
    valid, error = run("check", file, "bad.yaml", code=1).splitlines()
    assert valid == "spot.yaml: valid; number of steps: 2"
    assert error.startswith("bad.yaml:3: steps[0].action: must be one of 'notReady', ")


def test_the_schema_is_printed() -> None:
    assert run("schema") == (ROOT / "docs" / "scenario.schema.json").read_text()


def test_a_dry_run_needs_no_cluster(file: str) -> None:
    plan = run("play", file, "--dry-run", "--pool", "spot=12")
    assert plan == run("play", file, "--dry-run", "--pool", "spot=12")
    assert plan != run("play", file, "--dry-run", "--pool", "spot=12", "--seed", "4")
    assert [line.split()[:3] for line in plan.splitlines()] == [
        ["TIME", "STEP", "ACTION"],
        ["0s", "1", "partition"],
        ["0.1s", "2", "drain"],
        ["0.2s", "1", "recover"],
        ["0.2s", "end", "recover"],
    ]


def test_a_pool_may_be_empty(file: str) -> None:
    printed = run("play", file, "--dry-run", "--pool", "spot=0", env={"KUBECONFIG": "none"})
    assert "steps[0].pool: no node is in the pool spot\n" in printed
    assert "partition  no node" in printed


def test_unknown_pools_and_nodes_are_warned_of(tmp_path: Path) -> None:
    steps = [
        "{at: 1s, action: partition, pool: spot, count: 1}",
        "{at: 1s, action: recover, nodes: [spot-1, nobody]}",
    ]
    (tmp_path / "odd.yaml").write_text("steps:\n" + "".join(f"- {step}\n" for step in steps))

    printed = run("play", "odd.yaml", "--dry-run", "--pool", "sopt=2").splitlines()

    assert [" ".join(line.split()) for line in printed if not line.startswith("Warning")] == [
        "TIME STEP ACTION NODES",
        "1s 1 partition no node; 1 fewer than the step wants",
        "1s 2 recover no node; not spot-1 nobody: there is no such node",
    ]
    assert [line for line in printed if line.startswith("Warning")] == [
        "Warning: odd.yaml:2: steps[0].pool: no node is in the pool spot",
        "Warning: odd.yaml:3: steps[1].nodes: there is no node spot-1",
        "Warning: odd.yaml:3: steps[1].nodes: there is no node nobody",
    ]


async def test_a_play_is_recorded_and_reported(
    api: ApiServer, kubeconfig: str, file: str, database_url: str, database: Database
) -> None:
    environment = {"KUBECONFIG": kubeconfig, "DATABASE_URL": database_url}
    planned = json_lines(await asyncio.to_thread(run, "play", file, "--dry-run", "--json", env=environment))
    process = start("play", file, "--report", "--json", **environment)
    printed, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    plays = [line["play"] for line in json_lines(printed) if "play" in line]
    (drained,) = [play for play in plays if play["action"] == "drained"]
    plays.remove(drained)
    assert drained["details"] == {"evicted": 0, "left": {}}
    keys = ("step", "action", "nodes")
    assert [{key: play[key] for key in keys} for play in plays] == [{key: e[key] for key in keys} for e in planned]
    reports = [line for line in json_lines(printed) if "play" not in line]
    assert [(found["action"], found["nodes"]) for found in reports] == [("partition", 2), ("drain", 1)]
    with database.read() as connection:
        recorded = connection.execute(text("SELECT verb, code FROM audit_log")).all()
    assert [tuple(row) for row in recorded] == [("scenario", 200)] * (len(plays) + 1)
    assert not faulty(api)
    assert json_lines(run("report", "--json", env=environment)) == reports
    assert run("report", "nope", code=1, env=environment) == (
        "Error: the audit log has no scenario with the request ID nope\n"
    )


async def test_an_interrupted_play_recovers_its_nodes(api: ApiServer, kubeconfig: str, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("duration: 1h\nsteps: [{at: 0s, action: partition, count: 3}]\n")
    process = start("play", "long.yaml", "--no-audit", KUBECONFIG=kubeconfig)
    await api.until(lambda: len(faulty(api)) == 3, seconds=60)
    process.send_signal(signal.SIGINT)
    printed, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert [line.split()[2] for line in printed.splitlines()] == ["ACTION", "partition", "recover"]
    assert not faulty(api)


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "message"),
    [
        (["bad.yaml"], {}, 1, "Error: bad.yaml:1: steps: must not be empty\n"),
        (["spot.yaml"], {}, 3, "Error: there is no database at "),
        (["spot.yaml", "--no-audit"], {"KUBECONFIG": "none"}, 1, "Error: kubeconfig none: "),
        (["spot.yaml", "--no-audit", "--report"], {}, 2, "Usage: "),
        (["spot.yaml", "--dry-run", "--pool", "spot"], {}, 2, "Usage: "),
        (["spot.yaml", "--pool", "spot=3"], {}, 2, "Usage: "),
        (["spot.yaml", "--dry-run", "--pool", "a=6000", "--pool", "b=6000"], {}, 2, "Usage: "),
        (["spot.yaml", "--dry-run", "--pool", f"spot={'9' * 5000}"], {}, 2, "Usage: "),
    ],
)
def test_an_error_is_no_traceback(
    tmp_path: Path, file: str, arguments: list[str], environment: dict[str, str], code: int, message: str
) -> None:
    (tmp_path / "bad.yaml").write_text("steps: []\n")
    assert file in arguments or arguments == ["bad.yaml"]
    assert run("play", *arguments, code=code, env=environment).startswith(message)


def test_another_node_of_the_database_is_named(database_url: str, database: Database) -> None:
    with database.write() as connection:
        add_fleet(connection, "pool-a")
    printed = run("report", code=1, env={"DATABASE_URL": database_url})
    assert printed == "Error: the database has no node virtual-kubelet-web; set NODE_NAME to one of pool-a\n"
    assert run("report", code=1, env={"DATABASE_URL": database_url, "NODE_NAME": "pool-a"}) == (
        "Error: the audit log has no scenario\n"
    )


def faulty(api: ApiServer) -> list[str]:
    """Return the nodes that have annotations."""
    nodes = api.store.list("nodes")
    return [node["metadata"]["name"] for node in nodes if node["metadata"].get("annotations")]


def json_lines(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]
