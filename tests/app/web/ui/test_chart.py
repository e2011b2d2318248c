"""The charts of usage: points, scale, limit, gaps, and their place in the pages."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.timestamps import rfc3339_micro
from app.runtimes import UsageLevel
from app.web.ui.chart import chart_times, usage_charts
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.app.web.ui.test_views import get
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

ANNOTATION = "synthetic.virtual-kubelet.io/"
NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)
LIMITS = {"limits": {"cpu": "500m", "memory": "128Mi"}}


def a_pod_that_uses(cpu: str, memory: str = "64Mi", name: str = "web", **more: Any) -> dict[str, Any]:
    annotations = {f"{ANNOTATION}usage-cpu": cpu, f"{ANNOTATION}usage-memory": memory}
    return a_pod(name, uid=f"uid-of-{name}", metadata={"annotations": annotations}, **more)


def used(page: str) -> list[str]:
    """Return the used CPU at the times of the overview's chart, the latest first; without those unknown."""
    table = page.partition("CPU (cores), the latest first")[2].partition("Memory")[0]
    return re.findall(r"\d\d:\d\d:\d\d \S+ (\S+) 100\b", table)


def values(page: str) -> list[str]:
    """Return the CPU in the table of values, the earliest first."""
    return re.findall(r"\d\d:\d\d:\d\d (\S+) (?:[\d.]+Mi|none|0)(?= )", page.partition("Values, one")[2])[::-1]


@pytest.mark.parametrize(("pods", "points"), [(1, 61), (250, 61), (500, 31), (100_000, 13)])
def test_many_pods_have_fewer_points(pods: int, points: int) -> None:
    times = chart_times(NOW - timedelta(hours=1), NOW, pods=pods)

    assert (times[0], times[-1], len(times)) == (NOW - timedelta(hours=1), NOW, points)


def test_a_young_pod_has_points_each_second() -> None:
    assert chart_times(NOW - timedelta(seconds=2), NOW) == [NOW - timedelta(seconds=n) for n in (2, 1, 0)]
    assert chart_times(NOW, NOW) == [NOW]


def test_a_limit_far_above_the_peak_is_text() -> None:
    times = [NOW, NOW + timedelta(seconds=1)]
    levels = [UsageLevel(10**8, 2**20), UsageLevel(2 * 10**8, 2**20)]

    near, _ = usage_charts(times, levels, limits={"cpu": 0.8}).charts
    far, _ = usage_charts(times, levels, limits={"cpu": 0.9}).charts

    assert (near.top, near.limit_y, near.line) == (1, 20, "M0 90L100 80")
    assert (far.top, far.limit_y, far.limit) == (0.2, None, 0.9)
    assert far.line == "M0 50L100 0"


def test_a_line_has_gaps_where_nothing_ran() -> None:
    times = [NOW + timedelta(seconds=n) for n in range(5)]
    one = UsageLevel(10**9, 2**20)

    cpu, _ = usage_charts(times, [one, one, None, None, one], limits={}).charts

    assert cpu.line == "M0 0L25 0M100 0L100 0"
    assert cpu.area == "M0 0L25 0L25 100L0 100ZM100 0L100 0L100 100L100 100Z"


@on_sqlite_alone
class TestThePages:
    def test_a_pod_page_draws_usage_and_limit(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("steps(0s:100m,30s:300m)", containers=[a_container(resources=LIMITS)]))
        clock.advance(60)

        html = client.get("/ui/pod?uid=uid-of-web").text
        page = get(client, "/ui/pod", uid="uid-of-web")

        assert "CPU (cores) last 300m , most 300m , limit 500m" in page
        assert "Memory (bytes) last 64Mi , most 64Mi , limit 128Mi" in page
        assert html.count('class="limit"') == 2
        assert values(page) == ["100m"] * 29 + ["300m"] * 31

    def test_a_chart_shows_earlier_usage_and_restarts(self, client: FlaskClient, clock: Clock) -> None:
        pod = put_on(client, a_pod_that_uses("100m"))
        clock.advance(30)
        pod["metadata"]["annotations"][f"{ANNOTATION}usage-cpu"] = "200m"
        change(client, pod)
        clock.advance(29)
        client.delete("/deletePod", json=pod)
        clock.advance(3600)

        page = get(client, "/ui/pod", uid="uid-of-web")

        assert {"100m", "200m"} <= set(values(page))
        assert values(page) == sorted(values(page)[:-1]) + values(page)[-1:]

    def test_a_chart_ends_at_the_shown_time(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("ramp(0,600m,10m)"))
        clock.advance(300)
        then = rfc3339_micro(clock())
        clock.advance(7200)

        assert "last 300m , most 300m" in get(client, "/ui/pod", uid="uid-of-web", at=then)
        assert "last 600m , most 600m" in get(client, "/ui/pod", uid="uid-of-web")
        assert used(get(client, "/ui/", at=then))[0] == "300m"

    def test_the_node_page_sums_its_pods(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("100m", "64Mi", "early"))
        put_on(client, a_pod_that_uses("share(300m)", "32Mi", "shared"))
        clock.advance(1800)
        gone = put_on(client, a_pod_that_uses("1", "1Mi", "late"))
        clock.advance(900)
        client.delete("/deletePod", json=gone)
        clock.advance(1800)

        shown = used(get(client, "/ui/"))

        assert (shown[0], shown[-1]) == ("400m", "400m")
        assert sorted(set(shown)) == ["1.4", "400m"]
        assert 14 <= shown.count("1.4") <= 16

    def test_a_runtime_without_past_usage_says_so(self, make_app: MakeApp) -> None:
        ScriptedRuntime.play("Running")
        client = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime").test_client()
        put_on(client, a_pod(uid="uid-of-web"))

        for path in ("/ui/", "/ui/pod?uid=uid-of-web"):
            assert "the runtime does not report usage at past times" in client.get(path).text.lower()
        assert used(get(client, "/ui/")) == []
