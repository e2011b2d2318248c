"""The OpenAPI document: requests are accepted and responses are shaped as described."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, settings
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema

from app.web.api.openapi import document
from tests.app.web.conftest import Share, on_sqlite_alone
from tests.pods import a_pod
from tests.server import Server

RULES_THAT_NO_SCHEMA_CAN_SAY = (
    "another container of this pod has the same name",
    "metadata.uid: belongs to ",  # of another example
    "not a quantity such as",  # only of cpu and memory, in some fields
    "previous terminated container",  # of a container that has not been restarted
    "sinceTime and sinceSeconds exclude each other",
    "].path: ",  # what a path is, and that no two are in each other's way
    "another volume of this request has the same name",
    "invalid base64 encoded string",
    "expected `int",  # 1.0 and 2**64 are integers in JSON Schema, but not in Go
)

CONFIG = schemathesis.Config.from_dict(
    {
        # Its body is that of /createPod, whose boundaries are all tested.
        "operations": [
            {"include-path": "/updatePod", "phases": {"coverage": {"enabled": False}}},
            {
                # An item that is not valid has its code in the response, which is 200.
                "include-path": "/deletePods",
                "phases": {"coverage": {"enabled": False}},
                "checks": {"negative_data_rejection": {"enabled": False}},
            },
            *(
                # Without a WebSocket handshake, a valid request is answered with 426.
                {"include-path": path, "checks": {"positive_data_acceptance": {"enabled": False}}}
                for path in ("/exec", "/attach", "/portForward")
            ),
        ],
    }
)
SETTINGS = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CONTRACT = orjson.loads(document())
OPERATIONS = [f"{method.upper()} {path}" for path, item in CONTRACT["paths"].items() for method in item]


@pytest.fixture(scope="module")
def contract() -> BaseSchema:
    """Return the document, whose requests are generated when a test runs, not when each worker collects it."""
    schema = schemathesis.openapi.from_dict(CONTRACT, config=CONFIG)

    @schema.hook
    def filter_failure(context: Any, failure: object, case: object, response: schemathesis.Response) -> bool:
        """Return whether a failure counts: a valid request can break a rule that no schema expresses."""
        return not any(rule in response.text for rule in RULES_THAT_NO_SCHEMA_CAN_SAY)

    return schema


@pytest.fixture(scope="module")
def fuzzed(share: Share) -> Iterator[Server]:
    """Yield a provider with a pod of the name that is generated most often."""
    with share() as server, closing(server.client()) as client:
        assert client.request("POST", "/createPod", a_pod("0", namespace="0")).code == 200
        yield server


# The items of /createPods are those of /createPod; arrays of whole Pods take long to generate.
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "POST /createPods"])
def test_the_provider_does_what_the_document_says(fuzzed: Server, contract: BaseSchema, operation: str) -> None:
    def call(case: schemathesis.Case[Any]) -> None:
        if str(case.query.get("follow")).lower() in ("1", "t", "true"):
            case.query["follow"] = "false"  # the log of a pod that runs does not end
        case.call_and_validate(base_url=f"http://127.0.0.1:{fuzzed.port}")

    schema = contract.exclude(lambda context: context.operation.label != operation)
    (found,) = get_all_tests(schema=schema, test_func=call, settings=SETTINGS, given_kwargs=None)
    assert isinstance(found, Ok)
    _, send_all = found.ok()
    send_all()


@on_sqlite_alone
def test_the_document_has_exactly_the_routes(app: Flask) -> None:
    routes = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        if not f"{rule.rule}/".startswith("/ui/")  # HTML pages
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {(path, method) for path, item in CONTRACT["paths"].items() for method in item} == routes
