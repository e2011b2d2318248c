"""A fixture of an application with a recorded history."""

import pytest
from flask import Flask

from tests.app.audit.recorded import RUNTIME, record_history
from tests.conftest import Clock, MakeApp


@pytest.fixture
def recorded(make_app: MakeApp, clock: Clock) -> Flask:
    """Return an application with the recorded history and a hash chain; the clock is at its end."""
    app = make_app(runtime=RUNTIME, audit_hash_chain=True)
    record_history(app, clock)
    return app
