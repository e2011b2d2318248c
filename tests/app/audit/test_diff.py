import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.diff import diff, pod_changes
from tests.app.simulation import SECRET, json_values
from tests.pods import a_container, a_pod

Change = dict[str, str | None]


def changes(old: Any, new: Any) -> list[Change]:
    return list(diff(old, new))


def fields(old: Any, new: Any) -> list[str | None]:
    return [change["field"] for change in changes(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({"a": 1}, {"a": 2}, ["a"], id="value"),
        pytest.param({}, {"a": 1}, ["a"], id="added"),
        pytest.param({"a": 1}, {}, ["a"], id="removed"),
        pytest.param({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c"], id="deep"),
        pytest.param({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a", "b"], id="in order"),
        pytest.param({"a": {"b": 1}}, {"a": "b"}, ["a"], id="another type"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, ["a"], id="list of values"),
        pytest.param({"a": None}, {}, [], id="null is missing"),
        pytest.param({"a": []}, {}, ["a"], id="empty list"),
        pytest.param({"p": [{"containerPort": 80}]}, {"p": [{"containerPort": 81}]}, ["p"], id="no names"),
    ],
)
def test_a_change_is_the_path_of_a_field(old: Any, new: Any, expected: list[str]) -> None:
    assert fields(old, new) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            [{"name": "a", "v": 1}, {"name": "b", "v": 1}],
            [{"name": "b", "v": 1}, {"name": "a", "v": 2}],
            ["c[a].v"],
            id="changed",
        ),
        pytest.param([{"name": "a"}], [{"name": "a"}, {"name": "b"}], ["c[b]"], id="added"),
        pytest.param([{"name": "a"}, {"name": "b"}], [{"name": "a"}], ["c[b]"], id="removed"),
        pytest.param([{"name": "a"}], [{"name": "b"}], ["c[a]", "c[b]"], id="renamed"),
        pytest.param(None, [{"name": "a"}], ["c[a]"], id="first"),
        pytest.param([{"name": "a"}], None, ["c[a]"], id="last"),
        pytest.param([{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}], [], id="reordered"),
    ],
)
def test_members_with_names_are_compared_by_name(old: Any, new: Any, expected: list[str]) -> None:
    assert fields({"c": old}, {"c": new}) == expected


def test_an_image_is_said_before_and_after() -> None:
    old = a_pod(uid="u", containers=[a_container("web", image="nginx:1.27")])
    new = a_pod(uid="u", containers=[a_container("web", image="nginx:1.28")])
    assert changes(old, new) == [{"field": "spec.containers[web].image", "from": "nginx:1.27", "to": "nginx:1.28"}]


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_image_changes_cover_every_kind_of_container(kind: str) -> None:
    old = {"spec": {kind: [{"name": "a"}]}}
    new = {"spec": {kind: [{"name": "a", "image": "nginx"}]}}
    assert changes(old, new) == [{"field": f"spec.{kind}[a].image", "from": None, "to": "nginx"}]


def a_pod_with(value: Any) -> dict[str, Any]:
    """Return a pod with the same value in each place that may hold a secret."""
    env = [{"name": "PASSWORD", "value": value}, {"name": "image", "value": value}]
    pod = a_pod(
        uid="u",
        metadata={
            "annotations": dict.fromkeys(
                ("a", "image", "example.com/the.image", "spec.containers[web].image"), value
            )
        },
        containers=[a_container("web", command=["run", value], args=[value], env=env)],
        volumes=[{"name": "v", "image": {"reference": value}}],
    )
    pod["metadata"]["labels"]["image"] = value
    pod["spec"]["image"] = value
    return pod


def test_no_other_value_is_said() -> None:
    old, new = a_pod_with(SECRET), a_pod_with("another")
    assert SECRET not in json.dumps(pod_changes(old, new))
    assert SECRET not in json.dumps(pod_changes(new, old))
    assert "spec.containers[web].env[PASSWORD].value" in fields(old, new)


def test_added_and_removed_fields_show_no_value() -> None:
    pod, empty = a_pod_with(SECRET), a_pod(uid="u")
    assert SECRET not in json.dumps([pod_changes(pod, empty), pod_changes(empty, pod)])


def test_fields_that_can_change_have_values() -> None:
    old = a_pod(uid="u", containers=[a_container("web", resources={"requests": {"cpu": "1"}})])
    new = a_pod(uid="u", containers=[a_container("web", resources={"requests": {"cpu": "2"}})])
    new["metadata"]["labels"]["example.com/track"] = "canary"
    new["metadata"]["annotations"] = {"note": "of somebody"}
    new["spec"]["tolerations"] = [{"key": "spot", "operator": "Exists"}]

    assert pod_changes(old, new) == [
        {"field": "metadata.annotations"},
        {"field": "metadata.labels.example.com/track", "from": None, "to": "canary"},
        {"field": "spec.containers[web].resources.requests.cpu", "from": "1", "to": "2"},
        {"field": "spec.tolerations", "from": None, "to": '[{"key":"spot","operator":"Exists"}]'},
    ]
    new["metadata"]["labels"]["example.com/track"] = "c" * 301
    assert {"field": "metadata.labels.example.com/track"} in pod_changes(old, new)


def test_a_recorded_value_with_a_secret_is_redacted() -> None:
    old, new = a_pod_with(SECRET), a_pod_with("another-secret")
    [label] = [change for change in pod_changes(old, new) if change["field"] == "metadata.labels.image"]

    assert (label["from"], label["to"]) == ("…", "…")


def test_an_image_of_another_type_is_not_said() -> None:
    images: list[Any] = ["nginx", {"x": SECRET}]
    old, new = ({"spec": {"containers": [{"name": "a", "image": image}]}} for image in images)
    assert changes(old, new) == [{"field": "spec.containers[a].image"}]


def test_a_duplicate_variable_is_named_when_either_changes() -> None:
    old = {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}
    for index in (0, 1):
        new = deepcopy(old)
        new["env"][index]["value"] = "3"
        assert fields(old, new) != []


@given(json_values())
def test_nothing_differs_from_itself(value: Any) -> None:
    assert changes(value, deepcopy(value)) == []


@given(
    st.dictionaries(st.text(min_size=1), json_values(), max_size=3),
    st.dictionaries(st.text(min_size=1), json_values(), max_size=3),
)
def test_any_two_documents_compare_in_both_directions(old: Any, new: Any) -> None:
    assert sorted(map(str, fields(old, new))) == sorted(map(str, fields(new, old)))
