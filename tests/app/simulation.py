"""Helpers of tests of simulated pods: a time, pods, and functions that compute their transitions."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import Pod
from app.kubernetes.status import ContainerStatus, PodStatus, Transition
from app.runtimes.base import Placement, Timeline
from app.runtimes.synthetic.annotations import DOMAIN
from app.runtimes.synthetic.pod import Defaults, SimulatedPod, simulate
from app.runtimes.synthetic.timeline import advance, create, update
from tests.pods import a_container, a_pod

NOW = datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)
PLACEMENT = Placement(host_ips=("10.0.0.5",), pod_ip="198.18.0.7")
SECRET = "hunter2-the-secret"  # in a pod's values, never in a message
REMOVED = object()
UID = "2b0fba1b-6627-4b32-9948-9f415a2c5ecb"
LEAST = '{"metadata":{"name":"a","namespace":"b"},"spec":{"containers":[{"name":"c"}]}}'
"""A pod with the required fields only, as JSON."""

bounded = settings(
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""Settings of property tests with large examples, which are the same in every run."""


def json_values() -> st.SearchStrategy[Any]:
    """Return a strategy of JSON values."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        scalars | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )


NESTS: dict[str, Callable[[int], str]] = {
    "lists": lambda depth: "[" * depth + "]" * depth,
    "objects": lambda depth: '{"a":' * depth + "1" + "}" * depth,
    "unfinished": lambda depth: "[" * depth,
}
"""JSON of a depth, by its kind."""


def full_pod() -> dict[str, Any]:
    """Return a pod that uses every field that the provider reads, and others."""
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": SECRET}, {"name": "C", "value": "3"}]
    resources = {"requests": {"cpu": "100m", "memory": 1024}, "limits": {"cpu": 1.5}}
    pod = a_pod(
        uid=UID,
        metadata={"annotations": {"note": "a"}, "managedFields": [{"manager": "kubectl"}]},
        containers=[
            a_container(
                "web",
                env=env,
                command=["run"],
                args=["--fast"],
                ports=[{"containerPort": 80, "protocol": "TCP"}],
                resources=resources,
            ),
            a_container("log"),
        ],
        initContainers=[a_container("fetch", env=env, restartPolicy="Always")],
        ephemeralContainers=[a_container("debug", env=env)],
        hostNetwork=False,
        resources=resources,
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    copied: dict[str, Any] = json.loads(json.dumps(pod))  # no object is in it twice
    return copied


def a_pod_with_a_sidecar(**metadata: Any) -> dict[str, Any]:
    """Return a pod with an init container, a sidecar and two containers."""
    return a_pod(
        uid=UID,
        metadata={"generation": 3, **metadata},
        initContainers=[
            a_container("fetch", image="busybox:1.37"),
            a_container("proxy", image="ghcr.io/example/proxy:2", restartPolicy="Always"),
        ],
        containers=[
            a_container("web", image="nginx:1.27", resources={"requests": {"cpu": "100m"}}),
            a_container("api", image="example/api"),
        ],
    )


PODS = {
    "one container": a_pod(uid=UID),
    "many containers": a_pod(uid=UID, containers=[a_container(name) for name in ("web", "api", "log")]),
    "everything": a_pod_with_a_sidecar(),
    "on the host's network": a_pod(uid=UID, hostNetwork=True),
    **{policy: a_pod(uid=UID, restartPolicy=policy) for policy in ("Always", "OnFailure", "Never")},
    "no restart policy": a_pod(uid=UID, restartPolicy=None),
}
"""Pods of every kind, by the difference to the others."""


def with_field(path: str, value: Any) -> dict[str, Any]:
    """Return the full pod with another value at a path such as `spec.containers.0.name`."""
    pod = full_pod()
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    target: Any = pod
    for key in parents:
        target = target[key]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return pod


def parse_manifest(pod: Any) -> Manifest:
    """Parse a pod, or anything else that is JSON."""
    return Manifest.parse(json.dumps(pod).encode())


def parse_pod(pod: dict[str, Any]) -> Pod:
    """Return a pod, parsed from its JSON."""
    return parse_manifest(pod).pod


def simulated_pod(
    pod: dict[str, Any],
    *,
    placement: Placement = PLACEMENT,
    accepted_at: datetime = NOW,
    starts_from: datetime | None = None,
    **defaults: Any,
) -> SimulatedPod:
    """Return the simulation of a pod, by default one accepted at `NOW`; `start_delay` is in seconds."""
    defaults["start_delay"] = timedelta(seconds=defaults.get("start_delay", 0))
    return simulate(
        parse_pod(pod),
        placement=placement,
        accepted_at=accepted_at,
        starts_from=starts_from,
        defaults=Defaults(**defaults),
    )


def transitions_of(pod: dict[str, Any], **circumstances: Any) -> list[Transition]:
    """Return the transitions that are computed when a pod is created at `NOW`."""
    return create(simulated_pod(pod, **circumstances), now=NOW).transitions


def transitions_until(pod: dict[str, Any], *, until: datetime, **circumstances: Any) -> list[Transition]:
    """Return the transitions up to a time of a pod created at `NOW`, advanced as by a reader."""
    the_pod = simulated_pod(pod, **circumstances)
    timeline = create(the_pod, now=NOW)
    transitions = timeline.transitions
    while timeline.continues_at and timeline.continues_at <= until:
        timeline = advance(the_pod, current=transitions[-1], now=timeline.continues_at) or Timeline([])
        transitions += timeline.transitions
    return [transition for transition in transitions if transition.effective_at <= until]


def transitions_on_update(
    pod: dict[str, Any], before: dict[str, Any], timeline: list[Transition], now: datetime, **circumstances: Any
) -> list[Transition]:
    """Return the transitions of an update at `now`, of a pod with a previous timeline."""
    current = next(transition for transition in reversed(timeline) if transition.effective_at < now)
    return update(
        simulated_pod(pod, **circumstances),
        before=simulated_pod(before, **circumstances),
        current=current,
        now=now,
    ).transitions


def annotated(pod: dict[str, Any] | None = None, **overrides: str) -> dict[str, Any]:
    """Return a pod with annotations: `run_for="5s"` applies to the pod, `run_for__web="5s"` to one container."""
    pod = pod or a_pod(uid=UID)
    annotations = dict(pod["metadata"].get("annotations") or {})
    for key, value in overrides.items():
        name, _, of = key.replace("_", "-").partition("--")
        annotations[f"{name}.{DOMAIN}/{of}" if of else f"{DOMAIN}/{name}"] = value
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def container(status: PodStatus, name: str = "web") -> ContainerStatus:
    """Return the status of a container, which must exist."""
    found = status.container(name)
    assert found is not None
    return found


def reason_of(status: PodStatus) -> str | None:
    """Return the reason of a pod, else that of its first container that waits or has ended."""
    states = [found.state for found in (*status.init_container_statuses, *status.container_statuses)]
    reasons = [state.waiting or state.terminated for state in states]
    return status.reason or next((found.reason for found in reasons if found), None)


def after(seconds: float) -> datetime:
    """Return the time a number of seconds after the whole second in which pods are created."""
    return NOW.replace(microsecond=0) + timedelta(seconds=seconds)


def status_at(transitions: list[Transition], time: datetime) -> PodStatus:
    """Return the status that holds at a time, as a query of the stored rows does."""
    return [transition.status for transition in transitions if transition.effective_at <= time][-1]


def decoded(status: msgspec.Struct) -> Any:
    """Return a status, or a part of one, as a client decodes it."""
    return json.loads(msgspec.json.encode(status))
