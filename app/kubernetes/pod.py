"""Parse Pods. Fields that the provider reads are decoded and validated; the rest of the text is kept unchanged.

A newer Kubernetes sends fields that this version does not know. The text of a pod is therefore stored and
returned as it was received.
"""

import hashlib
from datetime import timedelta
from typing import Annotated, Any, Self, TypeVar

import msgspec
import orjson

from app.core.errors import InvalidRequest
from app.core.timestamps import seconds

Resources = dict[str, str | int | float]
"""Resource name → quantity. Kubernetes accepts numbers too."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""A number of seconds or repetitions: a Kubernetes `int32` that is not negative."""


class ApiObject(msgspec.Struct, rename="camel", frozen=True):
    """An object within a Pod. Optional fields can be null: Go clients send `null` for empty lists and maps."""


class ResourceRequirements(ApiObject, frozen=True):
    requests: Resources | None = None
    limits: Resources | None = None


class ContainerPort(ApiObject, frozen=True):
    container_port: int
    protocol: str | None = None


class Probe(ApiObject, frozen=True):
    initial_delay_seconds: Count | None = None
    period_seconds: Count | None = None
    success_threshold: Count | None = None
    failure_threshold: Count | None = None
    termination_grace_period_seconds: Count | None = None


class ContainerRestartRuleOnExitCodes(ApiObject, frozen=True):
    operator: str
    values: list[int] | None = None


class ContainerRestartRule(ApiObject, frozen=True):
    action: str
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class ContainerResizePolicy(ApiObject, frozen=True):
    resource_name: str
    restart_policy: str


class SleepAction(ApiObject, frozen=True):
    seconds: Count


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
        return self.sleep.seconds if self.sleep else 0


class Lifecycle(ApiObject, frozen=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Container(ApiObject, frozen=True):
    """`env` and `env_from` are not validated; :mod:`app.kubernetes.env` reads them."""

    name: str
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: Any = None
    env_from: Any = None
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
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: Count | None = None
    readiness_gates: list[PodReadinessGate] | None = None

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
    generation: int | None = None
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


class PodReference(ApiObject, frozen=True):
    """The pod of a request: its name and UID, its node if that is known, and the grace period of a deletion."""

    namespace: str
    name: str
    uid: str | None = None
    deletion_grace_period_seconds: int | None = None
    node_name: str | None = None


class _ReferencedPod(ApiObject, frozen=True):
    metadata: PodReference
    kind: str | None = None
    spec: Any = None


class Manifest(msgspec.Struct, frozen=True):
    """A validated Pod.

    Attributes:
        pod: the decoded fields.
        text: the whole Pod as compact JSON, without `status` and `metadata.managedFields`.
        digest: SHA-256 (hex) of the fields whose change is an update; see :func:`digest`.
    """

    pod: Pod
    text: str
    digest: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse a request body.

        Raises:
            InvalidRequest: the body is not JSON or not a Pod, or a field that the provider reads is missing or of
                the wrong type. The message names the field and never quotes a value.
        """
        document = _load(body)
        pod = _convert(document, Pod)
        _check(pod)
        try:
            return cls(pod=pod, text=_text(body), digest=digest(document))
        except (RecursionError, orjson.JSONEncodeError) as exc:
            raise InvalidRequest("the body is nested too deeply") from exc

    @classmethod
    def stored(cls, text: str, *, digest: str) -> Self:
        """Decode the text of a manifest that :meth:`parse` accepted, without checking and hashing it again."""
        return cls(pod=_POD_DECODER.decode(text), text=text, digest=digest)

    def with_uid(self, uid: str) -> "Manifest":
        """Return a copy with a UID, for a pod that was received without one."""
        pod = msgspec.structs.replace(self.pod, metadata=msgspec.structs.replace(self.pod.metadata, uid=uid))
        return Manifest(pod=pod, text=self._with_metadata(uid=uid), digest=self.digest)

    def with_deletion(self, timestamp: str, grace_seconds: int) -> "Manifest":
        """Return a copy with `deletionTimestamp` and `deletionGracePeriodSeconds`."""
        text = self._with_metadata(deletionTimestamp=timestamp, deletionGracePeriodSeconds=grace_seconds)
        return Manifest(pod=self.pod, text=text, digest=self.digest)

    def _with_metadata(self, **fields: str | int) -> str:
        document = _DECODER.decode(self.text)
        metadata = _DECODER.decode(document["metadata"])
        metadata.update((name, msgspec.Raw(msgspec.json.encode(value))) for name, value in fields.items())
        document["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
        return msgspec.json.encode(document).decode()


def parse_reference(body: bytes) -> PodReference:
    """Parse the body of a delete request.

    Raises:
        InvalidRequest: as :meth:`Manifest.parse`.
    """
    pod = _convert(_load(body), _ReferencedPod)
    check_metadata(pod.metadata, kind=pod.kind)
    return with_node(pod.metadata, pod.spec)


def with_node(pod: PodReference, spec: Any) -> PodReference:
    """Return the reference with the node of a spec, which may be anything; without one if it names none."""
    name = spec.get("nodeName") if isinstance(spec, dict) else None
    is_name = isinstance(name, str) and 0 < len(name) <= _MAX_NAME_LENGTH and name.isprintable()
    return msgspec.structs.replace(pod, node_name=name if is_name else None)


def parse_array(body: bytes) -> list[bytes]:
    """Return the items of a JSON array, each as JSON, which is not checked further.

    Raises:
        InvalidRequest: the body is not JSON or not an array.
    """
    try:
        return [bytes(item) for item in _ARRAY_DECODER.decode(body)]
    except (msgspec.DecodeError, RecursionError):
        if not isinstance(_load_json(body), list):
            raise InvalidRequest("the body must be an array of Pods") from None
        raise InvalidRequest("the body is nested too deeply") from None


def digest(document: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of a Pod's content. A pod with an equal digest is unchanged.

    Excluded are `status`, which the provider owns, `metadata.managedFields`, `metadata.resourceVersion`, which
    every status patch changes, the UID, which is compared separately, nulls, and the order of `env`: the original
    broker resolves the environment from an unordered map and sends the same pod repeatedly in different orders.
    """
    metadata = {k: v for k, v in document["metadata"].items() if k not in _VOLATILE_METADATA}
    spec = dict(document["spec"])
    for containers in ("containers", "initContainers", "ephemeralContainers"):
        if spec.get(containers):
            spec[containers] = [_with_sorted_env(container) for container in spec[containers]]
    rest = {k: v for k, v in document.items() if k not in ("metadata", "spec", "status", "kind", "apiVersion")}
    shape = {**rest, "metadata": metadata, "spec": spec}
    canonical = orjson.dumps(shape, option=orjson.OPT_SORT_KEYS)
    if b":null" in canonical:  # rare, so the search saves a pass over the whole document
        canonical = orjson.dumps(_without_nulls(shape), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


_T = TypeVar("_T", Pod, _ReferencedPod)
_VOLATILE_METADATA = frozenset({"managedFields", "resourceVersion", "uid"})
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_POD_DECODER = msgspec.json.Decoder(Pod)
for _type in (Pod, _ReferencedPod):
    # msgspec prepares a type on first use, and a process in which two threads do so at once crashes.
    msgspec.json.Decoder(_type)
_MAX_NAME_LENGTH = 253
"""The length of the longest name in Kubernetes, a DNS subdomain."""


def _load_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"the body is not JSON: {exc.msg} at line {exc.lineno}") from exc


def _load(body: bytes) -> dict[str, Any]:
    document = _load_json(body)
    if not isinstance(document, dict):
        raise InvalidRequest("the body must be a Pod, a JSON object")
    return document


def _convert(document: dict[str, Any], to: type[_T]) -> _T:
    try:
        return msgspec.convert(document, to)
    except msgspec.ValidationError as exc:
        raise validation_error(exc) from exc


def validation_error(error: msgspec.ValidationError) -> InvalidRequest:
    """Convert msgspec's "… - at `$.spec.containers[0]`" into an error with a field and a problem."""
    problem, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    if problem.startswith("Object missing required field `"):
        name = problem.split("`")[1]
        return InvalidRequest("required", field=f"{field}.{name}" if field else name)
    return InvalidRequest(problem[0].lower() + problem[1:], field=field or None)


def _check(pod: Pod) -> None:
    check_metadata(pod.metadata, kind=pod.kind)
    if pod.spec.node_name:
        _check_name(pod.spec.node_name, field="spec.nodeName")
    if not pod.spec.containers:
        raise InvalidRequest("at least one is required", field="spec.containers")
    seen: set[str] = set()
    for kind, containers in (
        ("containers", pod.spec.containers),
        ("initContainers", pod.spec.init_containers),
        ("ephemeralContainers", pod.spec.ephemeral_containers),
    ):
        for index, container in enumerate(containers or ()):
            field = f"spec.{kind}[{index}].name"
            _check_name(container.name, field=field)
            if container.name in seen:
                raise InvalidRequest("another container of this pod has the same name", field=field)
            seen.add(container.name)


def check_metadata(metadata: ObjectMeta | PodReference, *, kind: str | None) -> None:
    """Check the names of a Pod.

    Raises:
        InvalidRequest: a name is missing, or no name; or the kind is not Pod.
    """
    if kind not in (None, "", "Pod"):
        raise InvalidRequest("must be Pod", field="kind")
    _check_name(metadata.namespace, field="metadata.namespace")
    _check_name(metadata.name, field="metadata.name")
    if metadata.uid:
        _check_name(metadata.uid, field="metadata.uid")


def _check_name(value: str, *, field: str) -> None:
    if not value:
        raise InvalidRequest("required", field=field)
    if len(value) > _MAX_NAME_LENGTH:
        raise InvalidRequest(f"longer than {_MAX_NAME_LENGTH} characters", field=field)
    if not value.isprintable():
        raise InvalidRequest("has characters that cannot be printed", field=field)


def _text(body: bytes) -> str:
    """Return a body as compact JSON without `status` and `managedFields`; everything else is kept."""
    document = _DECODER.decode(body)
    document.pop("status", None)
    metadata = _DECODER.decode(document["metadata"])
    if metadata.pop("managedFields", None) is not None:
        document["metadata"] = msgspec.Raw(msgspec.json.encode(metadata))
    return msgspec.json.format(msgspec.json.encode(document), indent=-1).decode()


def _with_sorted_env(container: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env")
    if not isinstance(env, list):
        return container
    return {**container, "env": sorted(env, key=_env_name)}


def _env_name(variable: object) -> str:
    return str(variable.get("name", "")) if isinstance(variable, dict) else ""


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
