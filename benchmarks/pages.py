"""Measure the pages of the dashboard: CPU and wall time of each, with many pods and a long audit log.

A new database is filled first: the provider records some pods of each kind, and their rows are copied under
other names, spread over two hours, with a tenth more that were deleted. Then each page is requested in this
process, without network or browser: every filter and order of the present and of half an hour ago, and the
first rows of exports. A cell is the median over the rounds; `first` is the wall time of the first round, in which
nothing is kept in memory; then the points of the charts are counted. `--keep FILE` keeps the database, and
measures it again if it is there.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, insert, select, update

from app import create_app
from app.audit.service import AuditFilter
from app.core import logging_config
from app.core.settings import Settings
from app.db.migrate import upgrade
from app.db.models import AuditEvent, Base, Fleet, Pod, PodStatus
from app.pods.list_columns import search_text
from app.pods.pod_filter import SORT_KEYS, PodFilter, Sort
from app.services import Services
from benchmarks.load import BenchmarkError, log
from benchmarks.table import Table

_FLEET = "benchmark"
_RECORDED = timedelta(minutes=10)
_SPREAD = timedelta(minutes=100)
_FAILURES = ("", "", "", "", "", "", "CrashLoopBackOff", "ImagePullBackOff", "OOMKilled", "ReadinessProbe")
_NAMESPACES, _NODES, _OWNERS = 20, 100, 500
_ROWS_PER_INSERT = 10_000
_TIMES = (
    *("created_at", "updated_at", "starts_at", "status_at", "deletion_requested_at", "grace_ends_at"),
    "deleted_at",
)


def pages(app: Flask, *, now: datetime) -> dict[str, str]:
    """Return the measured pages by what is shown."""
    services: Services = app.extensions["services"]
    then = now.replace(microsecond=0) - timedelta(minutes=30)
    past = f"at={then:%Y-%m-%dT%H:%M:%S}"
    uid = services.pod_list.page(PodFilter(status=("CrashLoopBackOff",)), limit=1).rows[0].uid

    def after(at: datetime | None) -> list[str]:
        """Return the parameters of the second and the last page."""
        lists = (
            services.pod_list.page(PodFilter(), sort=sort, at=at)
            for sort in (Sort(), Sort("name", descending=True))
        )
        return [f"after={page.after}" for page in lists]

    of_pods = (
        "",
        *(f"sort={sign}{key}" for key in SORT_KEYS for sign in ("", "-")),
        *("q=CrashLoop", "q=pod-77", "q=ns-3/pod web", "q=nothing-matches", "name=pod-77", "phase=Pending"),
        *("status=CrashLoopBackOff", "status=Running&sort=-restarts", "reason=OOMKilled", "ready=false"),
        *("namespace=ns-3", "node=node-50", "selector=app%3Dapp-7,tier", "selector=app+notin+(app-7)"),
        *("image=web:3", "owner=app-77", "health=failing", "health=healthy", "problem=crash-loop"),
        *("problem=not-ready", "q=pod-7&health=failing&sort=-age"),
    )
    of_audit = (
        *("", "refused=true", "who=nobody", "what=image", "verb=update", "namespace=ns-3", "node=node-50"),
        "namespace=ns-3&name=pod-3-00003",
    )
    exports = ("format=csv", "format=jsonl", "format=jsonl&refused=true", "format=jsonl&verb=update")
    return {
        "overview": "/ui/",
        "overview, 24 h": "/ui/?from=24h",
        "overview, past": f"/ui/?{past}",
        **{f"pods, {query}": f"/ui/pods?{query}" for query in (*of_pods, *after(None))},
        **{f"pods, past, {query}": f"/ui/pods?{past}&{query}" for query in (*of_pods, *after(then))},
        "pod": f"/ui/pod?uid={uid}",
        "pod, past": f"/ui/pod?{past}&uid={uid}",
        **{f"audit, {query}": f"/ui/audit?{query}" for query in of_audit},
        **{f"audit, past, {query}": f"/ui/audit?{past}&{query}" for query in of_audit},
        **{f"export, {query}": f"/ui/audit/export?{query}" for query in exports},
    }


def fill(settings: Settings, *, pods: int, events: int, now: datetime) -> None:
    """Fill a new database with the pods and write requests of two hours."""
    upgrade(settings.database)
    clock = now - _RECORDED
    app = create_app(settings, clock=lambda: clock)
    client = app.test_client()
    for number, failure in enumerate(_FAILURES):
        _send(client, "POST", "/createPod", _pod(number, failure))
    _send(client, "POST", "/createPod", _pod(50, ""))
    for _ in range(9):
        clock += _RECORDED / 10
        client.get("/getPods")
    _send(client, "DELETE", "/deletePod", _pod(50, ""))
    clock += _RECORDED / 10
    client.get("/getPods")
    _send(
        client, "PUT", "/updatePod", {**_pod(0, ""), "spec": {"containers": [{"name": "web", "image": "web:2"}]}}
    )
    _send(client, "DELETE", "/deletePod", _pod(99, ""))
    services: Services = app.extensions["services"]
    with services.database.write() as connection:
        _copy(connection, pods=pods, events=events, now=now)
    services.database.dispose()


def _copy(connection: Connection, *, pods: int, events: int, now: datetime) -> None:
    """Copy the recorded rows, each copy at its own time before that of the original."""
    records = sorted(_rows(connection, Pod), key=lambda row: row["deleted_at"] is not None)
    statuses: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(connection, PodStatus):
        if row["effective_at"] <= now:
            statuses.setdefault(row["pod_id"], []).append(row)
    first = max(record["id"] for record in records) + 1

    deleted = pods // 10

    def original(number: int) -> dict[str, Any]:
        """Return the record of a copy: the last one is that of a deleted pod."""
        return records[number % (len(records) - 1)] if number < pods else records[-1]

    def back(number: int) -> timedelta:
        return _SPREAD * (1 - (number / pods if number < pods else (number - pods) / deleted))

    def copy(number: int) -> Mapping[str, Any]:
        record = original(number)
        copied = {
            **record,
            **{key: record[key] and record[key] - back(number) for key in _TIMES},
            "continues_at": None,
            "id": first + number,
            "namespace": f"ns-{number % _NAMESPACES}",
            "node_name": f"node-{number % _NODES}",
            "name": f"pod-{number % _OWNERS}-{number:05x}",
            "uid": str(UUID(int=number + 1)),
            "pod_ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "owner": f"ReplicaSet/app-{number % _OWNERS}",
            "labels": f'{{"app":"app-{number % _OWNERS}","tier":"t"}}',
            "images": f"registry.example/web:{number % 7}",
        }
        text = record["pod"].replace(record["name"], copied["name"]).replace(record["uid"], copied["uid"])
        return {**copied, "pod": text, "search_text": search_text(copied)}

    copied = range(pods + deleted)
    _insert(connection, Pod, map(copy, copied))
    _insert(
        connection,
        PodStatus,
        (
            {**row, "pod_id": first + number, "effective_at": row["effective_at"] - back(number)}
            for number in copied
            for row in statuses[original(number)["id"]]
        ),
    )
    log(f"{pods:,} pods")
    recorded = _rows(connection, AuditEvent)
    kinds = [row for row in recorded if row["verb"] == "update" or row["code"] >= 400]
    kinds = [*[row for row in recorded if row["verb"] == "create"] * 50, *kinds]
    step = _SPREAD / events
    _insert(
        connection,
        AuditEvent,
        (
            {
                **{key: value for key, value in kinds[number % len(kinds)].items() if key != "id"},
                "at": now - _SPREAD + step * number,
                "namespace": f"ns-{number % pods % _NAMESPACES}",
                "name": f"pod-{number % pods % _OWNERS}-{number % pods:05x}",
                "uid": str(UUID(int=number % pods + 1)),
            }
            for number in range(events)
        ),
    )
    connection.execute(update(Fleet).values(settled_at=now))
    log(f"{events:,} audit events")


def _recorded_until(settings: Settings) -> datetime:
    """Return the time of the last event: a database that was kept is measured as if it were then."""
    services: Services = create_app(settings).extensions["services"]
    [last] = services.audit.last_events(AuditFilter(), count=1)
    services.database.dispose()
    found: datetime = last["at"]
    return found


def _rows(connection: Connection, model: type[Base]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(model.__table__)).mappings()]


def _insert(connection: Connection, model: type[Base], rows: Iterator[Mapping[str, Any]]) -> None:
    while chunk := list(islice(rows, _ROWS_PER_INSERT)):
        connection.execute(insert(model), chunk)


def _pod(number: int, failure: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "web",
        "image": "web:1",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    }
    if failure == "ReadinessProbe":
        container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": 8080}}
    return {
        "metadata": {
            "namespace": "recorded",
            "name": f"recorded-{number}",
            "uid": str(UUID(int=2**64 + number)),
            "annotations": {"synthetic.virtual-kubelet.io/fail": failure} if failure else {},
        },
        "spec": {"containers": [container], "restartPolicy": "Always"},
    }


def _send(client: FlaskClient, method: str, path: str, pod: dict[str, Any]) -> None:
    client.open(path, method=method, json=pod, headers={"User-Agent": "benchmark"})


def _timed(request: Callable[[], int]) -> tuple[float, float, int]:
    """Return the wall and the CPU time of a request in milliseconds, and the size of its answer in bytes."""
    began, used = time.perf_counter(), time.process_time()
    size = request()
    return (time.perf_counter() - began) * 1000, (time.process_time() - used) * 1000, size


def measure(app: Flask, paths: Mapping[str, str], *, rounds: int) -> Table:
    """Request each page once a round, and return the medians."""
    client = app.test_client()
    services: Services = app.extensions["services"]
    table = Table("pages", ["wall ms", "CPU ms", "first ms", "KiB"], has_ratios=False)
    for number in range(rounds):
        for page, path in paths.items():

            def request(path: str = path) -> int:
                response = client.get(path, buffered=False)
                if response.status_code != 200:
                    raise BenchmarkError(f"{path}: {response.status_code}")
                # Of an export, the first rows after the header.
                size = sum(map(len, islice(response.iter_encoded(), 2 if "export" in path else None)))
                response.close()
                return size

            wall, cpu, size = _timed(request)
            if number == 0:
                table.add(page, "first ms", wall)
                services.series.samples.wait()
            else:
                for column, sample in (("wall ms", wall), ("CPU ms", cpu), ("KiB", size / 1024)):
                    table.add(page, column, sample)
        log(f"round {number + 1} of {rounds}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill, measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pods", type=int, default=50_000, help="(%(default)s)")
    add("--events", type=int, default=500_000, help="audit events (%(default)s)")
    add("--rounds", type=int, default=6, help="the first one is not in the medians (%(default)s)")
    add("--keep", type=Path, metavar="FILE", help="the SQLite database to make, or to measure again")
    add("--only", default="", help="measure the pages with this text in their name")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        file: Path = options.keep or Path(directory) / "pages.db"
        settings = Settings(database_url=f"sqlite:///{file.resolve()}", node_name=_FLEET, log_level="ERROR")
        logging_config.configure(settings)
        if not file.exists():
            fill(settings, pods=options.pods, events=options.events, now=datetime.now(UTC))
        began, end = time.monotonic(), _recorded_until(settings)
        app = create_app(settings, clock=lambda: end + timedelta(seconds=time.monotonic() - began))
        paths = {page: path for page, path in pages(app, now=end).items() if options.only in page}
        print(f"\n{measure(app, paths, rounds=options.rounds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
