"""The pod that a request refers to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequest
from app.kubernetes.manifest import parse_reference
from app.kubernetes.pod import PodReference
from tests.app.simulation import NESTS, json_values


@pytest.mark.parametrize(
    ("body", "uid"),
    [
        pytest.param({"metadata": {"name": "a", "namespace": "b"}}, None, id="least"),
        pytest.param({"metadata": {"name": "a", "namespace": "b", "uid": "u"}}, "u", id="uid"),
        pytest.param({"metadata": {"name": "a", "namespace": "b"}, "spec": {"containers": []}}, None, id="no pod"),
        pytest.param({"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}, "spec": 5}, None, id="any spec"),
    ],
)  # fmt: skip
def test_a_reference_needs_only_namespace_and_name(body: Any, uid: str | None) -> None:
    assert parse_reference(json.dumps(body).encode()) == PodReference(namespace="b", name="a", uid=uid)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"[]", None, id="list"),
        pytest.param(b"{}", "metadata", id="empty"),
        pytest.param(b'{"metadata":{"namespace":"b"}}', "metadata.name", id="no name"),
        pytest.param(b'{"metadata":{"name":"a"}}', "metadata.namespace", id="no namespace"),
        pytest.param(b'{"metadata":{"name":"a","namespace":""}}', "metadata.namespace", id="empty namespace"),
        pytest.param(b'{"metadata":{"name":"a\\u0000","namespace":"b"}}', "metadata.name", id="NUL"),
        pytest.param(b'{"metadata":{"name":"a","namespace":"b","uid":5}}', "metadata.uid", id="uid"),
        pytest.param(b'{"kind":"Job","metadata":{"name":"a","namespace":"b"}}', "kind", id="kind"),
        pytest.param(b'{"metadata":{"name":"\xff","namespace":"b"}}', None, id="no UTF-8"),
    ],
)
def test_an_invalid_reference_is_refused_by_field(body: bytes, field: str | None) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_reference(body)
    assert refusal.value.field == field


def test_a_node_that_is_no_text_is_none() -> None:
    body = b'{"metadata":{"name":"a","namespace":"b"},"spec":{"nodeName":"\xff"}}'
    assert parse_reference(body) == PodReference(namespace="b", name="a")


@given(st.binary() | json_values().map(json.dumps).map(str.encode))
def test_any_bytes_are_a_reference_or_refused(body: bytes) -> None:
    try:
        parse_reference(body)
    except InvalidRequest:
        return


def test_a_reference_may_nest_deeply() -> None:
    for nest in NESTS.values():
        for depth in (300, 1000, 100_000):
            body = '{"metadata":{"name":"a","namespace":"b"},"x":%s}' % nest(depth)  # noqa: UP031
            try:
                parse_reference(body.encode())
            except InvalidRequest:
                continue
