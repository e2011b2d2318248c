"""The events of a kubelet on the containers of a pod, derived from its statuses."""

from typing import Any

import pytest

from broker.pods.container_events import ContainerEvent, change_events, stop_events
from tests.broker.apiserver import ApiServer
from tests.broker.pods import conftest
from tests.broker.pods.conftest import Controlling, bound, phase, run
from tests.broker.pods.statuses import AT_NOW, BEFORE, LATER, Object
from tests.pods import a_container, a_pod
from tests.stub_provider import WAYS, StubProvider, Ways, providing
from tests.stub_provider import ended as ended_pod
from tests.stub_provider import running as running_pod

POD = a_pod(
    uid="uid-1",
    initContainers=[a_container("setup")],
    ephemeralContainers=[a_container("debug")],
)
STARTED = ("Normal", "Started", "Container started")
BACK_OFF = ("Warning", "BackOff", "Back-off restarting failed container web in pod web-0_default(uid-1)")


def status(state: Object, last: Object | None = None, *, name: str = "web", **fields: Any) -> Object:
    """Return the status of a pod with one container."""
    container = {"name": name, "state": state, "lastState": last or {}, **fields}
    return {"containerStatuses": [container]}


def running(started: str | None = BEFORE) -> Object:
    return {"running": {"startedAt": started}}


def ended(started: str | None = BEFORE, *, exit_code: int = 1, **fields: Any) -> Object:
    return {"terminated": {"exitCode": exit_code, "startedAt": started, "finishedAt": LATER, **fields}}


def waiting(reason: str, message: str | None = None) -> Object:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def events(before: Object, after: Object) -> list[tuple[str, str, str]]:
    """Return type, reason and message of the events of a change."""
    return [(event.kind, event.reason, event.message) for event in change_events(POD, before, after)]


CREATING = status(waiting("ContainerCreating"))


# Start


@pytest.mark.parametrize("before", [{}, CREATING])
def test_a_container_that_runs_has_started(before: Object) -> None:
    assert events(before, status(running())) == [STARTED]


def test_a_container_that_ran_already_has_not_started() -> None:
    before = status(running(), ready=False)
    assert events(before, before) == events(before, status(running(), ready=True)) == []


def test_a_container_that_waits_to_start_has_no_event() -> None:
    assert events({}, CREATING) == events({}, status(waiting("PodInitializing"))) == []


def test_a_run_that_ended_between_two_statuses_has_started() -> None:
    assert events(CREATING, status(ended(exit_code=0))) == [STARTED]


def test_the_end_of_a_run_has_no_event() -> None:
    assert events(status(running()), status(ended())) == []


def test_a_restarted_container_has_started_again() -> None:
    assert events(status(running()), status(running(LATER), ended())) == [STARTED]
    assert events(status(ended()), status(running(LATER), ended())) == [STARTED]


def test_each_run_of_a_status_has_started() -> None:
    assert events(CREATING, status(running(LATER), ended())) == [STARTED, STARTED]


def test_the_container_id_identifies_a_run() -> None:
    """`startedAt` has whole seconds: a container that fails at once may start twice in one."""
    before = status(running(), containerID="example://1")
    same = status(running(AT_NOW), containerID="example://1")
    other = status(running(), ended(containerID="example://1"), containerID="example://2")
    assert events(before, same) == []
    assert events(before, other) == [STARTED]


def test_the_start_time_identifies_a_run_without_container_id() -> None:
    before = status(running(), containerID="example://1")
    assert events(before, status(running())) == []
    assert events(before, status(running(LATER))) == [STARTED]


@pytest.mark.parametrize(
    "lost",
    [
        ended(None, exit_code=137, reason="ContainerStatusUnknown"),
        ended("1970-01-01T00:00:00Z", exit_code=128, reason="StartError"),
    ],
)
def test_a_container_that_never_ran_has_not_started(lost: Object) -> None:
    assert events(CREATING, status(lost)) == []


# Failures


def test_a_container_in_back_off_is_reported() -> None:
    back_off = waiting("CrashLoopBackOff", "back-off 10s restarting failed container=web pod=web-0_default(uid-1)")
    assert events(status(ended()), status(back_off, ended())) == [BACK_OFF]


def test_a_longer_back_off_is_reported_again() -> None:
    before = status(waiting("CrashLoopBackOff", "back-off 10s"), ended())
    after = status(waiting("CrashLoopBackOff", "back-off 20s"), ended(LATER))
    assert events(before, after) == [STARTED, BACK_OFF]


def test_a_new_run_has_a_back_off_of_its_own() -> None:
    """The longest back-off, 5 minutes, has the same message each time."""
    back_off = waiting("CrashLoopBackOff", "back-off 5m0s")
    assert events(status(back_off, ended()), status(back_off, ended(LATER))) == [STARTED, BACK_OFF]


def test_an_unchanged_reason_is_not_reported_again() -> None:
    before = status(waiting("ImagePullBackOff", "not found"), ready=False)
    assert events(before, {**before, "phase": "Pending"}) == []
    assert events(before, status(waiting("ImagePullBackOff", "not found"), started=False)) == []


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        (
            "ErrImagePull",
            "not found",
            [
                ("Normal", "Pulling", 'Pulling image "nginx:1.27"'),
                ("Warning", "Failed", 'Failed to pull image "nginx:1.27": not found'),
                ("Warning", "Failed", "Error: ErrImagePull"),
            ],
        ),
        (
            "ErrImagePull",
            None,
            [
                ("Normal", "Pulling", 'Pulling image "nginx:1.27"'),
                ("Warning", "Failed", "Error: ErrImagePull"),
            ],
        ),
        (
            "ImagePullBackOff",
            'Back-off pulling image "nginx:1.27": ErrImagePull: not found',
            [
                ("Normal", "BackOff", 'Back-off pulling image "nginx:1.27"'),
                ("Warning", "Failed", "Error: ImagePullBackOff"),
            ],
        ),
        (
            "ErrImageNeverPull",
            'Container image "nginx:1.27" is not present with pull policy of Never',
            [
                (
                    "Warning",
                    "ErrImageNeverPull",
                    'Container image "nginx:1.27" is not present with pull policy of Never',
                ),
                ("Warning", "Failed", "Error: ErrImageNeverPull"),
            ],
        ),
        (
            "InvalidImageName",
            'Failed to apply default image tag "A:": invalid reference format',
            [
                ("Warning", "InspectFailed", 'Failed to apply default image tag "A:": invalid reference format'),
                ("Warning", "Failed", "Error: InvalidImageName"),
            ],
        ),
        ("ImageInspectError", None, [("Warning", "Failed", "Error: ImageInspectError")]),
        (
            "CreateContainerConfigError",
            'configmap "config" not found',
            [("Warning", "Failed", 'Error: configmap "config" not found')],
        ),
        ("CreateContainerError", "no device", [("Warning", "Failed", "Error: no device")]),
        ("RunContainerError", None, [("Warning", "Failed", "Error: RunContainerError")]),
        (
            "PostStartHookError",
            "the hook printed a password",
            [
                ("Warning", "FailedPostStartHook", "PostStartHook failed"),
                ("Normal", "Killing", "FailedPostStartHook"),
            ],
        ),
        ("SomethingElse", "of a provider", []),
    ],
)
def test_each_reason_has_the_events_of_a_kubelet(
    reason: str, message: str | None, expected: list[tuple[str, str, str]]
) -> None:
    assert events(CREATING, status(waiting(reason, message))) == expected


# Stop


def test_running_containers_of_a_stopped_pod_are_killed() -> None:
    pod = {
        "containerStatuses": [
            {"name": "web", "state": running()},
            {"name": "log", "state": running(None)},
            {"name": "done", "state": ended()},
            {"name": "crashed", "state": waiting("CrashLoopBackOff")},
        ]
    }
    assert list(stop_events(pod)) == [
        ContainerEvent("spec.containers{web}", "Normal", "Killing", "Stopping container web"),
        ContainerEvent("spec.containers{log}", "Normal", "Killing", "Stopping container log"),
    ]


@pytest.mark.parametrize("invalid", ["web", None, [None, "web", {"state": {}}], [{"name": "web", "state": "up"}]])
def test_an_invalid_report_has_no_stopped_container(invalid: object) -> None:
    assert list(stop_events({"containerStatuses": invalid})) == []


# Field path


@pytest.mark.parametrize(
    ("statuses", "name", "field_path"),
    [
        ("containerStatuses", "web", "spec.containers{web}"),
        ("initContainerStatuses", "setup", "spec.initContainers{setup}"),
        ("ephemeralContainerStatuses", "debug", "spec.ephemeralContainers{debug}"),
    ],
)
def test_the_field_path_names_kind_and_container(statuses: str, name: str, field_path: str) -> None:
    after = {statuses: [{"name": name, "state": running()}]}
    assert {event.field_path for event in change_events(POD, {}, after)} == {field_path}
    assert {event.field_path for event in stop_events(after)} == {field_path}


def test_a_container_that_is_not_in_the_pod_has_no_events() -> None:
    assert events({}, status(running(), name="unknown")) == []


# Between Kubernetes and a provider


def written(api: ApiServer, reason: str) -> list[tuple[str, int]]:
    """Return message and count of the events with a reason; each is on the container."""
    found = conftest.events(api, reason)
    assert {event["involvedObject"].get("fieldPath") for event in found} <= {"spec.containers{web}"}
    return [(event["message"], event["count"]) for event in found]


@pytest.mark.parametrize("ways", [pytest.param(ways, id=name) for name, ways in WAYS.items()])
async def test_a_pod_has_the_events_of_its_container(api: ApiServer, controlling: Controlling, ways: Ways) -> None:
    async with providing(ways) as stub, controlling(stub):
        await run(api, bound())
        await api.until(lambda: written(api, "Started"))
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: phase(api) is None and written(api, "Killing"))
    assert written(api, "Started") == [("Container started", 1)]
    assert written(api, "Killing") == [("Stopping container web", 1)]


async def test_a_container_is_killed_before_it_has_ended(api: ApiServer, controlling: Controlling) -> None:
    ways = Ways(extensions=("gracefulDelete", "podStatuses"), reports_changes=True)
    async with providing(ways) as stub, controlling(stub):
        await run(api, bound())
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: written(api, "Killing"))
        assert phase(api) == "Running"
        stub.end("default/web-0", 143)
        await api.until(lambda: phase(api) is None)
    assert written(api, "Killing") == [("Stopping container web", 1)]


async def test_a_pod_that_has_ended_is_not_killed(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound(restartPolicy="Never"))
        stub.report("default/web-0", ended_pod(stub.statuses["default/web-0"], 0))
        await api.until(lambda: phase(api) == "Succeeded")
        api.store.delete("pods", "web-0", "default")
        await api.until(lambda: conftest.events(api, "ProviderDeleteSuccess"))
    assert written(api, "Killing") == []


async def test_a_restarted_broker_records_no_start_again(
    api: ApiServer, stub: StubProvider, controlling: Controlling
) -> None:
    async with controlling(stub):
        await run(api, bound())
        await api.until(lambda: written(api, "Started"))
    async with controlling(stub):
        stub.report("default/web-0", {**running_pod(stub.pods["default/web-0"]), "message": "busy"})
        await api.until(lambda: api.store.get("pods", "web-0", "default")["status"].get("message") == "busy")
        await run(api, bound("web-1"))
        await api.until(lambda: len(written(api, "Started")) == 2)
    names = [event["involvedObject"]["name"] for event in conftest.events(api, "Started")]
    assert names == ["web-0", "web-1"]
