"""Reads the objects of Kubernetes that a pod needs before its containers can be created.

A container whose ConfigMap or Secret is missing waits in `CreateContainerConfigError`, while the others start. A
provider with the extension `containerEnvironments` does that: it gets the pod with the environments as far as they
are resolved. For any other provider the pod waits here, until all of its environments are complete.

Source: `makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`, and `SyncPod` in `pkg/kubelet/kubelet.go`.
"""

from collections.abc import Iterable, Mapping

from broker.dependencies import Dependencies
from broker.errors import ProviderRefused
from broker.kubernetes.objects import key
from broker.kubernetes.pods import containers
from broker.pods.env import ContainerEnvironment, Environments, data_of, references, resolve
from broker.pods.events import EventRecorder
from broker.pods.object_cache import ObjectCache, ObjectId, Reader
from broker.pods.provider_state import ProviderState
from broker.pods.service_watcher import ServiceWatcher
from broker.pods.volumes.claims import ClaimChecker
from broker.pods.volumes.files import Volume
from broker.pods.volumes.pod_volumes import PodVolumes
from broker.pods.workqueue import RetryLater
from broker.types import Object

_MISSING_DELAY = 10.0
"""Longest delay in seconds between two attempts to read an object that does not exist yet."""


class PodWaits(RetryLater):
    """The pod or one of its containers cannot start yet, which the status shows; the message names the cause."""


class Prerequisites:
    """Resolves the volumes of pods and their environments.

    Args:
        dependencies: of the broker.
        services: the services of the cluster, for environment variables.
        objects: the ConfigMaps and Secrets.
        events: records missing objects.

    Attributes:
        volumes: the volumes of the pods.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        *,
        services: ServiceWatcher,
        objects: ObjectCache,
        events: EventRecorder,
    ) -> None:
        self._provider = dependencies.provider
        self._nodes = dependencies.nodes
        self._services = services
        self._objects = objects
        self._events = events
        self._claims = ClaimChecker(dependencies.client)
        self.volumes = PodVolumes(dependencies, objects)

    def keep(self, key: str, uid: str | None) -> None:
        """Read no more objects for any pod under a key but that with this UID; None: for no pod."""
        self.volumes.keep(key, uid)
        if uid is None:
            self._objects.release(Reader(key, "environment"))

    async def new_volumes(self, pod: Object, state: ProviderState) -> list[Volume]:
        """Return the volumes of a new pod, and record an event for each that cannot be mounted.

        Raises:
            PodWaits: a volume cannot be mounted.
            ProviderError: whether the provider wants them is not known.
        """
        resolution = await self.volumes.resolve(pod)
        if problems := [*await self._claims.problems(pod), *resolution.problems]:
            state.record_waiting(pod["metadata"]["uid"], {})
            self._record(pod, problems)
            raise PodWaits(", ".join(problems), at_most=_MISSING_DELAY)
        return resolution.volumes

    async def send_volumes(self, pod: Object, volumes: list[Volume]) -> None:
        """Send the volumes of a new pod to the provider.

        Raises:
            ProviderError: retry.
            PodWaits: the provider refuses them.
        """
        try:
            await self.volumes.send(pod, volumes)
        except ProviderRefused as exc:
            raise self._refused(pod, exc) from exc

    async def refresh_volumes(self, pod: Object) -> None:
        """Send the volumes of a pod that have changed, and record an event for each that can no longer be made.

        Raises:
            ProviderError: retry.
            PodWaits: the provider refuses them.
        """
        try:
            self._record(pod, await self.volumes.refresh(pod))
        except ProviderRefused as exc:
            raise self._refused(pod, exc) from exc

    def _refused(self, pod: Object, error: ProviderRefused) -> PodWaits:
        self._record(pod, [f"the provider does not accept the pod's volumes: {error}"])
        return PodWaits(str(error), retry_after=error.retry_after)

    def _record(self, pod: Object, problems: Iterable[str]) -> None:
        for problem in problems:
            self._events.record(pod, "Warning", "FailedMount", problem)

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
        if not waiting:
            self._objects.release(Reader(key(pod), "environment"))
        return environments

    async def _resolve(self, pod: Object, known: Mapping[str, object]) -> Environments:
        if not self._services.synced:
            raise RetryLater("the services of the cluster are not listed yet", at_most=1)
        namespace = pod["metadata"]["namespace"]
        services = self._services.variables(
            namespace, links=pod["spec"].get("enableServiceLinks", True) is not False
        )
        unresolved = [container for container in containers(pod) if container["name"] not in known]
        ids = {
            reference: ObjectId(reference.kind, namespace, reference.name) for reference in references(unresolved)
        }
        found = await self._objects.read(Reader(key(pod), "environment"), ids.values())
        sources = {reference: data_of(reference.kind, found.get(id_)) for reference, id_ in ids.items()}
        resolution = resolve(pod, unresolved, sources=sources, services=services, node=self._nodes.of(pod))
        for problem in resolution.problems:
            self._events.record(pod, problem.type, problem.reason, problem.message)
        return resolution.environments


def waits_for(waiting: Mapping[str, str]) -> PodWaits:
    """Return the error for containers that wait; `waiting` is container name → message."""
    causes = ", ".join(f"container {name}: {message}" for name, message in waiting.items())
    return PodWaits(causes, at_most=_MISSING_DELAY)
