"""Watches the Services of the cluster, for environment variables."""

from collections.abc import Mapping

from broker.dependencies import Dependencies
from broker.kubernetes.watch import list_and_watch
from broker.pods.service_env import Service, parse_service, variables


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
