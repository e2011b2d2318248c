"""A fixture of an application with a recorded history."""

import shutil
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import make_url

from app import create_app
from app.core.settings import Settings
from tests.app.audit.recorded import END, RUNTIME, record_history
from tests.conftest import Clock, MakeApp, services_of

SETTINGS = {"runtime": RUNTIME, "audit_hash_chain": True}


@pytest.fixture(scope="session")
def recorded_file(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with the recorded history, to copy."""
    path = tmp_path_factory.mktemp("recorded") / "provider.db"
    shutil.copy(sqlite_template, path)
    clock = Clock()
    app = create_app(Settings.model_validate({"database_url": f"sqlite:///{path}", **SETTINGS}), clock=clock)
    record_history(app, clock)
    services_of(app).database.dispose()
    assert [file.name for file in path.parent.iterdir() if file.stat().st_size] == [path.name]
    return path


@pytest.fixture
def recorded(request: pytest.FixtureRequest, make_app: MakeApp, clock: Clock, database_url: str) -> Flask:
    """Return an application with the recorded history and a hash chain; the clock is at its end."""
    path = make_url(database_url).database
    if database_url.startswith("sqlite") and path:
        shutil.copy(request.getfixturevalue("recorded_file"), path)
        clock.now = END
        return make_app(**SETTINGS)
    app = make_app(**SETTINGS)
    record_history(app, clock)
    return app
