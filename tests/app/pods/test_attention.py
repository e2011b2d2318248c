"""Problems of pods by their statuses, and refused requests."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.db.models import Pod, PodStatus
from app.pods.attention import PROBLEMS, ProblemGroup, health, problem
from app.services import Services
from tests.app.pods.deletions import delete, slow_pod
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

ANNOTATION = "synthetic.virtual-kubelet.io"


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="1s")


def failing(name: str, failure: str, **options: Any) -> dict[str, Any]:
    return a_pod(name, metadata={"annotations": {f"{ANNOTATION}/fail": failure}}, **options)


def by_key(groups: list[ProblemGroup]) -> dict[str, list[str]]:
    return {group.key: [pod.name for pod in group.examples] for group in groups}


def test_pods_are_grouped_by_what_is_wrong(client: FlaskClient, clock: Clock, services: Services) -> None:
    for pod in (
        a_pod("well"),
        failing("crashes", "CrashLoopBackOff"),
        failing("big", "OOMKilled"),
        failing("no-image", "ImagePullBackOff"),
        failing("evicted", "Evicted"),
        failing("unready", "ReadinessProbe", containers=[a_container(readinessProbe={"httpGet": {"port": 80}})]),
        a_pod("done", restartPolicy="Never", metadata={"annotations": {f"{ANNOTATION}/run-for": "1s"}}),
    ):
        put_on(client, pod)
    clock.advance(120)

    groups = services.attention.groups()

    assert by_key(groups) == {
        "crash-loop": ["crashes"],
        "oom-killed": ["big"],
        "image-pull": ["no-image"],
        "lost": ["evicted"],
        "not-ready": ["unready"],
    }
    assert groups == services.attention.groups(clock()), "a past time and the present agree"


def test_a_pod_may_be_slow_for_a_while(client: FlaskClient, clock: Clock, services: Services) -> None:
    put_on(client, a_pod("slow", metadata={"annotations": {f"{ANNOTATION}/start-delay": "1h"}}))
    gone = put_on(client, slow_pod("gone", stop_after="1h"))
    clock.advance(5)
    assert delete(client, gone, grace=3600) == 200

    assert services.attention.groups() == []
    clock.advance(301)
    assert by_key(services.attention.groups()) == {"pending": ["slow"], "terminating": ["gone"]}


def test_a_group_has_its_count_and_latest_pods(client: FlaskClient, clock: Clock, services: Services) -> None:
    start = clock()
    for number in range(5):
        put_on(client, failing(f"bad-{number}", "ImagePullBackOff"))
        clock.advance(1)
    clock.advance(60)

    [group] = services.attention.groups()

    assert group.pods == 5
    assert len(group.examples) == 3
    assert start < group.since <= min(pod.since for pod in group.examples)
    assert [pod.since for pod in group.examples] == sorted((pod.since for pod in group.examples), reverse=True)
    assert services.attention.groups(start - timedelta(seconds=1)) == []


def test_health_and_problem_agree(client: FlaskClient, clock: Clock, services: Services) -> None:
    put_on(client, a_pod("well"))
    put_on(client, failing("crashes", "CrashLoopBackOff"))
    put_on(client, a_pod("new", metadata={"annotations": {f"{ANNOTATION}/start-delay": "1h"}}))
    clock.advance(60)
    now = clock()
    services.attention.groups()

    with services.database.read() as connection:
        present = connection.execute(
            select(Pod.name, health(Pod, now), problem(Pod, now)).order_by(Pod.name)
        ).all()
        past = connection.execute(
            services.queries.pods_at(now, Pod.name, health(PodStatus, now), problem(PodStatus, now)).order_by(
                Pod.name
            )
        ).all()

    assert [tuple(row) for row in present] == [
        ("crashes", "failing", "crash-loop"),
        ("new", "progressing", None),
        ("well", "healthy", None),
    ]
    assert [tuple(row) for row in past] == [tuple(row) for row in present]


def test_no_status_names_two_problems() -> None:
    statuses = [status for problem in PROBLEMS.values() for status in problem.statuses]

    assert len(statuses) == len(set(statuses))


def test_refused_requests_are_counted(client: FlaskClient, clock: Clock, services: Services) -> None:
    client.delete("/deletePod", json=a_pod("none"))
    clock.advance(10)
    now = clock()

    refused = services.attention.refused(now - timedelta(hours=1), now)

    assert refused.total == 1
    assert refused.last is not None
    assert refused.last.code == 404
    assert services.attention.refused(now, now + timedelta(hours=1)) == (0, None)
