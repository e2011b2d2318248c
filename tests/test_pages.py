"""The documents: the configuration reference, backups, metrics, troubleshooting, and the tutorial on a cluster."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.core.settings import Settings
from app.db.migrate import upgrade
from broker.metrics import Metrics
from docs.configuration import page as configuration
from tests.documents import page, run_examples
from tests.postgres import PostgresServer
from tests.server import ROOT

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
EACH = pytest.mark.parametrize("path", PAGES)
SETTINGS = {name.upper() for name in Settings.model_fields}


def need(*commands: str) -> None:
    """Skip if a program is not installed; in CI the test fails instead."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")


def test_the_reference_lists_the_settings() -> None:
    assert page("docs/configuration.md") == configuration(), "run `make docs`"


@EACH
def test_every_command_is_tested_or_marked(path: str) -> None:
    """Or it is a target of the Makefile, or an example that is marked as such."""
    targets = set(re.findall(r"^\.PHONY: (\S+)", page("Makefile"), re.MULTILINE))
    for mark, commands in re.findall(r"^(.*)\n```(?:sh|console|bash)\n((?:.*\n)*?)```$", page(path), re.MULTILINE):
        if re.fullmatch(r"<!-- (test|cluster|example)(: [a-z ]+)? -->", mark):
            continue
        for line in commands.splitlines():
            found = re.fullmatch(r"((?:\w+=\S+ )*)make ([\w-]+)(?: ARGS='[^']*')?", line)
            assert found, f"neither marked nor a target of the Makefile: {line}"
            assert found[2] in targets
            assert set(re.findall(r"(\w+)=", found[1])) <= SETTINGS | {"PYTHONPATH"}


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_postgresql_backup_is_readable(database_url: str, tmp_path: Path) -> None:
    need("pg_dump", "pg_restore")
    text = page("docs/operations.md").replace("<!-- test -->", "")
    text = text.replace("<!-- test: postgresql -->", "<!-- test -->")
    text = text.replace("postgresql://provider:secret@db.example/provider", database_url)
    run_examples(text, port=0, cwd=tmp_path)


def test_postgresql_is_set_up_by_two_statements(postgres: PostgresServer) -> None:
    """The role owns its database, so that it can create tables in it."""
    statements = re.search(r"```sql\n(CREATE ROLE.*?)```", page("docs/operations.md"), re.DOTALL)
    assert statements
    for statement in statements[1].strip().splitlines():
        postgres.execute(statement)
    try:
        upgrade(make_url(postgres.url("provider")).set(username="provider", password="secret"))
    finally:
        postgres.execute("DROP DATABASE provider")
        postgres.execute("DROP ROLE provider")


def test_metrics_have_the_names_of_the_broker() -> None:
    metrics = Metrics()
    metrics.register_nodes(nodes=lambda: 1, pods=lambda: 0, ready=lambda: True, last_sync=lambda: None)
    known = {metric.name for metric in metrics.registry.collect()}
    pattern = r"virtual_kubelet_web_\w+?(?=_total\b|\b)"
    documented = set(re.findall(pattern, page("docs/operations.md")))
    assert documented
    assert documented <= known


@pytest.mark.parametrize(
    "words",
    ["node not registered", "ProviderUnavailable", "this version needs", "OutOf", "Mandatory", "FailedMount"],
)
def test_troubleshooting_quotes_existing_messages(words: str) -> None:
    assert words in page("docs/operations.md")
    assert any(words in path.read_text() for name in ("app", "broker") for path in (ROOT / name).rglob("*.py"))


@pytest.mark.cluster
def test_the_tutorial_runs_on_a_cluster(request: pytest.FixtureRequest) -> None:
    """Run every command on the kind cluster that KUBECONFIG names."""
    if "cluster" not in request.config.option.markexpr or not all(map(shutil.which, ("helm", "kind", "docker"))):
        pytest.skip("needs -m cluster, docker, kind and helm")
    steps = re.findall(
        r"<!-- cluster -->\n```sh\n(.*?)```\n(?:```text\n(.*?)```)?", page("docs/tutorial.md"), re.DOTALL
    )
    for commands, expected in steps:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert not expected or re.fullmatch(pattern, done.stdout.strip()), f"{commands}\n{done.stdout}"
