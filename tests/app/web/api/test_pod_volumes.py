"""`PUT /podVolumes`: the files go to the runtime; names, sizes and versions are recorded, contents are not."""

import base64
from typing import Any, ClassVar

import orjson
from flask.testing import FlaskClient

from app.db.engine import Database
from app.db.models import AuditEvent, PodVolume
from app.kubernetes.pod import PodReference
from app.kubernetes.volumes import Volume
from app.services import Services
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import put_on, rows
from tests.conftest import Clock, MakeApp
from tests.pods import a_pod

SECRET = "a-secret-that-nobody-sees"


class TakingRuntime(ScriptedRuntime):
    """Keeps what it is given."""

    takes_volumes = True
    taken: ClassVar[list[tuple[PodReference, list[Volume]]]] = []

    def put_volumes(self, pod: PodReference, volumes: Any) -> None:
        self.taken.append((pod, list(volumes)))


def a_volume(name: str = "config", *, version: str | None = "42", content: str = SECRET) -> dict[str, Any]:
    source = {"kind": "Secret", "name": "app", **({"resourceVersion": version} if version else {})}
    data = base64.b64encode(content.encode()).decode()
    return {"name": name, "sources": [source], "files": [{"path": "a/key", "mode": 0o640, "data": data}]}


def put(client: FlaskClient, pod: dict[str, Any], *volumes: dict[str, Any], code: int = 200) -> Any:
    metadata = {name: pod["metadata"].get(name) for name in ("namespace", "name", "uid")}
    answer = client.put("/podVolumes", json={"metadata": metadata, "volumes": volumes})
    assert answer.status_code == code, answer.text
    return answer


def events(database: Database) -> list[dict[str, Any]]:
    return [event for event in rows(database, AuditEvent) if event["verb"] == "mount"]


def test_versions_are_recorded_without_contents(client: FlaskClient, database: Database) -> None:
    pod = a_pod()
    put(client, pod, a_volume(), a_volume("other", version="7"))
    put_on(client, pod)

    stored = {row["volume"]: row for row in rows(database, PodVolume)}
    assert orjson.loads(stored["config"]["files"]) == [{"path": "a/key", "mode": 0o640, "bytes": len(SECRET)}]
    [event] = events(database)
    assert (event["name"], event["uid"], event["code"]) == ("web-0", pod["metadata"]["uid"], 200)
    assert orjson.loads(event["change"]) == {
        "volumes": [
            {"name": "config", "sources": [{"kind": "Secret", "name": "app", "resourceVersion": "42"}]},
            {"name": "other", "sources": [{"kind": "Secret", "name": "app", "resourceVersion": "7"}]},
        ]
    }
    assert SECRET not in repr((stored, event))


def test_a_repetition_records_nothing(client: FlaskClient, database: Database, clock: Clock) -> None:
    pod = a_pod()
    put(client, pod, a_volume(), a_volume("other"))
    before = rows(database, PodVolume)
    clock.advance(5)
    put(client, pod, a_volume(), a_volume("other"))
    assert rows(database, PodVolume) == before
    assert len(events(database)) == 1


def test_only_a_changed_volume_is_recorded(client: FlaskClient, database: Database) -> None:
    pod = a_pod()
    put(client, pod, a_volume(), a_volume("other"))
    put(client, pod, a_volume(version="43"), a_volume("other"))
    put(client, pod, a_volume(version="43", content="short"))
    changes = [orjson.loads(event["change"])["volumes"] for event in events(database)]
    assert [[volume["name"] for volume in volumes] for volumes in changes] == [
        ["config", "other"],
        ["config"],
        ["config"],
    ]
    assert [row["volume"] for row in rows(database, PodVolume)] == ["config", "other"]


def test_a_late_version_is_refused(make_app: MakeApp, database: Database, clock: Clock) -> None:
    client = make_app(runtime="tests.app.web.api.test_pod_volumes:TakingRuntime").test_client()
    TakingRuntime.taken.clear()
    pod = a_pod()
    put(client, pod, a_volume(version="42"))
    put(client, pod, a_volume(version="143"))
    clock.advance(599)
    answer = put(client, pod, a_volume(version="99"), a_volume("other"), code=409)
    assert answer.get_json()["error"]["message"].startswith("volume config was given a newer version at 2026-")
    assert [row["volume"] for row in rows(database, PodVolume)] == ["config"]
    assert [event["code"] for event in events(database)] == [200, 200, 409]
    assert len(TakingRuntime.taken) == 2
    clock.advance(1)
    put(client, pod, a_volume(version="42"))  # the cluster's state was restored
    assert len(TakingRuntime.taken) == 3


def test_a_version_with_a_newer_object_is_not_late(client: FlaskClient) -> None:
    def volume(app: str, other: str) -> dict[str, Any]:
        versions = {"app": app, "other": other}
        sources = [{"kind": "ConfigMap", "name": name, "resourceVersion": v} for name, v in versions.items()]
        return {**a_volume(), "sources": sources}

    pod = a_pod()
    put(client, pod, volume("42", "7"))
    put(client, pod, volume("41", "8"))
    put(client, pod, volume("40", "8"), code=409)
    put(client, pod, volume("v40", "v8"))  # of a client that is no broker
    put(client, pod, a_volume(version=None))


def test_late_labels_of_a_pod_are_refused(client: FlaskClient) -> None:
    def volume(pod: str) -> dict[str, Any]:
        sources = [
            {"kind": "ConfigMap", "name": "app", "resourceVersion": "42"},
            {"kind": "DownwardAPI", "name": "web-0", "resourceVersion": pod},
            {"kind": "DownwardAPI", "name": "web-0"},
        ]
        return {**a_volume(content=pod), "sources": sources}

    pod = a_pod()
    put(client, pod, volume("100"))
    put(client, pod, volume("99"), code=409)
    put(client, pod, volume("101"))


def test_volumes_of_unknown_pods_are_forgotten(client: FlaskClient, database: Database, clock: Clock) -> None:
    created, never = a_pod("created"), a_pod("never")
    for pod in (created, never):
        put(client, pod, a_volume())
    put_on(client, created)
    clock.advance(601)
    put(client, a_pod("another"), a_volume())
    assert {row["name"] for row in rows(database, PodVolume)} == {"created", "another"}


def test_a_uid_of_another_pod_is_refused(client: FlaskClient, database: Database) -> None:
    pod = put_on(client, a_pod())
    other = a_pod("other", uid=pod["metadata"]["uid"])
    answer = put(client, other, a_volume(), code=400)
    assert answer.get_json()["error"]["field"] == "metadata.uid"
    [event] = events(database)
    assert (event["code"], event["name"]) == (400, "other")


def test_an_invalid_volume_is_refused_without_its_value(client: FlaskClient) -> None:
    volume = a_volume()
    volume["files"][0]["path"] = f"/{SECRET}"
    error = put(client, a_pod(), volume, code=400).get_json()["error"]
    assert error["field"] == "volumes[0].files[0].path"
    assert SECRET not in error["message"]


def test_the_runtime_takes_every_request(make_app: MakeApp) -> None:
    client = make_app(runtime="tests.app.web.api.test_pod_volumes:TakingRuntime").test_client()
    TakingRuntime.taken.clear()
    pod = a_pod()
    for _ in range(2):
        put(client, pod, a_volume())
    assert [reference.uid for reference, _ in TakingRuntime.taken] == [pod["metadata"]["uid"]] * 2
    assert TakingRuntime.taken[0][1][0].files[0].data == SECRET.encode()


def test_a_runtime_without_volumes_lacks_the_extension(make_app: MakeApp) -> None:
    client = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime").test_client()
    assert "podVolumes" not in client.get("/extensions").get_json()
    answer = put(client, a_pod(), a_volume(), code=404)
    assert answer.get_json()["error"]["message"] == "the runtime ScriptedRuntime takes no volumes"


def test_explain_names_the_versions(client: FlaskClient, services: Services, clock: Clock) -> None:
    pod = a_pod()
    put(client, pod, a_volume())
    put_on(client, pod)
    record = services.history.find(pod["metadata"]["uid"])
    sentences = services.history.explain(record, at=clock.now)
    assert any(
        sentence.startswith(f"Volume config has 1 file, {len(SECRET)} bytes, from Secret app version 42, since ")
        for sentence in sentences
    )
    clock.advance(10)
    put(client, pod, a_volume(version="43"))
    [*_, sentence] = services.volumes.sentences(record.uid, at=clock.now.replace(year=2020))
    assert sentence.startswith("Volume config was given another version later, at ")
    lines = [entry.summary for entry in services.history.steps(record) if entry.request]
    assert [line.partition(": ")[2] for line in lines if line.startswith("mount")] == [
        "config (Secret app version 42)",
        "config (Secret app version 43)",
    ]


def test_views_and_report_name_versions(client: FlaskClient, services: Services, database: Database) -> None:
    pod = a_pod()
    put(client, pod, a_volume())
    with database.read() as connection:
        [file] = connection.exec_driver_sql("SELECT name, volume, path, mode, bytes FROM pod_files").all()
    assert tuple(file) == ("web-0", "config", "a/key", 0o640, len(SECRET))
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    [row] = services.audit.run_report("mounts", namespace=namespace, name=name).rows
    assert row[2:7] == ("config", None, "Secret", "app", "42")
