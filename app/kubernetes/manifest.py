"""Parse Pods. Fields that the provider reads are decoded and validated; the rest of the text is kept unchanged.

A newer Kubernetes sends fields that this version does not know. The text of a pod is therefore stored and
returned as it was received.
"""

import hashlib
from contextlib import suppress
from operator import itemgetter
from typing import Any, Self

import msgspec
import orjson

from app.core.errors import InvalidRequest
from app.kubernetes.pod import NULL, ApiObject, ObjectMeta, Pod, PodReference
from app.kubernetes.resources import pod_requests


class _ReferencedPod(ApiObject, frozen=True):
    metadata: PodReference
    kind: str | None = None
    spec: msgspec.Raw = NULL


class _ScheduledSpec(ApiObject, frozen=True):
    node_name: Any = None


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
        try:
            text = _text(body, document)
            pod = _POD_DECODER.decode(text)
            _check(pod)
            return cls(pod=pod, text=text, digest=digest(document))
        except msgspec.ValidationError as exc:
            raise validation_error(exc) from exc
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
    try:
        pod = _REFERENCE_DECODER.decode(body)
    except msgspec.ValidationError as exc:
        _load(body)
        raise validation_error(exc) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _load(body)
        raise InvalidRequest("the body is not valid JSON, or is nested too deeply") from None
    check_metadata(pod.metadata, kind=pod.kind)
    return with_node(pod.metadata, pod.spec)


def with_node(pod: PodReference, spec: msgspec.Raw) -> PodReference:
    """Return the reference with the node of a spec, any JSON; without one if it names none."""
    name = None
    with suppress(msgspec.ValidationError, UnicodeDecodeError):
        name = _SPEC_DECODER.decode(spec).node_name
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


_VOLATILE_METADATA = frozenset({"managedFields", "resourceVersion", "uid"})
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_POD_DECODER = msgspec.json.Decoder(Pod)
_REFERENCE_DECODER = msgspec.json.Decoder(_ReferencedPod)
_SPEC_DECODER = msgspec.json.Decoder(_ScheduledSpec)
_NAME = itemgetter("name")
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
    if pod.spec.ephemeral_containers:
        # A runtime reads their quantities first, and does not know their place. All pods would take longer.
        pod_requests(pod.spec)


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


def _text(body: bytes, document: dict[str, Any]) -> str:
    """Return a body as compact JSON without `status` and `managedFields`; everything else is kept.

    Args:
        document: the decoded body.
    """
    kept = _DECODER.decode(body)
    kept.pop("status", None)
    metadata = document.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        kept_metadata = _DECODER.decode(kept["metadata"])
        del kept_metadata["managedFields"]
        kept["metadata"] = msgspec.Raw(msgspec.json.encode(kept_metadata))
    return msgspec.json.format(msgspec.json.encode(kept), indent=-1).decode()


def _with_sorted_env(container: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env")
    if not isinstance(env, list):
        return container
    try:
        return {**container, "env": sorted(env, key=_NAME)}
    except (KeyError, TypeError):  # not the variables of a valid Pod
        return {**container, "env": sorted(env, key=_env_name)}


def _env_name(variable: object) -> str:
    return str(variable.get("name", "")) if isinstance(variable, dict) else ""


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
