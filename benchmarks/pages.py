"""Measure the pages of the dashboard: CPU and wall time of each, with many pods and a long audit log.

A new database is filled first: the provider records some pods of each kind, and their rows are copied under
other names, spread over two hours. Then each page is requested in this process, without network or browser. A
cell is the median over the rounds; `first` is the wall time of the first round, in which nothing is kept in
memory. `--keep FILE` keeps the database, and measures it again if it is there.
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
from app.core.settings import Settings
from app.db.migrate import upgrade
from app.db.models import AuditEvent, Base, Fleet, Pod, PodStatus
from app.pods.pod_list import SORT_KEYS, PodFilter, Sort
from app.services import Services
from benchmarks.load import BenchmarkError, log
from benchmarks.table import Table

_FLEET = "benchmark"
_RECORDED = timedelta(minutes=10)
_SPREAD = timedelta(minutes=100)
_FAILURES = ("", "", "", "", "", "", "CrashLoopBackOff", "ImagePullBackOff", "OOMKilled", "ReadinessProbe")
_NAMESPACES, _NODES, _OWNERS = 20, 100, 500
_ROWS_PER_INSERT = 10_000
_TIMES = ("created_at", "updated_at", "starts_at", "status_at")


def pages(app: Flask, *, now: datetime) -> dict[str, str]:
    """Return the measured pages by what is shown."""
    services: Services = app.extensions["services"]
    past = f"{now - timedelta(minutes=30):%Y-%m-%dT%H:%M:%S}"
    last = services.pod_list.page(PodFilter(), sort=Sort("name", descending=True)).after
    uid = services.pod_list.page(PodFilter(status=("CrashLoopBackOff",)), limit=1).rows[0].uid
    filters = (
        *("q=CrashLoop", "q=pod-77", "q=nothing-matches", "status=CrashLoopBackOff", "reason=OOMKilled"),
        *("ready=false", "namespace=ns-3", "node=node-50", "selector=app%3Dapp-7,tier", "image=web:3"),
        *("owner=app-77", "health=failing", "problem=crash-loop", f"at={past}", f"at={past}&sort=-restarts"),
    )
    of_audit = ("", "refused=true", "who=nobody", "what=image", "verb=update", "namespace=ns-3", f"at={past}")
    exports = ("format=csv", "format=jsonl&refused=true")
    return {
        "overview": "/ui/",
        "overview, 24 h": "/ui/?from=24h",
        "overview, at a past time": f"/ui/?at={past}",
        "pods": "/ui/pods",
        "pods, last page": f"/ui/pods?after={last}",
        **{f"pods, sort={sign}{key}": f"/ui/pods?sort={sign}{key}" for key in SORT_KEYS for sign in ("", "-")},
        **{f"pods, {query.replace(past, 'past')}": f"/ui/pods?{query}" for query in filters},
        "pod": f"/ui/pod?uid={uid}",
        **{f"audit, {query.replace(past, 'past')}": f"/ui/audit?{query}" for query in of_audit},
        **{f"export, {query}, first rows": f"/ui/audit/export?{query}" for query in exports},
    }


def fill(settings: Settings, *, pods: int, events: int, now: datetime) -> None:
    """Fill a new database with the pods and write requests of two hours."""
    upgrade(settings.database)
    clock = now - _RECORDED
    app = create_app(settings, clock=lambda: clock)
    client = app.test_client()
    for number, failure in enumerate(_FAILURES):
        _send(client, "POST", "/createPod", _pod(number, failure))
    for _ in range(10):
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
    records = _rows(connection, Pod)
    statuses: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(connection, PodStatus):
        if row["effective_at"] <= now:
            statuses.setdefault(row["pod_id"], []).append(row)
    first = max(record["id"] for record in records) + 1

    def copies(number: int) -> Mapping[str, Any]:
        record, back = records[number % len(records)], _SPREAD * (1 - number / pods)
        name, uid = f"pod-{number % _OWNERS}-{number:05x}", str(UUID(int=number + 1))
        return {
            **record,
            **{key: record[key] - back for key in _TIMES},
            "continues_at": None,
            "id": first + number,
            "namespace": f"ns-{number % _NAMESPACES}",
            "node_name": f"node-{number % _NODES}",
            "name": name,
            "uid": uid,
            "pod_ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "owner": f"ReplicaSet/app-{number % _OWNERS}",
            "labels": f'{{"app":"app-{number % _OWNERS}","tier":"t"}}',
            "images": f"registry.example/web:{number % 7}",
            "pod": record["pod"].replace(record["name"], name).replace(record["uid"], uid),
        }  # fmt: skip

    _insert(connection, Pod, map(copies, range(pods)))
    _insert(
        connection,
        PodStatus,
        (
            {**row, "pod_id": first + number, "effective_at": row["effective_at"] - _SPREAD * (1 - number / pods)}
            for number in range(pods)
            for row in statuses[records[number % len(records)]["id"]]
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
        now = datetime.now(UTC)
        if not file.exists():
            fill(settings, pods=options.pods, events=options.events, now=now)
        app = create_app(settings)
        paths = {page: path for page, path in pages(app, now=now).items() if options.only in page}
        print(f"\n{measure(app, paths, rounds=options.rounds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
