"""The fields of a Pod that the provider reads, with the names and types of the Kubernetes API."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec

from app.core.timestamps import seconds

Resources = dict[str, str | int | float]
"""Resource name → quantity. Kubernetes accepts numbers too."""
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""An `int64`; without bounds, the decoder takes integers of any size."""
_HOST_NAME_LENGTH = 63
_LARGEST_COUNT = 2**31 - 1
Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST_COUNT)]
"""A number of seconds or repetitions: a Kubernetes `int32` that is not negative."""


def _as_count(seconds: int) -> int:
    """Return an `int64` number of seconds as one of at most 68 years."""
    return max(0, min(seconds, _LARGEST_COUNT))


class ApiObject(msgspec.Struct, rename="camel", frozen=True):
    """An object within a Pod. Optional fields can be null: Go clients send `null` for empty lists and maps."""


class ResourceRequirements(ApiObject, frozen=True):
    requests: Resources | None = None
    limits: Resources | None = None


class ContainerPort(ApiObject, frozen=True):
    container_port: Integer
    protocol: str | None = None


class Probe(ApiObject, frozen=True):
    initial_delay_seconds: Count | None = None
    period_seconds: Count | None = None
    success_threshold: Count | None = None
    failure_threshold: Count | None = None
    termination_grace_period_seconds: Integer | None = None

    @property
    def grace(self) -> int | None:
        """Its own grace period, in seconds; None for that of the pod."""
        own = self.termination_grace_period_seconds
        return None if own is None else _as_count(own)


class ContainerRestartRuleOnExitCodes(ApiObject, frozen=True):
    operator: str
    values: list[Integer] | None = None


class ContainerRestartRule(ApiObject, frozen=True):
    action: str
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class ContainerResizePolicy(ApiObject, frozen=True):
    resource_name: str
    restart_policy: str


class SleepAction(ApiObject, frozen=True):
    seconds: Integer


class LifecycleHandler(ApiObject, frozen=True):
    exec: Any = None
    http_get: Any = None
    sleep: SleepAction | None = None

    @property
    def can_succeed(self) -> bool:
        """Whether it has a handler that a kubelet runs; one with `tcpSocket` alone fails."""
        return bool(self.exec or self.http_get or self.sleep)

    @property
    def seconds(self) -> int:
        """How long the hook takes, as far as its definition says so: 0 for a command or a request."""
        return _as_count(self.sleep.seconds) if self.sleep else 0


class Lifecycle(ApiObject, frozen=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


NULL = msgspec.Raw(b"null")


class Container(ApiObject, frozen=True):
    """`env` and `env_from` are neither decoded nor validated: they are most of a Pod, and few calls read them.

    :mod:`app.kubernetes.env` does.
    """

    name: str
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: msgspec.Raw = NULL
    env_from: msgspec.Raw = NULL
    ports: list[ContainerPort] | None = None
    resources: ResourceRequirements | None = None
    resize_policy: list[ContainerResizePolicy] | None = None
    restart_policy: str | None = None
    restart_policy_rules: list[ContainerRestartRule] | None = None
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    lifecycle: Lifecycle | None = None


class PodReadinessGate(ApiObject, frozen=True):
    condition_type: str


class PodSpec(ApiObject, frozen=True):
    containers: list[Container]
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    node_name: str | None = None
    host_network: bool | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None
    overhead: Resources | None = None
    termination_grace_period_seconds: Integer | None = None
    active_deadline_seconds: Count | None = None
    readiness_gates: list[PodReadinessGate] | None = None
    hostname: str | None = None
    hostname_override: str | None = None

    @property
    def grace(self) -> timedelta:
        """The grace period of a deletion; by default 30 s, as in the API server."""
        given = self.termination_grace_period_seconds
        return seconds(30 if given is None else given)

    @property
    def all_containers(self) -> list[Container]:
        """All containers, of every kind."""
        return [*self.containers, *(self.init_containers or ()), *(self.ephemeral_containers or ())]


class OwnerReference(ApiObject, frozen=True):
    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class ObjectMeta(ApiObject, frozen=True):
    namespace: str
    name: str
    uid: str | None = None
    generation: Integer | None = None
    labels: dict[str, str | None] | None = None
    annotations: dict[str, str | None] | None = None
    owner_references: list[OwnerReference] | None = None

    @property
    def controller(self) -> OwnerReference | None:
        """The controller that owns the pod, such as its ReplicaSet; None without one."""
        return next((owner for owner in self.owner_references or () if owner.controller), None)

    @property
    def controller_uid(self) -> str | None:
        """The UID of the controller; None without one."""
        return self.controller.uid if self.controller else None

    @property
    def full_name(self) -> str:
        """The pod's name in a kubelet's messages: `NAME_NAMESPACE(UID)`."""
        return f"{self.name}_{self.namespace}({self.uid or ''})"


class Pod(ApiObject, frozen=True):
    """The fields of a Pod that this provider reads."""

    metadata: ObjectMeta
    spec: PodSpec
    kind: str | None = None

    @property
    def host_name(self) -> str:
        """The host name, cut to what a host name can be: with `hostNetwork` that of the node.

        Source: `GeneratePodHostNameAndDomain` of the kubelet.
        """
        spec = self.spec
        own = spec.hostname_override or spec.hostname or self.metadata.name
        name = spec.node_name or own if spec.host_network else own
        return name if len(name) <= _HOST_NAME_LENGTH else name[:_HOST_NAME_LENGTH].rstrip("-.")


class PodReference(ApiObject, frozen=True):
    """The pod of a request: its name and UID, its node if that is known, and the grace period of a deletion."""

    namespace: str
    name: str
    uid: str | None = None
    deletion_grace_period_seconds: Integer | None = None
    node_name: str | None = None
