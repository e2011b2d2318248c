"""Pods by their labels, on both databases."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.db.engine import Database
from app.db.models import Pod
from app.kubernetes.label_selector import parse_label_selector
from app.pods.label_filter import has_labels
from tests.app.web.conftest import put_on
from tests.conftest import MakeApp
from tests.pods import a_pod

LABELS = {
    "plain": None,
    "web": {"app": "web", "example.com/size": "10"},
    "db": {"app": "db", "example.com/size": "9"},
    "blank": {"app": "", "example.com/size": "big"},
}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


def test_pods_match_a_selector(client: FlaskClient, database: Database) -> None:
    for name, labels in LABELS.items():
        put_on(client, a_pod(name, metadata={"labels": labels, "annotations": {"a": "\0"}}))

    def found(selector: str) -> list[str]:
        query = select(Pod.name).where(has_labels(parse_label_selector(selector))).order_by(Pod.id)
        with database.read() as connection:
            return list(connection.scalars(query))

    assert found("") == list(LABELS)
    assert found("app") == ["web", "db", "blank"]
    assert found("!app") == ["plain"]
    assert found("app=web") == ["web"]
    assert found("app=") == ["blank"]
    assert found("app!=web") == ["plain", "db", "blank"]
    assert found("app in (web,db),example.com/size") == ["web", "db"]
    assert found("app notin (web,db)") == ["plain", "blank"]
    assert found("example.com/size > 9") == ["web"]
    assert found("example.com/size < 10") == ["db"]
    assert found("app=web,app=db") == []
