"""Lists of pods: conditions, orders, pages and counts, of the present and of past times."""

from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.core.errors import InvalidRequest
from app.kubernetes.label_selector import parse_label_selector
from app.pods.pod_filter import SORT_KEYS, PodFilter, Sort
from app.pods.pod_list import PodList, PodPage
from tests.app.pods.deletions import slow_pod
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod
from tests.query_plans import query_plans

CRASHES = {"synthetic.virtual-kubelet.io/exit-code": "1", "synthetic.virtual-kubelet.io/run-duration": "1s"}
SORTS = [Sort(key, descending=descending) for key in SORT_KEYS for descending in (False, True)]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="1s")


@pytest.fixture
def pod_list(app: Flask) -> PodList:
    return services_of(app).pod_list


def names(page: PodPage) -> list[str]:
    return [f"{row.namespace}/{row.name}" for row in page.rows]


def requesting(cpu: str) -> list[dict[str, Any]]:
    return [a_container(resources={"requests": {"cpu": cpu}})]


@pytest.fixture
def pods(client: FlaskClient, clock: Clock) -> datetime:
    """Create pods in several states; return a time at which they are in these states."""
    owner = {"kind": "ReplicaSet", "name": "db-7d", "uid": "u", "controller": True}
    metadata = {"labels": {"app": "db", "tier": "back"}, "ownerReferences": [owner]}
    put_on(client, a_pod("db", namespace="shop", metadata=metadata, containers=requesting("2")))
    put_on(client, a_pod("bad", namespace="shop", metadata={"annotations": CRASHES}))
    clock.advance(30)
    put_on(client, a_pod("web", nodeName="spot", containers=[a_container(image="registry.example/Shop:1")]))
    gone = put_on(client, slow_pod("gone", stop_after="20s"))
    clock.advance(5)
    client.delete("/deletePod", json=gone)
    put_on(client, a_pod("new"))
    return clock()


FILTERS: list[tuple[PodFilter, set[str]]] = [
    (PodFilter(), {"bad", "db", "gone", "new", "web"}),
    (PodFilter(status=["CrashLoopBackOff"]), {"bad"}),
    (PodFilter(status=["ContainerCreating", "CrashLoopBackOff"]), {"bad", "new"}),
    (PodFilter(phase="Pending"), {"new"}),
    (PodFilter(reason="Error"), {"bad"}),
    (PodFilter(ready=False), {"bad", "new"}),
    (PodFilter(namespace="shop"), {"bad", "db"}),
    (PodFilter(name="B"), {"bad", "db", "web"}),
    (PodFilter(selector=parse_label_selector("tier=back")), {"db"}),
    (PodFilter(selector=parse_label_selector("app,tier!=back")), {"bad", "gone", "new", "web"}),
    (PodFilter(image="shop:"), {"web"}),
    (PodFilter(owner="replicaset/db"), {"db"}),
    (PodFilter(node="spot"), {"web"}),
    (PodFilter(text="CrashLoop"), {"bad"}),
    (PodFilter(text="shop/D"), {"db"}),
    (PodFilter(text="shop crash"), {"bad"}),
    (PodFilter(text="%"), set()),
    (PodFilter(text="_"), set()),
]


@pytest.mark.parametrize("is_past", [False, True], ids=["now", "then"])
def test_have_the_pods_that_match(pod_list: PodList, clock: Clock, pods: datetime, *, is_past: bool) -> None:
    if is_past:
        clock.advance(3600)
    for wanted, expected in FILTERS:
        page = pod_list.page(wanted, at=pods if is_past else None)

        assert {row.name for row in page.rows} == expected, wanted
        assert page.total == len(expected), wanted


def test_count_the_pods_of_each_status(pod_list: PodList, pods: datetime) -> None:
    statuses = {"CrashLoopBackOff": 1, "Running": 2, "ContainerCreating": 1, "Terminating": 1}

    assert pod_list.page(PodFilter()).statuses == statuses
    page = pod_list.page(PodFilter(status=["Terminating"]))
    assert (page.statuses, page.total, names(page)) == (statuses, 1, ["default/gone"])


def pages(pod_list: PodList, sort: Sort, at: datetime | None, *, limit: int = 2) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = pod_list.page(PodFilter(), at=at, sort=sort, after=after, limit=limit)
        assert page.total == 5
        found += names(page)
        after = page.after
        if after is None:
            return found


@pytest.mark.parametrize("is_past", [False, True], ids=["now", "then"])
def test_pages_have_every_pod_once(pod_list: PodList, clock: Clock, pods: datetime, *, is_past: bool) -> None:
    if is_past:
        clock.advance(3600)
    orders: dict[Sort, Sequence[str]] = {sort: pages(pod_list, sort, pods if is_past else None) for sort in SORTS}

    for sort, found in orders.items():
        assert len(set(found)) == 5, sort
        assert found == [*reversed(orders[Sort(sort.key, descending=not sort.descending)])], sort
    assert orders[Sort("name")] == ["default/gone", "default/new", "default/web", "shop/bad", "shop/db"]
    assert orders[Sort("restarts", descending=True)][0] == "shop/bad"
    assert orders[Sort("cpu", descending=True)][0] == "shop/db"
    assert orders[Sort("age")][0] == "default/new"
    assert orders[Sort("age", descending=True)][0] == "shop/db"


def test_addresses_are_sorted_by_number(make_app: MakeApp) -> None:
    app = make_app(pod_cidr="198.18.0.0/27")
    for number in range(12):
        put_on(app.test_client(), a_pod(f"web-{number}", hostNetwork=not number))

    pod_list = services_of(app).pod_list
    addresses = [row.pod_ip for row in pod_list.page(PodFilter(), sort=Sort("ip"), limit=20).rows]

    assert addresses == [None, *(f"198.18.0.{number}" for number in range(3, 14))]


def test_page_continues_after_a_deleted_pod(client: FlaskClient, pod_list: PodList, pods: datetime) -> None:
    page = pod_list.page(PodFilter(), limit=4)
    client.delete("/deletePod", json=a_pod("bad", namespace="shop", uid=page.rows[-1].uid))

    assert names(pod_list.page(PodFilter(), after=page.after)) == ["shop/db"]
    with pytest.raises(InvalidRequest, match="after"):
        pod_list.page(PodFilter(), after=10**17)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_present_is_read_from_an_index(app: Flask, pod_list: PodList, pods: datetime) -> None:
    every = PodFilter(
        **{name: value for wanted, _ in FILTERS for name, value in wanted._asdict().items() if value}
    )
    # Few pods are on one node, which an index finds; the list reads the rows of these.
    filters = [wanted for wanted, _ in FILTERS if not wanted.node]
    with query_plans(services_of(app).database) as queries:
        for wanted, sort in [*product([PodFilter(), every], SORTS), *product(filters, SORTS[:2])]:
            pod_list.page(wanted, sort=sort)

    plans = [plan for query, plan in queries if "FROM pods" in query and "pods.pod," not in query]
    assert len(plans) == 2 * len(SORTS) + 2 * len(filters)
    for plan in plans:
        searches = [line for line in plan.splitlines() if " pods " in line]
        assert searches, plan
        assert all(line.startswith("SEARCH pods USING COVERING INDEX") for line in searches), plan
