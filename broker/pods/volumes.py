"""Volumes that cannot be mounted yet, because their ConfigMap, Secret or claim is missing.

A kubelet creates no container of a pod before every volume is mounted. Here only the existence of the objects is
checked: the provider gets the pod as soon as a kubelet could mount its volumes.

Source: `SetUpAt` and `MakePayload` in `pkg/volume/{configmap,secret,projected}`, and `createVolumeSpec` in
`pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go`.
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.objects import Object, controller, key
from broker.pods.env import Kind, Unreadable, containers
from broker.pods.env_sources import read_object

_PROTECTION = "kubernetes.io/pvc-protection"
_ROOT_CA = "kube-root-ca.crt"
_ROOT_CA_SECONDS = 60.0
"""Time for which the root certificate of a namespace is not read again: nearly every pod mounts it."""

log = structlog.get_logger()


class _Source(NamedTuple):
    """An object that a volume contains; `keys` are those of its `items`."""

    kind: Kind
    name: str
    optional: bool
    keys: tuple[str, ...]


class VolumeChecker:
    """Checks whether the volumes of pods can be mounted.

    An object that the broker may not read counts as present: the values are not used here.

    Args:
        client: client of the API server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._root_ca_read: dict[str, float] = {}
        self._forbidden: set[str] = set()

    async def problems(self, pod: Object) -> list[str]:
        """Return a message for each volume that cannot be mounted, as in a kubelet's `FailedMount` events.

        Volumes that no container mounts are not checked.
        """
        mounted = {
            mount["name"]
            for container in containers(pod)
            for field in ("volumeMounts", "volumeDevices")
            for mount in container.get(field) or ()
        }
        volumes = [volume for volume in pod["spec"].get("volumes") or () if volume["name"] in mounted]
        found = [
            await self._claim_problem(pod, volume) or await self._setup_problem(pod, volume) for volume in volumes
        ]
        return [problem for problem in found if problem]

    async def _setup_problem(self, pod: Object, volume: Object) -> str | None:
        found = [await self._source_problem(pod["metadata"]["namespace"], source) for source in _sources(volume)]
        problems = list(dict.fromkeys(problem for problem in found if problem))
        if not problems:
            return None
        causes = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {causes}'

    async def _source_problem(self, namespace: str, source: _Source) -> str | None:
        if source.name == _ROOT_CA and self._is_root_ca_known(namespace):
            return None
        found = await self._read(namespace, source.kind, source.name)
        if isinstance(found, Unreadable):
            return f'{source.kind.lower()} "{source.name}" cannot be read: {found.why}'
        if found is None:
            return None if source.optional else f'{source.kind.lower()} "{source.name}" not found'
        if source.name == _ROOT_CA:
            self._root_ca_read[namespace] = asyncio.get_running_loop().time()
        keys = {*(found.get("data") or ()), *(found.get("binaryData") or ())}
        missing = [] if source.optional or not found else [name for name in source.keys if name not in keys]
        if not missing:
            return None
        if source.kind == "ConfigMap":
            return f"configmap references non-existent config key: {missing[0]}"
        return f"references non-existent secret key: {missing[0]}"

    async def _claim_problem(self, pod: Object, volume: Object) -> str | None:
        if not (name := _claim_name(pod, volume)):
            return None
        namespace = pod["metadata"]["namespace"]
        claim = await self._read(namespace, "PersistentVolumeClaim", name)
        if claim == {}:
            return None
        if problem := _unusable(claim, name):
            problem = f"error processing PVC {namespace}/{name}: {problem}"
        elif volume.get("ephemeral") and not _is_owner(pod, claim):
            problem = f"PVC {namespace}/{name} was not created for pod {key(pod)} (pod is not owner)"
        else:
            return None
        volumes = f"[{volume['name']}]"
        return (
            f"Unable to attach or mount volumes: unmounted volumes={volumes}, unattached volumes=[], "
            f"failed to process volumes={volumes}: {problem}"
        )

    async def _read(self, namespace: str, kind: str, name: str) -> Object | Unreadable | None:
        """Read an object; None where it does not exist, empty where it may not be read."""
        found = await read_object(self._client, namespace, kind, name)
        if not isinstance(found, Unreadable) or found.why != "Forbidden":
            return found
        if kind not in self._forbidden:
            self._forbidden.add(kind)
            log.warning("volumes are not checked: the broker may not read their objects", kind=kind)
        return {}

    def _is_root_ca_known(self, namespace: str) -> bool:
        read_at = self._root_ca_read.get(namespace)
        return read_at is not None and asyncio.get_running_loop().time() - read_at < _ROOT_CA_SECONDS


def _sources(volume: Object) -> Iterator[_Source]:
    for source in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
        if config_map := source.get("configMap"):
            yield _source("ConfigMap", config_map.get("name"), config_map)
        if secret := source.get("secret"):
            yield _source("Secret", secret.get("secretName") or secret.get("name"), secret)


def _source(kind: Kind, name: str | None, source: Object) -> _Source:
    keys = tuple(item["key"] for item in source.get("items") or ())
    return _Source(kind, name or "", bool(source.get("optional")), keys)


def _claim_name(pod: Object, volume: Object) -> str:
    """Return the name of a volume's claim; empty for a volume without one."""
    if volume.get("ephemeral"):
        return f"{pod['metadata']['name']}-{volume['name']}"
    name: str = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    return name


def _unusable(claim: Object | Unreadable | None, name: str) -> str:
    """Return why a claim cannot be used; empty for one that can."""
    if claim is None or isinstance(claim, Unreadable):
        why = f"cannot be read: {claim.why}" if claim else "not found"
        return f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" {why}'
    metadata = claim["metadata"]
    if metadata.get("deletionTimestamp") and _PROTECTION not in (metadata.get("finalizers") or ()):
        return "PVC is being deleted"
    if (claim.get("status") or {}).get("phase") != "Bound":
        return "PVC is not bound"
    return "" if (claim.get("spec") or {}).get("volumeName") else "PVC has empty pvc.Spec.VolumeName"


def _is_owner(pod: Object, claim: Object | Unreadable | None) -> bool:
    owner = controller(claim) if isinstance(claim, dict) else None
    return owner is not None and owner.get("uid") == pod["metadata"]["uid"]
