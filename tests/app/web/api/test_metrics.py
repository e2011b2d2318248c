"""`/metrics`, and the Grafana dashboard that queries it."""

import json
import os
import re
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.core.metrics import MULTIPROCESS_DIRECTORY, counted
from tests.app.web.conftest import Connect, Share, change, on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp, Serve
from tests.pods import a_pod
from tests.postgres import free_port
from tests.server import ROOT, Server
from tests.waiting import booted, eventually

Series = dict[str, list[tuple[dict[str, str], float]]]
"""The samples by name: labels, value."""

REQUESTS = "provider_http_request_duration_seconds_count"


def read(text: str) -> Series:
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append((sample.labels, sample.value))
    return series


def total(series: Series, name: str, **labels: str) -> float:
    return sum(value for found, value in series.get(name, []) if labels.items() <= found.items())


def scrape(server: Server) -> Series:
    """Return the samples of a scrape, by any worker."""
    with closing(server.client()) as client:
        answer = client.get("/metrics")
    assert answer.code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return read(answer.body.decode())


def test_a_starting_worker_does_not_break_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIPROCESS_DIRECTORY, str(tmp_path))
    (tmp_path / "counter_1.db").touch()
    assert generate_latest(counted()) == b""


@on_sqlite_alone
class TestUnderGunicorn:
    def test_whichever_worker_answers_tells_what_all_have_counted(self, serve: Serve) -> None:
        with serve(WORKERS="3") as server:
            booted(server, 3)
            for _ in range(30):
                with closing(server.client()) as client:
                    assert client.get("/capacity").code == 200

            eventually(lambda: total(scrape(server), REQUESTS, path="/capacity", code="200") == 30)
            assert [total(scrape(server), REQUESTS, path="/capacity") for _ in range(10)] == [30] * 10

    def test_a_reload_forgets_nothing(self, serve: Serve) -> None:
        with serve(WORKERS="2") as server:
            with closing(server.client()) as client:
                assert client.request("POST", "/createPod", a_pod()).code == 200
            server.signal(signal.SIGHUP)
            booted(server, 4)

            assert total(scrape(server), "provider_audit_events_total", verb="create", code="200") == 1

    def test_held_requests_of_a_killed_worker_are_forgotten(self, serve: Serve, connect: Connect) -> None:
        with serve(WORKERS="1") as server:
            [worker] = booted(server, 1)
            connect(server.port).send(b"GET /podStatuses?wait=60 HTTP/1.1\r\nHost: provider\r\n\r\n")
            eventually(lambda: total(scrape(server), "provider_held_requests") == 1)
            os.kill(worker, signal.SIGKILL)
            booted(server, 2)
            server.wait_until_it_answers()

            eventually(lambda: total(scrape(server), "provider_held_requests") == 0)

    def test_the_metric_files_are_removed_at_exit(self, serve: Serve) -> None:
        with serve(WORKERS="2") as server:
            scrape(server)
            directories = {found for pid in booted(server, 2) for found in counting_in(pid)}
            assert len(directories) == 1
            assert server.stop() == 0
        assert not [directory for directory in directories if directory.exists()]


def counting_in(pid: int) -> set[Path]:
    """Return the directories in which a process has metrics files open."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {Path(directory) for directory in re.findall(r"(/\S+)/[a-z_]+_\d+\.db", maps)}


def metrics(client: FlaskClient) -> Series:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return read(answer.text)


def test_pods_are_told_by_their_phase_now(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(start_delay="10s").test_client()

    def phases() -> dict[str, float]:
        return {labels["phase"]: value for labels, value in metrics(client)["provider_pods"]}

    none = {"Pending": 0, "Running": 0, "Succeeded": 0, "Failed": 0, "Unknown": 0}
    assert phases() == none
    gone = put_on(client, a_pod("gone"))
    put_on(client, a_pod("first"))
    client.delete("/deletePod", json=gone)
    clock.advance(9)
    put_on(client, a_pod("second"))
    assert phases() == {**none, "Pending": 2}
    clock.advance(1)
    assert phases() == {**none, "Pending": 1, "Running": 1}


@on_sqlite_alone
class TestWhatIsCounted:
    def test_includes_every_status_and_audit_row(self, make_app: MakeApp) -> None:
        client = make_app(start_delay="1s").test_client()
        before = metrics(client)

        pod = put_on(client, a_pod())
        change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
        client.delete("/deletePod", json=pod)
        client.delete("/deletePod", json=pod)

        after = metrics(client)

        def more(name: str, **labels: str) -> float:
            return total(after, name, **labels) - total(before, name, **labels)

        assert more("provider_pod_transitions_total", phase="Pending") == 1
        assert (
            more("provider_pod_transitions_total", phase="Running") == 2
        )  # the update computes the timeline again
        assert more("provider_audit_events_total", verb="create", code="200") == 1
        assert more("provider_audit_events_total", verb="update", code="200") == 1
        assert more("provider_audit_events_total", verb="delete", code="200") == 1
        assert more("provider_audit_events_total", verb="delete", code="404") == 1
        assert more("provider_audit_events_total") == 4
        assert (
            more("provider_database_seconds_count", operation="write") == 5
        )  # a refusal has a transaction of its own
        assert more("provider_database_seconds_sum", operation="write") > 0

    def test_has_no_name_that_a_client_made_up(self, client: FlaskClient) -> None:
        before = {tuple(sorted(labels.items())) for labels, _ in metrics(client).get(REQUESTS, [])}
        for path in ("/nothing-like-it", "//getPods/nothing-like-it", "/getPods?nothing-like-it"):
            client.open(path, method="PUT").close()
            client.open(path, method="NOTHING-LIKE-IT").close()

        text = client.get("/metrics").text

        assert "nothing-like-it" not in text.lower()
        new = {tuple(sorted(labels.items())) for labels, _ in read(text)[REQUESTS]} - before
        assert {dict(labels)["path"] for labels in new} == {"other"}

    def test_goes_on_being_told_without_the_database(self, make_app: MakeApp) -> None:
        client = make_app(database_url=f"postgresql://127.0.0.1:{free_port()}/none").test_client()

        series = metrics(client)

        assert total(series, "provider_node_capacity", resource="cpu") == 100
        assert "provider_pods" not in series


DASHBOARD = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
SELECTOR = re.compile(r"(provider_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
OF_THE_SCRAPE = {"instance"}
"""Labels that Prometheus adds."""


@pytest.fixture(scope="module")
def everything(share: Share) -> Series:
    """Return the metrics of a provider after every kind of request."""
    with share() as server, closing(server.client()) as client, closing(server.client()) as holding:
        pod = a_pod()
        log = {"namespace": "default", "podName": "web-0", "containerName": "web"}
        codes = [
            client.request("POST", "/createPod", pod).code,
            client.request("POST", "/createPod", b"no pod").code,
            client.get("/getPods").code,
            client.get("/getContainerLogs", **log).code,
            holding.get("/podStatuses", since=0, wait=1).code,
            client.request("DELETE", "/deletePod", pod).code,
        ]
        assert codes == [200, 400, 200, 200, 200, 200]
        eventually(lambda: total(scrape(server), REQUESTS, path="/deletePod") == 1)
        return scrape(server)


class TestTheDashboard:
    @pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
    def test_asks_for_what_there_is(self, everything: Series, query: str) -> None:
        """Check that every code of a query exists; those of faults may be absent."""
        selectors = SELECTOR.findall(query)
        assert selectors
        assert query.count("provider_") == len(selectors), "a metric without its instance"
        known: set[str] = set()
        for name, matchers in selectors:
            assert name in everything
            found = [labels for labels, _ in everything[name]]
            known.update(*found)
            for label, operator, value in MATCHER.findall(matchers):
                if label in OF_THE_SCRAPE:
                    continue
                values = {labels[label] for labels in found}
                wanted = value.split("|") if operator in ("=~", "!~") else [value]
                assert values
                assert value == "5.." or all(any(re.fullmatch(part, one) for one in values) for part in wanted)
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", query) for label in labels.split(", ")}
        assert grouped <= known

    @pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
    def test_names_its_lines_after_labels_that_are_left(self, panel: dict[str, Any]) -> None:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            assert named == (set(grouped[1].split(", ")) - {"le"} if grouped else set())

    def test_shows_every_metric(self, everything: Series) -> None:
        shown = {
            re.sub(r"_(bucket|count|sum|total)$", "", name) for name in re.findall(r"provider_\w+", str(QUERIES))
        }

        assert shown == {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in everything}

    def test_lets_one_choose_among_what_is_scraped(self, everything: Series) -> None:
        queries = [variable["query"] for variable in DASHBOARD["templating"]["list"]]

        assert queries == ["prometheus", "label_values(provider_node_capacity, instance)"]
        assert "provider_node_capacity" in everything
