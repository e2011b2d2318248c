"""Following pods: a list, then changes."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.pods.follow import follow_pods
from app.pods.history import PodSnapshot
from app.pods.pod_filter import PodFilter, Sort
from tests.app.web.conftest import change, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


Follow = Callable[..., list[list[tuple[str, str]]]]


@pytest.fixture
def follow(app: Flask) -> Follow:
    """Return a function that follows pods while it does some actions, one at each wait."""

    def run(wanted: PodFilter, *actions: Callable[[], object], sort: str = "name") -> list[list[tuple[str, str]]]:
        upcoming: Iterator[Callable[[], object]] = iter(actions)

        def pause(seconds: float, _: int | None = None, /) -> bool:
            if 0 < seconds <= 0.02:  # the pause after a change, in which others are gathered
                return True
            action = next(upcoming, None)
            if action:
                action()
            return action is not None

        found = services_of(app)
        batches = follow_pods(found.history, found.watch, wanted, sort=Sort.parse(sort), pause=pause)
        return [[(pod.name, _status(pod)) for pod in batch] for batch in batches if batch]

    return run


def _status(pod: PodSnapshot) -> str:
    return "Deleted" if pod.deleted_at else pod.columns.status


def test_changes_follow_the_list(client: FlaskClient, follow: Follow, clock: Clock) -> None:
    web = put_on(client, a_pod("web", namespace="shop"))
    put_on(client, a_pod("elsewhere"))

    def later() -> None:
        clock.advance(10)
        put_on(client, a_pod("another"))

    assert follow(
        PodFilter(namespace="shop"),
        lambda: put_on(client, a_pod("db", namespace="shop")),
        later,
        lambda: client.delete("/deletePod", json=web),
    ) == [
        [("web", "ContainerCreating")],
        [("db", "ContainerCreating")],
        [("db", "Running"), ("web", "Running")],
        [("web", "Deleted")],
    ]


def test_a_pod_that_stops_to_match_is_shown_once_more(client: FlaskClient, follow: Follow, clock: Clock) -> None:
    web = put_on(client, a_pod("web"))

    def later() -> None:
        clock.advance(10)
        put_on(client, a_pod("another"))

    assert follow(
        PodFilter(status=["ContainerCreating"]),
        later,
        lambda: client.delete("/deletePod", json=web),
    ) == [[("web", "ContainerCreating")], [("another", "ContainerCreating"), ("web", "Running")]]


def test_a_change_that_shows_nothing_is_left_out(client: FlaskClient, follow: Follow, clock: Clock) -> None:
    pod = put_on(client, a_pod("web"))
    clock.advance(10)
    pod["metadata"]["annotations"] = {"a": "b"}

    assert follow(PodFilter(), lambda: change(client, pod)) == [[("web", "Running")]]


def test_the_list_has_its_order(client: FlaskClient, follow: Follow) -> None:
    for name in ("b", "c", "a"):
        put_on(client, a_pod(name))

    assert follow(PodFilter(), sort="-name") == [[(name, "ContainerCreating") for name in ("c", "b", "a")]]
