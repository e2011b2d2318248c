"""Sources of environment variables and volumes: objects that are read on demand, and Services, watched."""

import base64
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from broker.dependencies import Dependencies
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, NotFound
from broker.kubernetes.watch import list_and_watch
from broker.pods.env import Data, Reference, Unreadable
from broker.pods.service_env import Service, parse_service, variables
from broker.types import Object

_PATHS = {
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "PersistentVolumeClaim": "persistentvolumeclaims",
}


async def read_sources(
    client: Client, namespace: str, references: Iterable[Reference]
) -> dict[Reference, Data | Unreadable | None]:
    """Read the objects that a pod refers to, uncached: a pod gets the values at the time of its start."""
    return {reference: await _read(client, namespace, reference) for reference in references}


async def read_object(client: Client, namespace: str, kind: str, name: str) -> Object | Unreadable | None:
    """Read a ConfigMap, Secret or PersistentVolumeClaim; None where it does not exist."""
    if not name:  # valid for the API server; no object has an empty name
        return None
    try:
        return await client.get(f"/api/v1/namespaces/{namespace}/{_PATHS[kind]}/{quote(name, safe='')}")
    except NotFound:
        return None
    except ApiError as exc:
        return Unreadable(exc.reason)


async def _read(client: Client, namespace: str, reference: Reference) -> Data | Unreadable | None:
    found = await read_object(client, namespace, reference.kind, reference.name)
    if found is None or isinstance(found, Unreadable):
        return found
    return _texts(found) if reference.kind == "Secret" else found.get("data") or {}


def _texts(secret: Object) -> Data:
    # An environment variable is text: bytes that are not UTF-8 become replacement characters.
    return {
        key: base64.b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()
    }


class ServiceWatcher:
    """The services of the cluster.

    Attributes:
        synced: whether the services have been listed completely.
    """

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._variables: dict[tuple[str, bool], Mapping[str, str]] = {}
        self.synced = False

    def variables(self, namespace: str, *, links: bool) -> Mapping[str, str]:
        """Return a pod's service variables by name; see :func:`broker.pods.service_env.variables`."""
        wanted = (namespace, links)
        if wanted not in self._variables:
            self._variables[wanted] = variables(self._services.values(), namespace, links=links)
        return self._variables[wanted]

    async def run(self, dependencies: Dependencies) -> None:
        """Watch the services, until cancelled."""
        events = list_and_watch(
            dependencies.client, "/api/v1/services", clock=dependencies.clock, random=dependencies.random
        )
        async for event in events:
            if event.object is None:
                self.synced = True
            elif event.type == "DELETED":
                self._services.pop(event.object.key, None)
            else:
                self._services[event.object.key] = parse_service(event.object.raw)
            self._variables.clear()
