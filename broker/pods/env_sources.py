"""Sources of environment variables: ConfigMaps and Secrets, and the Services of the cluster."""

import base64
from collections.abc import Mapping

from broker.dependencies import Dependencies
from broker.kubernetes.watch import list_and_watch
from broker.pods.env import Data, Reference, Unreadable
from broker.pods.object_cache import Found
from broker.pods.service_env import Service, parse_service, variables
from broker.types import Object


def data_of(reference: Reference, found: Found) -> Data | Unreadable | None:
    """Return the variables that an object contains; None where it does not exist."""
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
