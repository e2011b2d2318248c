"""The workflows of CI use the repository's own commands and minimal permissions."""

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from tests.server import ROOT

WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
EACH = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS.keys())


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@EACH
def test_commands_exist_in_the_repository(workflow: dict[str, Any]) -> None:
    targets = set(re.findall(r"^([a-z./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(workflow):
        run = step.get("run", "")
        subprocess.run(["bash", "-n", "-c", run], check=True)
        assert set(re.findall(r"^make (\S+)", run, re.MULTILINE)) <= targets
        for path in re.findall(r"(?:^|\s)((?:\.ci|tests|helm)/\S+)", run):
            assert (ROOT / path).exists(), path


@EACH
def test_permissions_are_minimal_and_time_is_limited(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())


@EACH
def test_actions_are_pinned_to_a_version(workflow: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in steps(workflow) if "uses" in step)


def test_every_supported_python_is_tested() -> None:
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    tested = WORKFLOWS["test"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert f">={tested[0]}" == oldest
    minors = [int(version.removeprefix("3.")) for version in tested]
    assert minors == list(range(minors[0], minors[-1] + 1))
