"""The usage of a pod, as a runtime measures or computes it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime

from app.kubernetes.stats import ContainerStats
from app.kubernetes.status import PodStatus


class PodUsage(ABC):
    """Reads the usage of one pod. It is kept in the process until the pod is changed, and used by many threads."""

    @abstractmethod
    def containers(self, status: PodStatus, *, at: datetime) -> Sequence[ContainerStats]:
        """Return the usage of the running containers.

        A total never falls while a container runs, and begins at zero with each start. Called for all pods of the
        node in one request, so it must take microseconds rather than milliseconds.

        Args:
            status: the status of the pod at the time.
            at: the time, in whole seconds. A runtime that measures ignores it.

        Returns:
            Containers of every kind; none for one that does not run, or whose usage is unknown.
        """
