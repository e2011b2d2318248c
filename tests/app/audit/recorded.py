"""A short history of a node, recorded by the services with a fixed clock, so that results are known."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from flask import Flask

from app.core.settings import Settings
from app.core.timestamps import rfc3339
from app.kubernetes import status as statuses
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import PodStatus, Transition
from app.runtimes import AcceptedPod, EarlierUsage, LogLine, PodUsage, Runtime
from app.runtimes.base import Timeline
from app.runtimes.synthetic.runtime import SyntheticRuntime
from tests.conftest import Clock
from tests.pods import a_container, a_pod

RUNTIME = "tests.app.audit.recorded:RecordedRuntime"
START = datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)
"""The start of the history: the initial time of the tests' clock."""
SECRET = "correct-horse-battery-staple"
BROKER, CURL = "Go-http-client/1.1", "curl/8.5.0"


def at(seconds: float) -> datetime:
    """Return the time a number of seconds after the start."""
    return START + timedelta(seconds=seconds)


END = at(201)
"""The end of the history."""


class RecordedRuntime(Runtime):
    """A runtime in which the image name selects the timeline: crashing, slow, missing, or running."""

    reports_usage = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._synthetic = SyntheticRuntime(settings)

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        runs = orjson.loads(statuses.encode_status(self._synthetic.create(pod, now=now).transitions[-1].status))
        image = pod.manifest.pod.spec.containers[0].image or ""
        steps = next((steps for word, steps in _TIMELINES.items() if word in image), _TIMELINES[""])
        return Timeline([_transition(runs, now, after, *step) for after, *step in steps])

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        changed = orjson.loads(statuses.encode_status(current.status))
        changed["containerStatuses"][0]["image"] = pod.manifest.pod.spec.containers[0].image
        return Timeline([Transition(now, statuses.decode_status(orjson.dumps(changed).decode()))])

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        return Timeline([])

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        return None

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        return iter(())

    def usage(self, pod: AcceptedPod, *, earlier: Sequence[EarlierUsage] = ()) -> PodUsage:
        return self._synthetic.usage(pod, earlier=earlier)


# Seconds after creation; waiting reason, None if running; restarts; time of the last failure.
_TIMELINES: dict[str, list[tuple[float, str | None, int, float | None]]] = {
    "crash": [
        (0, "ContainerCreating", 0, None),
        (2, None, 0, None),
        (5, "CrashLoopBackOff", 0, 5),
        (15, None, 1, 5),
        (18, "CrashLoopBackOff", 1, 18),
        (38, None, 2, 18),
    ],
    "missing": [(0, "ErrImagePull", 0, None), (3, "ImagePullBackOff", 0, None)],
    "slow": [(0, "ContainerCreating", 0, None), (8, None, 0, None)],
    "": [(0, "ContainerCreating", 0, None), (2, None, 0, None)],
}


def _transition(
    runs: dict[str, Any], now: datetime, after: float, waits: Any, restarts: Any, failed: Any
) -> Transition:
    effective_at = now + timedelta(seconds=after)
    status = orjson.loads(orjson.dumps(runs))
    [container] = status["containerStatuses"]
    container["restartCount"] = restarts
    status["phase"] = "Running" if waits is None or failed else "Pending"
    if waits is None:
        container["state"] = {"running": {"startedAt": rfc3339(effective_at)}}
    else:
        container |= {
            "ready": False,
            "started": False,
            "state": {"waiting": {"reason": waits, "message": "words"}},
        }
        for condition in status["conditions"]:
            if condition["type"] in ("Ready", "ContainersReady"):
                condition["status"] = "False"
    if failed is not None:
        finished = rfc3339(now + timedelta(seconds=failed))
        end = {"exitCode": 137, "reason": "Error", "startedAt": rfc3339(now), "finishedAt": finished}
        container["lastState"] = {"terminated": {**end, "containerID": "recorded://1"}}
    return Transition(effective_at, statuses.decode_status(orjson.dumps(status).decode()))


def record_history(app: Flask, clock: Clock) -> None:
    """Record the history: ten requests within 201 seconds, two of which are refused."""
    client = app.test_client()

    def send(seconds: float, verb: str, pod: object, *, by: str = BROKER) -> int:
        clock.now = at(seconds)
        method, path = {
            "create": ("POST", "/createPod"),
            "update": ("PUT", "/updatePod"),
            "delete": ("DELETE", "/deletePod"),
        }[verb]
        headers = {"User-Agent": by, "X-Request-ID": f"{verb}-{seconds:g}"}
        return client.open(path, method=method, json=pod, headers=headers).status_code

    def pod(name: str, uid: str, image: str, *, namespace: str = "shop", cpu: str, memory: str) -> dict[str, Any]:
        container = a_container(
            image=image,
            env=[{"name": "PASSWORD", "value": SECRET}],
            resources={"requests": {"cpu": cpu, "memory": memory}},
        )
        return a_pod(name, namespace=namespace, uid=uid, containers=[container])

    web = pod("web-0", "web-0-a", "nginx:1.27", cpu="500m", memory="256Mi")
    assert send(0, "create", web) == 200
    assert send(10, "create", pod("worker-0", "worker-0", "crash:1", cpu="1", memory="1Gi")) == 200
    job = pod("job-0", "job-0", "missing:9", namespace="lab", cpu="250m", memory="128Mi")
    assert send(20, "create", job) == 200
    assert send(30, "create", pod("slow-0", "slow-0", "slow:1", cpu="100m", memory="64Mi")) == 200
    changed = pod("web-0", "web-0-a", "nginx:1.28", cpu="750m", memory="256Mi")
    assert send(60, "update", changed, by=CURL) == 200
    assert send(90, "delete", {"metadata": {"namespace": "shop", "name": "nobody"}}, by=CURL) == 404
    assert send(95, "create", {"metadata": {"namespace": "shop", "name": "odd"}, "spec": {}}) == 400
    assert send(120, "create", pod("web-0", "web-0-b", "nginx:1.28", cpu="750m", memory="256Mi")) == 200
    assert send(180, "delete", job, by=CURL) == 200
    tool = pod("tool-0", "tool-0", "nginx:1.27", namespace="lab", cpu="50m", memory="32Mi")
    assert send(200, "create", tool) == 200
    clock.now = END
