"""Reads the objects of Kubernetes that a pod needs before its containers can be created.

A container whose ConfigMap or Secret is missing waits in `CreateContainerConfigError`, while the others start. A
provider with the extension `containerEnvironments` does that: it gets the pod with the environments as far as they
are resolved. For any other provider the pod waits here, until all of its environments are complete.

Source: `makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`, and `SyncPod` in `pkg/kubelet/kubelet.go`.
"""

from collections.abc import Mapping

from broker.dependencies import Dependencies
from broker.pods.env import ContainerEnvironment, Environments, containers, references, resolve
from broker.pods.env_sources import ServiceWatcher, read_sources
from broker.pods.events import EventRecorder
from broker.pods.provider_state import ProviderState
from broker.pods.volumes import VolumeChecker
from broker.pods.workqueue import RetryLater
from broker.types import Object

_MISSING_DELAY = 10.0
"""Longest delay in seconds between two attempts to read an object that does not exist yet."""


class PodWaits(RetryLater):
    """The pod or one of its containers cannot start yet, which the status shows; the message names the cause."""


class Prerequisites:
    """Checks the volumes of pods, and resolves their environments.

    Args:
        dependencies: of the node.
        services: the services of the cluster, for environment variables.
        events: records missing objects.
    """

    def __init__(self, dependencies: Dependencies, *, services: ServiceWatcher, events: EventRecorder) -> None:
        self._client = dependencies.client
        self._provider = dependencies.provider
        self._node = dependencies.node
        self._services = services
        self._events = events
        self._volumes = VolumeChecker(dependencies.client)

    async def check_volumes(self, pod: Object, state: ProviderState) -> None:
        """Check that the volumes of a new pod can be mounted, and record an event for each that cannot.

        Raises:
            PodWaits: a volume cannot be mounted.
        """
        if problems := await self._volumes.problems(pod):
            state.record_waiting(pod["metadata"]["uid"], {})
            for problem in problems:
                self._events.record(pod, "Warning", "FailedMount", problem)
            raise PodWaits(", ".join(problems), at_most=_MISSING_DELAY)

    async def environments(self, pod: Object, state: ProviderState) -> Environments:
        """Return the environments to send to the provider, and record which containers wait for theirs.

        An environment is resolved once: later changes of ConfigMaps and services do not reach a container.

        Raises:
            PodWaits: an environment is incomplete, and the provider has no `containerEnvironments`.
            ProviderError: whether it has is not known.
        """
        uid = pod["metadata"]["uid"]
        known = state.environment(uid)
        resolved = {name: ContainerEnvironment(variables) for name, variables in known.items()}
        if all(container["name"] in known for container in containers(pod)):
            state.record_waiting(uid, {})
            return resolved
        environments = {**await self._resolve(pod, known), **resolved}
        waiting = {name: found.missing for name, found in environments.items() if found.missing}
        state.record_waiting(uid, waiting)
        if waiting and not await self._provider.supports("containerEnvironments"):
            raise waits_for(waiting)
        complete = {name: found.env for name, found in environments.items() if not found.missing}
        state.record_environment(uid, complete)
        return environments

    async def _resolve(self, pod: Object, known: Mapping[str, object]) -> Environments:
        if not self._services.synced:
            raise RetryLater("the services of the cluster are not listed yet", at_most=1)
        namespace = pod["metadata"]["namespace"]
        services = self._services.variables(
            namespace, links=pod["spec"].get("enableServiceLinks", True) is not False
        )
        unresolved = [container for container in containers(pod) if container["name"] not in known]
        sources = await read_sources(self._client, namespace, references(unresolved))
        resolution = resolve(pod, unresolved, sources=sources, services=services, node=self._node)
        for problem in resolution.problems:
            self._events.record(pod, problem.type, problem.reason, problem.message)
        return resolution.environments


def waits_for(waiting: Mapping[str, str]) -> PodWaits:
    """Return the error for containers that wait; `waiting` is container name → message."""
    causes = ", ".join(f"container {name}: {message}" for name, message in waiting.items())
    return PodWaits(causes, at_most=_MISSING_DELAY)
