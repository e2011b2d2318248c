"""Resolves the volumes of pods, and keeps the provider's copy of them up to date.

A provider with the extension `podVolumes` gets all volumes of a pod before the pod, and each volume again when it
has changed: by a change of a ConfigMap or Secret or of a label of the pod, or by the renewal of a token. Other
providers get none; for those only the existence of ConfigMaps and Secrets is checked.

As at a kubelet, a volume that can no longer be made stays as it is: an object may be deleted, or the API server be
unavailable, while the pod runs. The objects of a pod that has ended or is about to end are not read any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import structlog

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubernetes.errors import ApiError, Forbidden
from broker.kubernetes.objects import key
from broker.kubernetes.pods import containers
from broker.pods.object_cache import ObjectCache, ObjectId, Reader
from broker.pods.volumes.files import Context, Problem, Volume, object_ids, resolve, sources_of, token_specs
from broker.pods.volumes.tokens import Token, TokenSpec, request_token
from broker.pods.volumes.trust_bundles import find_collection
from broker.types import Object

_EXTENSION = "podVolumes"
_RENEWAL_RETRY = timedelta(seconds=10)
"""Time after which a renewal that has failed is repeated."""

log = structlog.get_logger()


class ResolvedVolumes(NamedTuple):
    """The volumes of a pod, without those that have problems, and a message for each of those."""

    volumes: list[Volume]
    problems: list[str]


@dataclass(slots=True)
class _Mounted:
    """The volumes of a pod at the provider.

    Attributes:
        uid: UID of the pod.
        versions: volume → version that was sent.
        tokens: the tokens of the pod.
        is_due: whether a volume may have changed since.
    """

    uid: str
    versions: dict[str, str] = field(default_factory=dict)
    tokens: dict[TokenSpec, Token] = field(default_factory=dict)
    is_due: bool = True


class PodVolumes:
    """The volumes of the pods of a node.

    Args:
        dependencies: of the broker.
        objects: reads the objects of volumes.
    """

    def __init__(self, dependencies: Dependencies, objects: ObjectCache) -> None:
        self._dependencies = dependencies
        self._provider = dependencies.provider
        self._objects = objects
        self._mounted: dict[str, _Mounted] = {}
        self._trust_bundles: ObjectId | None = None

    def keep(self, key: str, uid: str | None) -> None:
        """Forget what was sent under a key for any pod but that with this UID; None: for all pods."""
        if (mounted := self._mounted.get(key)) and mounted.uid != uid:
            del self._mounted[key]
            self._objects.release(Reader(key, "volumes"))

    def mark_due(self, key: str) -> None:
        """Record that a volume of a pod may have changed."""
        if mounted := self._mounted.get(key):
            mounted.is_due = True

    def is_current(self, key: str) -> bool:
        """Return whether the provider has the latest version of each volume of a pod."""
        mounted = self._mounted.get(key)
        return mounted is None or not (mounted.is_due or self._is_renewal_due(mounted))

    def seconds_to_renewal(self, key: str) -> float | None:
        """Return the seconds until a token of a pod is renewed, at least one; None without a token."""
        if (mounted := self._mounted.get(key)) is None:
            return None
        now = self._dependencies.clock()
        times = [(token.renew_at - now).total_seconds() for token in mounted.tokens.values()]
        return max(min(times), 1.0) if times else None

    async def resolve(self, pod: Object) -> ResolvedVolumes:
        """Read the objects of a pod's volumes, request its tokens, and return the volumes.

        Volumes that no container mounts, and volumes that the provider makes itself, are left out.

        Raises:
            ProviderError: whether the provider has the extension is not known.
        """
        volumes = _mounted_volumes(pod)
        if not volumes:
            return ResolvedVolumes([], [])
        is_wanted = await self._is_wanted()
        mounted = self._of(pod)
        mounted.is_due = False  # before the objects are read: a change while they are read is another one
        namespace = pod["metadata"]["namespace"]
        ids = {id_ for volume in volumes for id_ in object_ids(volume, namespace)}
        bundles = await self._collection(volumes) if is_wanted else None
        objects = await self._objects.read(Reader(key(pod), "volumes"), [*ids, *([bundles] if bundles else [])])
        specs = {spec for volume in volumes for spec in token_specs(volume)} if is_wanted else ()
        tokens = {spec: await self._token(pod, mounted, spec) for spec in specs}
        context = Context(pod, self._dependencies.nodes.of(pod), objects, tokens, bundles)
        return _resolve(volumes, context, is_wanted=is_wanted)

    async def send(self, pod: Object, volumes: Iterable[Volume]) -> None:
        """Send the volumes of a pod that the provider is about to get.

        Raises:
            ProviderError: retry.
        """
        if _mounted_volumes(pod) and await self._is_wanted():
            self._of(pod).versions.clear()
            await self._send(pod, list(volumes))

    async def refresh(self, pod: Object) -> list[str]:
        """Send the volumes of a pod that have changed; return a message for each that can no longer be made.

        Raises:
            ProviderError: retry.
        """
        volumes = _mounted_volumes(pod)
        if not volumes:
            return []
        if not await self._is_wanted():
            self.keep(key(pod), None)
            return []
        mounted = self._of(pod)
        is_sent = all(volume["name"] in mounted.versions for volume in volumes)
        if is_sent and self.is_current(key(pod)) and not any(map(_is_of_pod, volumes)):
            return []
        resolution = await self.resolve(pod)
        await self._send(pod, resolution.volumes)
        return resolution.problems

    async def _is_wanted(self) -> bool:
        return self._dependencies.settings.pod_volumes and await self._provider.supports(_EXTENSION)

    async def _send(self, pod: Object, volumes: list[Volume]) -> None:
        mounted = self._of(pod)
        changed = [volume for volume in volumes if mounted.versions.get(volume.name) != volume.resource_version]
        if not changed:
            return
        versions = {volume.name: volume.resource_version for volume in changed}
        try:
            is_accepted = await self._provider.put_volumes(pod, changed)
        except ProviderError:
            mounted.is_due = True
            raise
        if is_accepted:
            log.info("volumes sent", pod=key(pod), uid=mounted.uid, versions=versions)
            mounted.versions |= versions

    async def _token(self, pod: Object, mounted: _Mounted, spec: TokenSpec) -> Token | Problem:
        """Return the token of a pod, a new one where it is time for that."""
        token, now = mounted.tokens.get(spec), self._dependencies.clock()
        if token and now < token.renew_at:
            return token
        try:
            token = await request_token(pod, spec, self._dependencies)
        except ApiError as exc:
            if token is None:
                message = f"failed to fetch token: {exc.message or exc.reason}"
                return Problem(message, isinstance(exc, Forbidden))
            log.warning("token not renewed", pod=key(pod), error=str(exc))
            token = token._replace(renew_at=now + _RENEWAL_RETRY)
        mounted.tokens[spec] = token
        return token

    async def _collection(self, volumes: list[Object]) -> ObjectId | None:
        """Return the collection of trust bundles; None where no volume refers to one, or there is none."""
        if not self._trust_bundles and any(
            source.get("clusterTrustBundle") for volume in volumes for source in sources_of(volume)
        ):
            try:
                self._trust_bundles = await find_collection(self._dependencies.client)
            except ApiError as exc:
                log.warning("the cluster's trust bundles are not known", error=str(exc))
        return self._trust_bundles

    def _of(self, pod: Object) -> _Mounted:
        uid = pod["metadata"]["uid"]
        self.keep(key(pod), uid)
        return self._mounted.setdefault(key(pod), _Mounted(uid))

    def _is_renewal_due(self, mounted: _Mounted) -> bool:
        now = self._dependencies.clock()
        return any(token.renew_at <= now for token in mounted.tokens.values())


def _resolve(volumes: list[Object], context: Context, *, is_wanted: bool) -> ResolvedVolumes:
    resolved, messages = [], []
    for each in volumes:
        volume, problems = resolve(each, context, objects_only=not is_wanted)
        # A provider that gets no files does not need the permission to read them.
        causes = [problem.message for problem in problems if is_wanted or not problem.is_forbidden]
        if not causes:
            resolved.append(volume)
            continue
        cause = causes[0] if len(causes) == 1 else f"[{', '.join(causes)}]"
        messages.append(f'MountVolume.SetUp failed for volume "{each["name"]}" : {cause}')
    return ResolvedVolumes(resolved, messages)


def _mounted_volumes(pod: Object) -> list[Object]:
    """Return the volumes that a container mounts and that are made from objects of Kubernetes."""
    volumes = [volume for volume in pod["spec"].get("volumes") or () if sources_of(volume)]
    if not volumes:
        return []
    names = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts") or ()}
    return [volume for volume in volumes if volume["name"] in names]


def _is_of_pod(volume: Object) -> bool:
    """Return whether a volume contains fields of the pod itself."""
    return any(source.get("downwardAPI") is not None for source in sources_of(volume))
