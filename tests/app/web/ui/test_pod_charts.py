"""The charts of usage: points, scale, limit, gaps, and their place in the pages."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from app.core.timestamps import rfc3339_micro
from app.runtimes import UsageLevel
from app.web.ui.pod_charts import usage_charts, usage_times
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.app.web.ui.pages import get, text
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
    """Return the used CPU in the table of values, the earliest first; empty where nothing ran."""
    table = page.partition("CPU (cores), the latest first")[2].partition("Memory")[0]
    return re.findall(r"\d\d:\d\d:\d\d (\d\S*)?", table.replace("2026-11-22 ", ""))[::-1]


def test_a_pod_has_points_of_each_minute() -> None:
    times = usage_times(NOW - timedelta(hours=1), NOW)

    assert (times[0], times[-1], len(times)) == (NOW - timedelta(hours=1), NOW, 61)
    assert usage_times(NOW - timedelta(seconds=2), NOW) == [NOW - timedelta(seconds=n) for n in (2, 1, 0)]
    assert usage_times(NOW, NOW) == [NOW]


def test_a_limit_far_above_the_peak_is_text() -> None:
    times = [NOW, NOW + timedelta(seconds=1)]
    levels = [UsageLevel(10**8, 2**20), UsageLevel(2 * 10**8, 2**20)]

    near, _ = usage_charts(times, levels, requests={}, limits={"cpu": 0.8})
    far, _ = usage_charts(times, levels, requests={"cpu": 0.1}, limits={"cpu": 0.9})

    assert [line.name for line in near.lines] == ["Used", "Limit"]
    assert [line.name for line in far.lines] == ["Used", "Requested"]
    assert far.summary == "last 200m, most 200m, requested 100m, limit 900m"


def test_a_time_without_containers_is_a_gap() -> None:
    times = [NOW + timedelta(seconds=n) for n in range(3)]
    one = UsageLevel(10**9, 2**20)

    cpu, memory = usage_charts(times, [one, None, one], requests={}, limits={})
    nothing, _ = usage_charts(times, [None] * 3, requests={}, limits={"cpu": 1})

    assert (cpu.lines[0].values, cpu.has_gaps) == ([1.0, None, 1.0], True)
    assert memory.lines[0].values == [2**20, None, 2**20]
    assert nothing.summary == "no container was running, limit 1"


@on_sqlite_alone
class TestThePages:
    def test_a_pod_page_draws_usage_and_limit(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("steps(0s:100m,30s:300m)", containers=[a_container(resources=LIMITS)]))
        clock.advance(60)

        page = get(client, "/ui/pod", uid="uid-of-web")

        assert "CPU (cores) last 300m, most 300m, limit 500m" in page
        assert "Memory last 64Mi, most 64Mi, limit 128Mi" in page
        assert "Time Used Limit" in page
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

    def test_a_chart_has_the_range_of_the_page(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("ramp(0,600m,10m)"))
        start = clock()
        clock.advance(7200)

        end = rfc3339_micro(start + timedelta(minutes=5))
        query = {"uid": "uid-of-web", "from": rfc3339_micro(start), "to": end}
        shown = text(client.get("/ui/pod", query_string=query))

        assert values(shown)[-1] == "300m"
        assert len(values(shown)) == 61

    def test_a_chart_ends_at_the_shown_time(self, client: FlaskClient, clock: Clock) -> None:
        put_on(client, a_pod_that_uses("ramp(0,600m,10m)"))
        clock.advance(300)
        then = rfc3339_micro(clock())
        clock.advance(7200)

        assert "last 300m, most 300m" in get(client, "/ui/pod", uid="uid-of-web", at=then)
        assert "last 600m, most 600m" in get(client, "/ui/pod", uid="uid-of-web")
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
