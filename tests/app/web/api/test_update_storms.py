"""Repeated updates of the original broker, which differ only in the order of the environment."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.db.engine import Database
from tests.app.web.conftest import change, named, on_sqlite_alone, put_on, tables
from tests.conftest import Clock
from tests.pods import a_container, a_pod

PodJSON = dict[str, Any]
ENV = [{"name": name, "value": name.lower()} for name in ("A", "B", "C", "D")]


def a_stormy_pod() -> PodJSON:
    return a_pod(
        containers=[a_container("web", env=ENV, args=["-a", "-b"]), a_container("sidecar", env=ENV)],
        initContainers=[a_container("setup", env=ENV)],
    )


def containers(pod: PodJSON) -> list[PodJSON]:
    return [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]


def reorder_the_environment(pod: PodJSON) -> None:
    for container in containers(pod):
        container["env"] = container["env"][2:] + container["env"][:2]


def report_another_status(pod: PodJSON) -> None:
    pod["status"] = {"phase": "Failed", "startTime": "2001-01-01T00:00:00Z", "containerStatuses": []}


def report_an_empty_status(pod: PodJSON) -> None:
    pod["status"] = {}


def patch_the_status_elsewhere(pod: PodJSON) -> None:
    pod["metadata"]["resourceVersion"] = "999"


def say_kind_and_version(pod: PodJSON) -> None:
    pod.update(kind="Pod", apiVersion="v1")


def add_managed_fields(pod: PodJSON) -> None:
    pod["metadata"]["managedFields"] = [{"manager": "kube-controller-manager"}]


def write_the_keys_in_another_order(pod: PodJSON) -> None:
    for part in (pod["metadata"], pod["spec"], *containers(pod)):
        items = list(part.items())
        part.clear()
        part.update(reversed(items))


def write_nulls_for_what_is_not_there(pod: PodJSON) -> None:
    pod["metadata"].update(annotations=None, ownerReferences=None)
    pod["spec"].update(volumes=None, nodeSelector=None)


def leave_the_uid_out(pod: PodJSON) -> None:
    del pod["metadata"]["uid"]


def do_nothing(_: PodJSON) -> None:
    pass


STORMS = [
    do_nothing,
    reorder_the_environment,
    report_another_status,
    report_an_empty_status,
    patch_the_status_elsewhere,
    say_kind_and_version,
    add_managed_fields,
    write_the_keys_in_another_order,
    write_nulls_for_what_is_not_there,
    leave_the_uid_out,
]


def name(function: Callable[..., object]) -> str:
    return function.__name__


@on_sqlite_alone
@pytest.mark.parametrize("storm", STORMS, ids=name)
def test_an_unchanged_pod_writes_nothing(
    client: FlaskClient, database: Database, clock: Clock, storm: Callable[[PodJSON], None]
) -> None:
    pod = put_on(client, a_stormy_pod())
    stored, read = tables(database), client.get("/getPod", query_string=named(pod)).data
    clock.advance(7)

    storm(pod)
    for method, path in (("PUT", "/updatePod"), ("POST", "/createPod")):
        answer = client.open(path, method=method, json=pod)

        assert (answer.status_code, answer.data) == (200, b"")
        assert tables(database) == stored
        assert client.get("/getPod", query_string=named(pod)).data == read


def test_a_storm_after_a_change_writes_nothing(client: FlaskClient, database: Database, clock: Clock) -> None:
    pod = put_on(client, a_stormy_pod())
    clock.advance(5)
    pod["spec"]["containers"][0]["image"] = "nginx:1.28"
    change(client, pod)
    stored = tables(database)

    for _ in range(20):
        clock.advance(5)
        reorder_the_environment(pod)
        change(client, pod)

    assert tables(database) == stored


def change_an_image(pod: PodJSON) -> None:
    pod["spec"]["containers"][0]["image"] = "nginx:1.28"


def change_a_value(pod: PodJSON) -> None:
    pod["spec"]["containers"][0]["env"][0]["value"] = "z"


def change_a_value_of_an_init_container(pod: PodJSON) -> None:
    pod["spec"]["initContainers"][0]["env"][0]["value"] = "z"


def swap_two_values(pod: PodJSON) -> None:
    first, second, *_ = pod["spec"]["containers"][0]["env"]
    first["value"], second["value"] = second["value"], first["value"]


def remove_a_variable(pod: PodJSON) -> None:
    del pod["spec"]["containers"][0]["env"][0]


def add_a_variable_again_with_another_value(pod: PodJSON) -> None:
    pod["spec"]["containers"][0]["env"].append({"name": "A", "value": "z"})


def reorder_the_arguments(pod: PodJSON) -> None:
    pod["spec"]["containers"][0]["args"].reverse()


def change_a_label(pod: PodJSON) -> None:
    pod["metadata"]["labels"]["app"] = "shop"


def change_a_field_of_tomorrow(pod: PodJSON) -> None:
    pod["spec"]["aFieldOfTomorrow"] = {"a": 1}


CHANGES = [
    change_an_image,
    change_a_value,
    change_a_value_of_an_init_container,
    swap_two_values,
    remove_a_variable,
    add_a_variable_again_with_another_value,
    reorder_the_arguments,
    change_a_label,
    change_a_field_of_tomorrow,
]


@on_sqlite_alone
@pytest.mark.parametrize("alter", CHANGES, ids=name)
def test_more_than_another_order_is_a_change(
    client: FlaskClient, database: Database, clock: Clock, alter: Callable[[PodJSON], None]
) -> None:
    pod = put_on(client, a_stormy_pod())
    before = tables(database)
    clock.advance(5)

    pod = copy.deepcopy(pod)
    alter(pod)
    reorder_the_environment(pod)
    change(client, pod)

    after = tables(database)
    assert after["fleets"][0]["revision"] == before["fleets"][0]["revision"] + 1
    assert after["pods"][0]["updated_at"] == clock.now
    assert len(after["audit_events"]) == len(before["audit_events"]) + 1
    assert client.get("/getPod", query_string=named(pod)).get_json()["spec"] == pod["spec"]
