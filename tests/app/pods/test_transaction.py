"""A step of a transaction that fails after its changes were written."""

import pytest
from flask import Flask

from app.core.errors import DiskFull
from app.db.statement import execute
from app.pods.transaction import FleetTransaction
from tests.app.web.conftest import on_sqlite_alone
from tests.conftest import services_of


@on_sqlite_alone
def test_a_full_disk_within_a_savepoint_is_reported(app: Flask) -> None:
    """SQLite ends the whole transaction, with its savepoints."""
    with pytest.raises(DiskFull):
        fill_the_disk(app)


def fill_the_disk(app: Flask) -> None:
    services = services_of(app)
    begin = FleetTransaction.begin(services.database, services.settings, clock=services.clock)
    with begin as transaction, transaction.step():
        transaction.rows.flush()
        execute(transaction.connection, "PRAGMA max_page_count = 1")
        execute(transaction.connection, "INSERT INTO alembic_version VALUES (zeroblob(1000000))")
