"""The files of an SQLite database: nobody but their owner can read them."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.db.migrate import upgrade
from tests.conftest import Serve
from tests.pods import a_pod

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def sqlite_file(database_url: str) -> Path:
    return Path(make_url(database_url).database or "")


@ON_SQLITE
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_database_files_are_private_under_any_umask(empty_database_url: str, umask: int) -> None:
    path = sqlite_file(empty_database_url)
    with the_umask(umask):
        upgrade(make_url(empty_database_url))
    assert {file.name: mode(file) for file in path.parent.iterdir()} == {
        "provider.db": "0o600",
        "provider.db.lock": "0o600",
    }
    assert mode(path.parent) == "0o700"


@ON_SQLITE
def test_a_directory_that_others_share_keeps_its_mode(empty_database_url: str) -> None:
    path = sqlite_file(empty_database_url)
    path.parent.mkdir()
    path.parent.chmod(0o755)
    upgrade(make_url(empty_database_url))
    assert (mode(path.parent), mode(path)) == ("0o755", "0o600")


@ON_SQLITE
def test_a_file_that_others_can_read_is_narrowed(database_url: str) -> None:
    path = sqlite_file(database_url)
    path.chmod(0o644)
    upgrade(make_url(database_url))
    assert mode(path) == "0o600"


@ON_SQLITE
def test_database_files_stay_private_while_serving(database_url: str, serve: Serve) -> None:
    path = sqlite_file(database_url)
    path.chmod(0o600)
    with the_umask(0), serve() as server:
        with closing(server.client()) as client:
            assert client.request("POST", "/createPod", a_pod()).code == 200
        modes = {file.name: mode(file) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("provider.db", "provider.db-wal", "provider.db-shm", "provider.db.lock"), "0o600"
    )


@contextmanager
def the_umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
