"""The shape of `PodStatus` in the Kubernetes API reference: no other field, each of its type."""

import json
from ipaddress import ip_address
from typing import Annotated, Any, Literal

import msgspec

_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
_ID = Annotated[str, msgspec.Meta(pattern=r"^([a-z]+://[0-9a-f]{64})?$")]


class _Object(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Waiting(_Object, kw_only=True):
    reason: str
    message: str = ""


class _Running(_Object, kw_only=True):
    started_at: _Time


class _Terminated(_Object, kw_only=True):
    exit_code: int
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: _Time | None = None
    finished_at: _Time | None = None
    container_id: _ID = msgspec.field(name="containerID", default="")


class _State(_Object, kw_only=True):
    waiting: _Waiting | None = None
    running: _Running | None = None
    terminated: _Terminated | None = None


class _Resources(_Object, kw_only=True):
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class _ContainerStatus(_Object, kw_only=True):
    name: str
    state: _State
    last_state: _State
    ready: bool
    restart_count: int
    image: str
    image_id: str = msgspec.field(name="imageID")
    container_id: _ID = msgspec.field(name="containerID", default="")
    started: bool | None = None
    allocated_resources: dict[str, str] = {}
    resources: _Resources | None = None


class _Condition(_Object, kw_only=True):
    type: Literal[
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
        "PodResizePending", "PodResizeInProgress", "DisruptionTarget",
    ]  # fmt: skip
    status: Literal["True", "False", "Unknown"]
    observed_generation: int | None = None
    last_probe_time: None
    last_transition_time: _Time
    reason: str = ""
    message: str = ""


class _IP(_Object, kw_only=True):
    ip: str


class _PodStatus(_Object, kw_only=True):
    observed_generation: int | None = None
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]
    conditions: list[_Condition]
    message: str = ""
    reason: str = ""
    host_ip: str = msgspec.field(name="hostIP")
    host_ips: list[_IP] = msgspec.field(name="hostIPs")
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[_IP] = msgspec.field(name="podIPs", default_factory=list)
    start_time: _Time
    init_container_statuses: list[_ContainerStatus] = []
    container_statuses: list[_ContainerStatus]
    qos_class: Literal["Guaranteed", "Burstable", "BestEffort"]
    ephemeral_container_statuses: list[_ContainerStatus] = []


def nulls(value: Any, name: str = "") -> list[str]:
    """Return the names of the fields that are null."""
    if isinstance(value, dict):
        return [found for key, member in value.items() for found in nulls(member, key)]
    if isinstance(value, list):
        return [found for member in value for found in nulls(member, name)]
    return [name] if value is None else []


def check_shape(text: str) -> None:
    """Check a status as JSON against the API reference and the validation of an API server."""
    status = msgspec.json.decode(text, type=_PodStatus)
    assert set(nulls(json.loads(text))) <= {"lastProbeTime"}  # a kubelet omits empty values
    assert len({condition.type for condition in status.conditions}) == len(status.conditions) >= 5
    assert status.host_ip == status.host_ips[0].ip
    assert status.pod_ip == (status.pod_ips[0].ip if status.pod_ips else "")
    for ip in (*status.host_ips, *status.pod_ips):
        ip_address(ip.ip)
    for container in (*status.init_container_statuses, *status.container_statuses):
        states = (container.state.waiting, container.state.running, container.state.terminated)
        assert sum(state is not None for state in states) == 1
