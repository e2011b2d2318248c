"""The documents: examples print what they show, settings are documented, links resolve, rules are kept."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.settings import Settings
from tests.app.runtimes.process.conftest import root
from tests.conftest import Serve
from tests.documents import EXAMPLES, FILE, page, run_examples
from tests.server import ROOT

__all__ = ["root"]  # a fixture

DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)\s]+)\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_page(serve: Serve, root: Path, tmp_path: Path) -> Callable[[str], None]:
    """A function that follows a document in an empty folder. Files below `/tmp` are below that folder."""
    missing = [command for command in ("curl", "sqlite3") if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")
    settings = {"RUNTIME_DIRECTORY": str(root), "PYTHONPATH": f"{tmp_path}/queue"}

    def run(path: str) -> None:
        text = page(path)
        for name, source in FILE.findall(text):
            (tmp_path / "queue" / name).write_text(source)
        with serve(**settings, **EXAMPLES[path]) as server:
            run_examples(text.replace("/tmp/queue/jobs", str(root)), port=server.port, cwd=tmp_path)

    (tmp_path / "queue").mkdir()
    return run


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("path", EXAMPLES)
def test_each_document_stands_alone(path: str, run_page: Callable[[str], None], tmp_path: Path) -> None:
    run_page(path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written <= {"data", "queue", "runtime", "server.log", "backup.db", "restored"}


def test_every_document_with_examples_is_run() -> None:
    assert {path for path in DOCUMENTS if "<!-- test -->" in page(path)} == set(EXAMPLES)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_resolve(path: str) -> None:
    """A link names a file of the repository, and its anchor a heading of that file."""
    for link in LINK.findall(FENCE.sub("", page(path))):
        target, _, anchor = link.partition("#")
        file = (ROOT / path).parent / target if target else ROOT / path
        assert file.exists(), f"{path}: {link}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{path}: {link}"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_images_are_small_and_described(path: str) -> None:
    for text, image in IMAGE.findall(page(path)):
        assert text, f"{path}: {image} has no alternative text"
        assert ((ROOT / path).parent / image).stat().st_size < 200_000


def test_the_index_lists_every_document() -> None:
    listed = set(LINK.findall(page("docs/README.md")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 150


def test_contributing_names_existing_modules() -> None:
    folders = "app|broker|conformance|migrations|tests|helm|docs"
    names = re.findall(rf"`((?:{folders})/[\w./-]*)`", page("CONTRIBUTING.md"))
    assert len(names) > 30
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_no_module_of_tests_imports_another() -> None:
    imports = re.compile(r"^\s*(?:from|import) tests\b.*\btest_", re.MULTILINE)
    modules = [path for path in (ROOT / "tests").rglob("*.py") if imports.search(path.read_text())]
    assert modules == []


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))
    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == listed


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, formed as on GitHub."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
