"""The pages are true: commands do what they say, names are the programs' own, links lead somewhere."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.core.settings import Settings
from broker.metrics import Metrics
from docs.configuration import page as configuration
from tests.conftest import Serve
from tests.documents import page, run_examples
from tests.server import ROOT

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
EACH = pytest.mark.parametrize("path", PAGES)
SETTINGS = {name.upper() for name in Settings.model_fields}


def need(*commands: str) -> None:
    """Skip where a program is not installed; in CI, nothing is skipped."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")


def test_the_reference_is_that_of_the_settings() -> None:
    assert page("docs/configuration.md") == configuration(), "run `make docs`"


@EACH
def test_every_command_is_run_by_a_test_or_needs_a_cluster(path: str) -> None:
    """Or it is a command of the Makefile, for people at a terminal."""
    targets = set(re.findall(r"^\.PHONY: (\S+)", page("Makefile"), re.MULTILINE))
    for mark, commands in re.findall(r"^(.*)\n```sh\n((?:.*\n)*?)```$", page(path), re.MULTILINE):
        if re.fullmatch(r"<!-- (test|cluster)(: [a-z ]+)? -->", mark):
            continue
        for line in commands.splitlines():
            found = re.fullmatch(r"((?:\w+=\S+ )*)make ([\w-]+)(?: ARGS='[^']*')?", line)
            assert found, f"neither marked nor a command of the Makefile: {line}"
            assert found[2] in targets
            assert set(re.findall(r"(\w+)=", found[1])) <= SETTINGS | {"PYTHONPATH"}


@EACH
def test_links_lead_somewhere(path: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page(path)):
        assert ((ROOT / path).parent / target).exists(), target


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_backup_of_sqlite_is_made_and_restored(serve: Serve, tmp_path: Path) -> None:
    need("sqlite3")
    with serve() as server:
        run_examples(page("docs/operations.md"), port=server.port, cwd=tmp_path)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_backup_of_postgresql_is_made(database_url: str, tmp_path: Path) -> None:
    need("pg_dump", "pg_restore")
    text = page("docs/operations.md").replace("<!-- test -->", "")
    text = text.replace("<!-- test: postgresql -->", "<!-- test -->")
    text = text.replace("postgresql://provider:secret@db.example/provider", database_url)
    run_examples(text, port=0, cwd=tmp_path)


def test_metrics_have_the_names_of_the_broker() -> None:
    metrics = Metrics()
    metrics.register_node(pods=lambda: 0, ready=lambda: True, last_sync=lambda: None)
    known = {metric.name for metric in metrics.registry.collect()}
    told = set(re.findall(r"virtual_kubelet_web_\w+", page("docs/operations.md")))
    assert told
    assert told <= known


@pytest.mark.parametrize(
    "words",
    ["the node cannot be registered", "ProviderUnavailable", "this version needs", "OutOf", "Mandatory"],
)
def test_troubleshooting_quotes_what_the_programs_say(words: str) -> None:
    assert words in page("docs/operations.md")
    assert any(words in path.read_text() for name in ("app", "broker") for path in (ROOT / name).rglob("*.py"))


@pytest.mark.cluster
def test_the_walk_goes_on_a_cluster(request: pytest.FixtureRequest) -> None:
    """Walk from the image to the last trace, on the kind cluster that KUBECONFIG names."""
    if "cluster" not in request.config.option.markexpr or not all(map(shutil.which, ("helm", "kind", "docker"))):
        pytest.skip("needs -m cluster, docker, kind and helm")
    steps = re.findall(
        r"<!-- cluster -->\n```sh\n(.*?)```\n(?:```text\n(.*?)```)?", page("docs/walk.md"), re.DOTALL
    )
    for commands, expected in steps:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert not expected or re.fullmatch(pattern, done.stdout.strip()), f"{commands}\n{done.stdout}"
