"""An application with a recorded history."""

import pytest
from flask import Flask

from tests.app.audit.recorded import RUNTIME, record_history
from tests.conftest import Clock, MakeApp


@pytest.fixture
def recorded(make_app: MakeApp, clock: Clock) -> Flask:
    """An application with the recorded history, its audit chained; the time is the end of the history."""
    app = make_app(runtime=RUNTIME, audit_hash_chain=True)
    record_history(app, clock)
    return app
