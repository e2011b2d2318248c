"""The command of a container, for runtimes that start it."""

from typing import NamedTuple

from app.kubernetes.env import expand, known_variables, with_addresses
from app.kubernetes.pod import Container
from app.runtimes.base import AcceptedPod
from app.runtimes.streams import MINIMAL_ENVIRONMENT


class ContainerCommand(NamedTuple):
    """The command of a container.

    Attributes:
        argv: the words of `command` and `args`; empty where the entry point of the image is meant.
        env: its environment: that of the pod, and below it `PATH` and `HOSTNAME`.
    """

    argv: list[str]
    env: dict[str, str]


def container_command(pod: AcceptedPod, container: Container) -> ContainerCommand:
    """Return the command of a container with its environment, which may hold secrets.

    The broker resolves variables from ConfigMaps, Secrets and fields of the pod before the pod is sent. The
    addresses of the pod and of the node, which it does not know, are put in here, and `$(VARIABLE)` in the words
    is replaced. A variable with another source, which nobody has resolved, is left out.

    Args:
        pod: the pod.
        container: one of `pod.manifest.pod.spec.all_containers`.
    """
    env = with_addresses(known_variables(container), pod.placement.fields)
    argv = [expand(word, env) for word in (*(container.command or ()), *(container.args or ()))]
    return ContainerCommand(argv, {**MINIMAL_ENVIRONMENT, "HOSTNAME": pod.manifest.pod.host_name, **env})
