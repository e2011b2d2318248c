"""The calls that the services make to a runtime."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import orjson
import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from app import create_app, kubernetes, runtimes
from app.core.errors import ConfigurationError, Unavailable
from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import AuditEvent, Pod, PodStatus
from app.kubernetes.status import Transition
from app.runtimes import AcceptedPod, PodUsage, Runtime
from app.runtimes.base import Timeline
from app.runtimes.synthetic.annotations import PER_CONTAINER
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import change, named, put_on, rows
from tests.conftest import Clock, MakeApp
from tests.pods import a_pod

SCRIPTED = "tests.app.runtimes.scripted:ScriptedRuntime"


@pytest.fixture(autouse=True)
def script() -> Iterator[type[ScriptedRuntime]]:
    ScriptedRuntime.play()
    yield ScriptedRuntime
    ScriptedRuntime.play()


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(runtime=SCRIPTED).test_client()


def phase(client: FlaskClient, pod: dict[str, Any]) -> str:
    answer = client.get("/getPodStatus", query_string=named(pod))
    assert answer.status_code == 200, answer.text
    assert answer.json
    return str(answer.json["phase"])


@pytest.mark.parametrize(
    ("runtime", "problem"),
    [
        ("app.nothing:Runtime", "RUNTIME: No module named 'app.nothing'; `app` is this product's package"),
        (
            "app.core.settings:Nothing",
            "RUNTIME: module 'app.core.settings' has no attribute 'Nothing'; `app` is this product's package",
        ),
        (
            "app.core.settings:Settings",
            "RUNTIME: app.core.settings:Settings is not a subclass of app.runtimes.Runtime",
        ),
        (
            "app.runtimes:Runtime",
            "RUNTIME: app.runtimes:Runtime does not define advance, create, delete, logs, update",
        ),
    ],
)
def test_a_runtime_that_is_none_stops_the_start(runtime: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        create_app(Settings.model_validate({"runtime": runtime}))
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("runtime", "is_offered"),
    [
        ("app.runtimes.synthetic:SyntheticRuntime", True),
        ("app.runtimes.process:ProcessRuntime", True),
        (SCRIPTED, False),
    ],
)
def test_only_a_runtime_that_waits_offers_container_environments(
    make_app: MakeApp, tmp_path: Path, runtime: str, *, is_offered: bool
) -> None:
    app = make_app(runtime=runtime, runtime_directory=tmp_path / "runtime")
    offered = app.test_client().get("/extensions").json
    assert ("containerEnvironments" in (offered or {})) is is_offered


def test_a_read_advances_a_due_timeline(client: FlaskClient, clock: Clock, script: type[ScriptedRuntime]) -> None:
    script.play("Running", "Succeeded")
    pod = put_on(client, a_pod())
    seen = [phase(client, pod)]
    for _ in range(4):
        clock.advance(0.6)
        seen.append(phase(client, pod))

    assert seen == ["Pending", "Pending", "Running", "Running", "Succeeded"]
    assert script.advanced == 2, "called once per transition, and not after the last one"


@pytest.mark.parametrize("path", ["/getPods", "/podStatuses"])
def test_reading_all_pods_advances_due_timelines(
    client: FlaskClient, clock: Clock, script: type[ScriptedRuntime], path: str
) -> None:
    script.play("Running")
    for number in range(3):
        put_on(client, a_pod(f"web-{number}"))
    clock.advance(1)

    answer = client.get(path).get_json()
    pods = answer if isinstance(answer, list) else answer["statuses"]
    assert [pod["status"]["phase"] for pod in pods] == ["Running"] * 3


def test_missed_transitions_keep_their_times(
    client: FlaskClient, clock: Clock, script: type[ScriptedRuntime], database: Database
) -> None:
    script.play("Running")
    pod = put_on(client, a_pod())
    created = clock()
    clock.advance(3600)
    phase(client, pod)

    assert [(row["phase"], row["effective_at"]) for row in rows(database, PodStatus)] == [
        ("Pending", created),
        ("Running", created + timedelta(seconds=1)),
    ]


def test_a_timeline_continues_after_an_update(
    client: FlaskClient, clock: Clock, script: type[ScriptedRuntime]
) -> None:
    script.play("Running", "Succeeded")
    pod = put_on(client, a_pod())
    clock.advance(1)
    assert phase(client, pod) == "Running"
    change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    clock.advance(1.1)
    assert phase(client, pod) == "Succeeded"


@pytest.mark.parametrize(
    ("metadata", "spec", "grace"),
    [
        pytest.param({}, {}, "30 s", id="nothing_is_said"),
        pytest.param({}, {"terminationGracePeriodSeconds": 5}, "5 s", id="the_pod_says_it"),
        pytest.param(
            {"deletionGracePeriodSeconds": 0}, {"terminationGracePeriodSeconds": 5}, "0 s", id="the_delete_says_it"
        ),
    ],
)
def test_a_deletion_records_the_grace_period(
    client: FlaskClient, database: Database, metadata: dict[str, Any], spec: dict[str, Any], grace: str
) -> None:
    pod = put_on(client, a_pod(**spec))
    body = {"metadata": {**pod["metadata"], **metadata}}
    assert client.delete("/deletePod", json=body).status_code == 200

    last = rows(database, PodStatus)[-1]
    assert (last["phase"], orjson.loads(last["status"])["message"]) == ("Failed", grace)
    assert last["effective_at"] == rows(database, Pod)[0]["deleted_at"]
    assert client.get("/getPod", query_string=named(pod)).status_code == 404


def test_problems_of_a_timeline_are_audited(
    client: FlaskClient, database: Database, script: type[ScriptedRuntime]
) -> None:
    script.play(problems=("example.com/run-for is no duration",))
    put_on(client, a_pod())

    (event,) = rows(database, AuditEvent)
    assert orjson.loads(event["change"]) == {"problems": ["example.com/run-for is no duration"]}


def test_sync_follows_every_committed_change(client: FlaskClient, script: type[ScriptedRuntime]) -> None:
    pod = put_on(client, a_pod())
    change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    client.put("/updatePod", json=pod | {"metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    client.delete("/deletePod", json=pod)

    assert [synced.deletion_requested_at is None for synced in script.synced] == [True, True, False]


def test_replacing_a_pod_stops_the_old_one(client: FlaskClient, script: type[ScriptedRuntime]) -> None:
    old, new = a_pod(), a_pod()
    put_on(client, old)
    script.synced.clear()
    put_on(client, new)

    assert [(s.manifest.pod.metadata.uid, s.deletion_requested_at is None) for s in script.synced] == [
        (old["metadata"]["uid"], False),
        (new["metadata"]["uid"], True),
    ]


@pytest.mark.parametrize(
    ("error", "level"), [(OSError("no space left"), "error"), (Unavailable("the queue is stopped"), "warning")]
)
def test_a_failed_sync_keeps_the_acknowledged_change(
    client: FlaskClient, script: type[ScriptedRuntime], error: Exception, level: str
) -> None:
    script.sync_error = error
    with capture_logs() as logged:
        pod = put_on(client, a_pod())
    assert phase(client, pod) == "Pending"
    assert [entry["log_level"] for entry in logged if "sync" in entry["event"]] == [level]


def test_each_acceptance_of_a_uid_has_a_key(
    client: FlaskClient, script: type[ScriptedRuntime], clock: Clock
) -> None:
    pod = a_pod(uid="a/b")
    for _ in range(2):
        put_on(client, pod)
        client.delete("/deletePod", json=pod)
        clock.advance(1)
    keys = list(dict.fromkeys(synced.key for synced in script.synced))
    assert keys == ["20261122T084638.123456-a%2Fb", "20261122T084639.123456-a%2Fb"]


def test_what_another_runtime_accepted_can_be_mended(client: FlaskClient, make_app: MakeApp) -> None:
    """An annotation that another runtime does not read is invalid for the synthetic runtime."""
    pod = put_on(client, a_pod())
    wrong = {f"synthetic.virtual-kubelet.io/{name}": '{"ls":' + 100_000 * "[" for name in PER_CONTAINER}
    change(client, {**pod, "metadata": {**pod["metadata"], "annotations": wrong}})
    other = make_app().test_client()
    assert [other.get(path).status_code for path in ("/getPods", "/podStats")] == [200, 200]
    change(other, pod)
    assert phase(other, pod) == "Running"


def unreadable(current: Transition) -> Timeline:
    raise ValueError("invalid literal for int()")


def out_of_order(current: Transition) -> Timeline:
    return Timeline([current])


@pytest.mark.parametrize("answer", [unreadable, out_of_order])
def test_a_failure_for_one_pod_leaves_the_others(
    client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Transition], Timeline]
) -> None:
    ScriptedRuntime.play("Running")
    bad, good = put_on(client, a_pod("bad")), put_on(client, a_pod("good"))
    advance = ScriptedRuntime.advance

    def fail_for_bad(
        self: ScriptedRuntime, pod: AcceptedPod, *, current: Transition, now: datetime
    ) -> Timeline | None:
        if pod.manifest.pod.metadata.name == "bad":
            return answer(current)
        return advance(self, pod, current=current, now=now)

    with monkeypatch.context() as patch:
        patch.setattr(ScriptedRuntime, "advance", fail_for_bad)
        clock.advance(1)
        listed = client.get("/getPods").get_json()
        assert [pod["status"]["phase"] for pod in listed] == ["Pending", "Running"]
        assert [phase(client, pod) for pod in (bad, good)] == ["Pending", "Running"]
        changed = client.get("/podStatuses", query_string={"since": 0}).get_json()["statuses"]
        assert sorted(entry["name"] for entry in changed) == ["bad", "good"]
    assert phase(client, bad) == "Running"


def test_no_pod_can_be_advanced_without_the_batch_system(
    client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Timeline:
        raise Unavailable("the batch system does not answer")

    ScriptedRuntime.play("Running")
    put_on(client, a_pod())
    monkeypatch.setattr(ScriptedRuntime, "advance", fail)
    clock.advance(1)
    assert client.get("/getPods").status_code == 503


def test_a_failed_start_after_a_wait_leaves_the_others(
    client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_later(*_: object, now: datetime, current: Transition, **__: object) -> Timeline:
        status = msgspec.structs.replace(current.status, phase="Failed")
        return Timeline([Transition(now + timedelta(seconds=1), status)])

    def fail(*_: object, **__: object) -> Timeline:
        raise KeyError("queue")

    monkeypatch.setattr(ScriptedRuntime, "delete", end_later)
    put_on(client, a_pod())
    put_on(client, new := a_pod())
    put_on(client, a_pod("other"))
    monkeypatch.setattr(ScriptedRuntime, "create", fail)
    clock.advance(2)
    listed = {pod["metadata"]["uid"]: pod["status"] for pod in client.get("/getPods").get_json()}
    assert len(listed) == 2
    waiting = listed[new["metadata"]["uid"]]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerError", "message": "the runtime failed to start the pod"}


def named_types(hint: Any) -> Iterator[type]:
    """Yield the classes of this product in an annotation, and in the annotations of their own fields."""
    pending, seen = [hint], set()
    while pending:
        hint = pending.pop()
        if isinstance(hint, list):
            pending += hint
            continue
        pending += get_args(hint)
        if isinstance(hint, type) and hint.__module__.startswith("app.") and hint not in seen:
            seen.add(hint)
            pending += get_type_hints(hint).values()
            yield hint


@pytest.mark.parametrize("interface", [Runtime, PodUsage])
def test_authors_can_import_every_type_of_the_interface(interface: type) -> None:
    methods = [getattr(member, "fget", member) for name, member in vars(interface).items() if name[0] != "_"]
    hints = [hint for method in methods if callable(method) for hint in get_type_hints(method).values()]
    found = {type_ for hint in hints for type_ in named_types(hint)}
    assert found
    assert not [
        type_.__name__
        for type_ in found
        if type_ not in [getattr(package, type_.__name__, None) for package in (runtimes, kubernetes)]
    ]
