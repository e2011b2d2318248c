"""Volumes whose PersistentVolumeClaim is missing, or not ready for use.

A kubelet creates no container of a pod before every volume is mounted. The provider mounts the volume of a claim
itself; this module checks whether it can.

Source: `createVolumeSpec` in `pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go`.
"""

from urllib.parse import quote

import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Forbidden, NotFound
from broker.kubernetes.objects import controller, key
from broker.kubernetes.pods import containers
from broker.pods.env import Unreadable
from broker.types import Object

_PROTECTION = "kubernetes.io/pvc-protection"

log = structlog.get_logger()


class ClaimChecker:
    """Checks whether the claims of pods can be used. A claim that the broker may not read counts as usable.

    Args:
        client: client of the API server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_forbidden = False

    async def problems(self, pod: Object) -> list[str]:
        """Return a message for each claim that cannot be used, as in a kubelet's `FailedMount` events.

        Volumes that no container mounts are not checked.
        """
        claims = [
            (volume, name) for volume in pod["spec"].get("volumes") or () if (name := _claim_name(pod, volume))
        ]
        mounted = _mounted_names(pod) if claims else set()
        found = [await self._problem(pod, volume, name) for volume, name in claims if volume["name"] in mounted]
        return [problem for problem in found if problem]

    async def _problem(self, pod: Object, volume: Object, name: str) -> str | None:
        namespace = pod["metadata"]["namespace"]
        claim = await self._read(namespace, name)
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

    async def _read(self, namespace: str, name: str) -> Object | Unreadable | None:
        """Read a claim; None where it does not exist, empty where it may not be read."""
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{quote(name, safe='')}"
        try:
            return await self._client.get(path)
        except NotFound:
            return None
        except Forbidden:
            if not self._is_forbidden:
                self._is_forbidden = True
                log.warning("volumes are not checked: the broker may not read their claims")
            return {}
        except ApiError as exc:
            return Unreadable(exc.reason)


def _mounted_names(pod: Object) -> set[str]:
    return {
        mount["name"]
        for container in containers(pod)
        for field in ("volumeMounts", "volumeDevices")
        for mount in container.get(field) or ()
    }


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
