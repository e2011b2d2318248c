"""The OpenAPI document is true: what it says of requests and answers is what the provider does."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings

from app.web.api.openapi import document
from tests.app.web.conftest import Share, on_sqlite_alone
from tests.pods import a_pod
from tests.server import Server

RULES_THAT_NO_SCHEMA_CAN_SAY = (
    "another container of this pod has the same name",
    "metadata.uid: belongs to ",  # another pod that was tried before
    "not a quantity such as",  # of cpu and memory alone, and where they count
    "sinceTime and sinceSeconds exclude each other",
    "expected `int",  # 1.0 and 2**64 are whole numbers to JSON Schema, and no integers to Go
)

CONFIG = schemathesis.Config.from_dict(
    {
        # Its body is the one of /createPod, of which every boundary is tried.
        "operations": [{"include-path": "/updatePod", "phases": {"coverage": {"enabled": False}}}],
    }
)
CONTRACT = orjson.loads(document())
schema = schemathesis.openapi.from_dict(CONTRACT, config=CONFIG)


@schema.hook
def filter_failure(context: Any, failure: object, case: object, response: schemathesis.Response) -> bool:
    """Say whether a failure is one: what is valid to the schema may break a rule beyond it."""
    return not any(rule in response.text for rule in RULES_THAT_NO_SCHEMA_CAN_SAY)


@pytest.fixture(scope="module")
def fuzzed(share: Share) -> Iterator[Server]:
    """A provider that has a pod of the name that is tried most often."""
    with share() as server, closing(server.client()) as client:
        assert client.request("POST", "/createPod", a_pod("0", namespace="0")).code == 200
        yield server


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_provider_does_what_the_document_says(fuzzed: Server, case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{fuzzed.port}")


@on_sqlite_alone
def test_the_document_has_exactly_the_routes(app: Flask) -> None:
    routes = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.rule.startswith("/ui/")  # pages, for people
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {(path, method) for path, item in CONTRACT["paths"].items() for method in item} == routes
