"""The files of a volume: a pure function of the pod, the volume and the objects that it refers to.

The volumes `configMap`, `secret` and `downwardAPI` are those of a `projected` volume with one source.

Source: `MakePayload`, `CollectData` and `collectData` in `pkg/volume/{configmap,secret,downwardapi,projected}`.
"""

import base64
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from broker.kubernetes.pods import containers
from broker.node_info import NodeInfo
from broker.pods.downward_api import container_resource, metadata_field
from broker.pods.env import Unreadable
from broker.pods.object_cache import Found, ObjectId
from broker.pods.volumes.paths import InvalidPath, check_directories, clean_path
from broker.pods.volumes.tokens import Token, TokenSpec, token_spec
from broker.pods.volumes.trust_bundles import TrustBundleError, trust_anchors
from broker.types import Object

DEFAULT_MODE = 0o644
_SINGLE = ("configMap", "secret", "downwardAPI")
_FIXED_FIELDS = {"metadata.name", "metadata.namespace", "metadata.uid"}


class VolumeFile(msgspec.Struct, frozen=True):
    """A file: its path in the volume, its mode, and its content in base64."""

    path: str
    mode: int
    data: str


class VolumeSource(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An object that a volume was made of; `resource_version` is empty for one without.

    That of fields of the pod is the pod's, so that a provider can tell a late request from a newer one.
    """

    kind: str
    name: str
    resource_version: str = ""


class Volume(msgspec.Struct, frozen=True, rename="camel"):
    """A volume as the provider gets it.

    Attributes:
        name: name of the volume in the pod.
        resource_version: changes whenever the files change; made of the versions of the sources.
        sources: the objects that it was made of.
        files: the files, sorted by path.
    """

    name: str
    resource_version: str
    sources: list[VolumeSource]
    files: list[VolumeFile]


class Problem(NamedTuple):
    """Why a volume cannot be mounted.

    Attributes:
        message: the cause as a kubelet writes it; has no content of an object.
        is_forbidden: whether the broker may not read the object.
    """

    message: str
    is_forbidden: bool = False


class Context(NamedTuple):
    """The input of the volumes of a pod.

    Attributes:
        pod: the pod.
        node: the pod's node.
        objects: the objects of :func:`object_ids`.
        tokens: for each of :func:`token_specs` a token, or why there is none.
        trust_bundles: the collection of ClusterTrustBundles; None where the cluster has none.
    """

    pod: Object
    node: NodeInfo
    objects: Mapping[ObjectId, Found]
    tokens: Mapping[TokenSpec, Token | Problem]
    trust_bundles: ObjectId | None = None


def sources_of(volume: Object) -> list[Object]:
    """Return the sources of a volume, as in a `projected` volume; empty for a volume that the provider mounts."""
    if projected := volume.get("projected"):
        return list(projected.get("sources") or ())
    return [{kind: volume[kind]} for kind in _SINGLE if volume.get(kind) is not None]


def object_ids(volume: Object, namespace: str) -> Iterator[ObjectId]:
    """Return the ConfigMaps and Secrets that a volume refers to."""
    for source in sources_of(volume):
        for kind, field in (("ConfigMap", "configMap"), ("Secret", "secret")):
            if (reference := source.get(field)) is not None:
                yield ObjectId(kind, namespace, _name(reference))


def token_specs(volume: Object) -> Iterator[TokenSpec]:
    """Return the service account tokens that a volume contains."""
    for source in sources_of(volume):
        if (projection := source.get("serviceAccountToken")) is not None:
            yield token_spec(projection)


def resolve(volume: Object, context: Context, *, objects_only: bool = False) -> tuple[Volume, list[Problem]]:
    """Return a volume, and the problems for which it cannot be mounted; with any, its files are incomplete.

    Args:
        volume: the volume.
        context: what it is made of.
        objects_only: leave out all but ConfigMaps and Secrets.
    """
    return _Resolver(volume, context).resolve(_OBJECTS if objects_only else _SOURCES)


class _Resolver:
    def __init__(self, volume: Object, context: Context) -> None:
        self._volume = volume
        self._context = context
        self._mode = _default_mode(volume)
        self._files: dict[str, tuple[int, str]] = {}
        self._sources: list[VolumeSource] = []
        self._versions: list[str] = []
        self._problems: dict[Problem, None] = {}

    def resolve(self, kinds: Collection[str]) -> tuple[Volume, list[Problem]]:
        for source in sources_of(self._volume):
            for kind, projection in source.items():
                if projection is not None and kind in kinds:
                    _SOURCES[kind](self, projection)
        try:
            clean = {clean_path(path): file for path, file in self._files.items()}
            check_directories(clean)
        except InvalidPath as exc:
            self._fail(str(exc))
            clean = {}
        files = [VolumeFile(path, *clean[path]) for path in sorted(clean)]
        volume = Volume(self._volume["name"], "-".join(self._versions), self._sources, files)
        return volume, list(self._problems)

    def _config_map(self, projection: Object) -> None:
        config_map = self._read("ConfigMap", projection)
        if config_map is not None:
            texts = {key: _encode(text) for key, text in (config_map.get("data") or {}).items()}
            missing = "configmap references non-existent config key"
            self._add_keys(projection, {**(config_map.get("binaryData") or {}), **texts}, missing=missing)

    def _secret(self, projection: Object) -> None:
        secret = self._read("Secret", projection)
        if secret is not None:
            self._add_keys(projection, secret.get("data") or {}, missing="references non-existent secret key")

    def _read(self, kind: str, projection: Object) -> Object | None:
        """Return an object, empty for an optional one that does not exist; None with a problem."""
        name, subject = _name(projection), f'{kind.lower()} "{_name(projection)}"'
        found = self._context.objects.get(ObjectId(kind, self._context.pod["metadata"]["namespace"], name))
        if isinstance(found, Unreadable):
            self._fail(f"{subject} cannot be read: {found.why}", is_forbidden=found.why == "Forbidden")
            return None
        if found is None and not projection.get("optional"):
            self._fail(f"{subject} not found")
            return None
        version = found["metadata"]["resourceVersion"] if found else ""
        self._versions.append(version or "0")
        if version:
            self._sources.append(VolumeSource(kind, name, version))
        return found or {}

    def _add_keys(self, projection: Object, data: Mapping[str, str], *, missing: str) -> None:
        items = projection.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            if item["key"] in data:
                self._add(item["path"], data[item["key"]], item.get("mode"))
            elif not projection.get("optional"):
                self._fail(f"{missing}: {item['key']}")
                return

    def _downward_api(self, projection: Object) -> None:
        pod, digest = self._context.pod, blake2b(digest_size=6)
        items = projection.get("items") or ()
        for item in items:
            value: str | None = ""
            if field := item.get("fieldRef"):
                value = metadata_field(pod, field["fieldPath"])
                if value is None:
                    self._fail(f"unsupported fieldPath: {field['fieldPath']}")
            elif resource := item.get("resourceFieldRef"):
                name = resource.get("containerName") or ""
                container = next((c for c in containers(pod) if c["name"] == name), None)
                if container is None:
                    self._fail(f"container {name} not found")
                value = (
                    container_resource(resource, container, self._context.node.allocatable) if container else None
                )
            if value is not None:
                digest.update(f"{len(value)} {value}".encode())
                self._add(item["path"], _encode(value), item.get("mode"))
        self._versions.append(digest.hexdigest())
        # Of fields that never change, the version of the pod would be another one at each start of the broker.
        fields = {(item.get("fieldRef") or {}).get("fieldPath") for item in items}
        version = "" if fields <= _FIXED_FIELDS else pod["metadata"].get("resourceVersion", "")
        self._sources.append(VolumeSource("DownwardAPI", pod["metadata"]["name"], version))

    def _token(self, projection: Object) -> None:
        token = self._context.tokens[token_spec(projection)]
        if isinstance(token, Problem):
            self._problems[token] = None
            return
        self._versions.append(token.version)
        account = self._context.pod["spec"].get("serviceAccountName") or "default"
        self._sources.append(VolumeSource("ServiceAccountToken", account))
        self._add(projection["path"], _encode(token.value))

    def _trust_bundle(self, projection: Object) -> None:
        collection = self._context.trust_bundles
        try:
            if collection is None:
                raise TrustBundleError("ClusterTrustBundle projection is not supported by this cluster")
            bundles, anchors = trust_anchors(projection, self._context.objects[collection])
        except TrustBundleError as exc:
            self._fail(str(exc))
            return
        self._sources += [
            VolumeSource("ClusterTrustBundle", bundle["metadata"]["name"], bundle["metadata"]["resourceVersion"])
            for bundle in bundles
        ]
        self._versions.append(blake2b(anchors.encode(), digest_size=6).hexdigest())
        self._add(projection["path"], _encode(anchors))

    def _pod_certificate(self, _: Object) -> None:
        self._fail("podCertificate projection is not supported by this node")

    def _add(self, path: str, data: str, mode: int | None = None) -> None:
        self._files[path] = (self._mode if mode is None else mode, data)

    def _fail(self, message: str, *, is_forbidden: bool = False) -> None:
        self._problems[Problem(message, is_forbidden)] = None


_OBJECTS = ("configMap", "secret")
_SOURCES = {
    "configMap": _Resolver._config_map,
    "secret": _Resolver._secret,
    "downwardAPI": _Resolver._downward_api,
    "serviceAccountToken": _Resolver._token,
    "clusterTrustBundle": _Resolver._trust_bundle,
    "podCertificate": _Resolver._pod_certificate,
}
"""Source of a projected volume → the method that adds its files."""


def _default_mode(volume: Object) -> int:
    source: Object = next((volume[kind] for kind in ("projected", *_SINGLE) if volume.get(kind)), {})
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def _name(reference: Object) -> str:
    """Return the name of a ConfigMap or Secret: a `secret` volume says `secretName`, all others say `name`."""
    return str(reference.get("secretName") or reference.get("name") or "")


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
