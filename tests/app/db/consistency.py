"""Invariants of the tables, which hold after every write and after every fault."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select, text

from app.db.engine import Database
from app.db.models import AuditEvent, Fleet, Pod, PodStatus


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """Yield a connection on which all statements see one snapshot."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def assert_nothing_is_half_written(database: Database) -> None:
    """Compare the tables with each other: every change is stored completely or not at all."""
    with snapshot(database) as connection:
        if database.is_sqlite:
            assert connection.execute(text("PRAGMA integrity_check")).all() == [("ok",)]
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        fleets = {fleet.name: fleet.revision for fleet in connection.execute(select(Fleet.name, Fleet.revision))}
        done = select(AuditEvent.revision).where(AuditEvent.code == 200).order_by(AuditEvent.revision)
        for name, revision in fleets.items():
            revisions = connection.scalars(done.where(AuditEvent.fleet == name)).all()
            assert revisions == list(range(1, revision + 1))
        without_status = select(Pod.name).where(~Pod.statuses.any(PodStatus.effective_at <= Pod.updated_at))
        assert connection.scalars(without_status).all() == []
        after_the_end = select(Pod.name).where(Pod.statuses.any(PodStatus.effective_at > Pod.deleted_at))
        assert connection.scalars(after_the_end).all() == []
        known = select(Pod.id).where(Pod.fleet == AuditEvent.fleet, Pod.uid == AuditEvent.uid)
        orphans = select(AuditEvent.id).where(AuditEvent.code == 200, ~known.exists())
        assert connection.scalars(orphans).all() == []
        recorded = select(AuditEvent.id).where(AuditEvent.fleet == Pod.fleet, AuditEvent.revision == Pod.revision)
        assert connection.scalars(select(Pod.name).where(~recorded.exists())).all() == []
        nodes = connection.execute(select(Pod.fleet, Pod.node_name, Pod.pod)).all()
        assert all(node == json.loads(pod)["spec"].get("nodeName", fleet) for fleet, node, pod in nodes)
        elsewhere = known.where(Pod.node_name != AuditEvent.node())
        assert connection.scalars(select(AuditEvent.id).where(elsewhere.exists())).all() == []
        live = select(Pod.fleet, Pod.pod_ip).where(Pod.deleted_at.is_(None), Pod.pod_ip.is_not(None))
        addresses = connection.execute(live).all()
        assert len(set(addresses)) == len(addresses)
