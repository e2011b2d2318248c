"""Where an environment comes from: ConfigMaps and Secrets, read when a pod needs them, and Services, watched."""

import base64
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from random import Random

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, NotFound
from broker.kubernetes.objects import Object
from broker.kubernetes.watch import list_and_watch
from broker.pods.env import Data, Reference, Unreadable
from broker.pods.service_env import Service, parse_service, variables

_PATHS = {"ConfigMap": "configmaps", "Secret": "secrets"}


async def read(
    client: Client, namespace: str, references: Iterable[Reference]
) -> dict[Reference, Data | Unreadable | None]:
    """Read objects anew: a pod gets what is there when it starts."""
    return {reference: await _read(client, namespace, reference) for reference in references}


async def _read(client: Client, namespace: str, reference: Reference) -> Data | Unreadable | None:
    if not reference.name:  # the API server lets it be empty, and has nothing of that name
        return None
    path = f"/api/v1/namespaces/{namespace}/{_PATHS[reference.kind]}/{reference.name}"
    try:
        obj = await client.get(path)
    except NotFound:
        return None
    except ApiError as exc:
        return Unreadable(exc.reason)
    return _texts(obj) if reference.kind == "Secret" else obj.get("data") or {}


def _texts(secret: Object) -> Data:
    # A variable is text. What is none gets there with marks in it, as far as it can.
    return {
        key: base64.b64decode(value).decode(errors="replace") for key, value in (secret.get("data") or {}).items()
    }


class Services:
    """The services of the cluster, as they are now."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._variables: dict[tuple[str, bool], Mapping[str, str]] = {}
        self.synced = False

    def variables(self, namespace: str, *, links: bool) -> Mapping[str, str]:
        """Give the variables that a pod gets of services; see :func:`broker.pods.service_env.variables`."""
        wanted = (namespace, links)
        if wanted not in self._variables:
            self._variables[wanted] = variables(self._services.values(), namespace, links=links)
        return self._variables[wanted]

    async def run(self, client: Client, *, clock: Callable[[], datetime], random: Random) -> None:
        """Follow them, until cancelled."""
        async for event in list_and_watch(client, "/api/v1/services", clock=clock, random=random):
            if event.object is None:
                self.synced = True
            elif event.type == "DELETED":
                self._services.pop(event.object.key, None)
            else:
                self._services[event.object.key] = parse_service(event.object.raw)
            self._variables.clear()
