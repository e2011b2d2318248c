"""The interface of runtimes. A runtime decides the statuses of the node's pods and does their work.

The setting `RUNTIME=package.module:Class` selects the class. Authors of runtimes import from this package and from
`app.kubernetes` alone; see `docs/writing-a-runtime.md`.
"""

from importlib import import_module

from app.core.errors import ConfigurationError, InvalidRequest, NotFound, NotSupported, Unavailable
from app.core.nodes import NodeAddress, NodeOverride, Taint
from app.core.settings import Settings
from app.kubernetes.volumes import Volume, VolumeFile, VolumeSource
from app.runtimes.base import AcceptedPod, LogLine, Placement, Runtime, Timeline
from app.runtimes.commands import ContainerCommand, container_command
from app.runtimes.observed import (
    ContainerRun,
    Observation,
    ObservedContainer,
    build_lost_status,
    build_observed_status,
    build_problem_status,
    has_started,
    observed_transitions,
)
from app.runtimes.streams import Files, Session, StreamOptions, set_window_size, start_command, start_function
from app.runtimes.usage import EarlierUsage, Interval, PodUsage, ReadyHistory, RunningContainer, UsageLevel

__all__ = [
    "AcceptedPod",
    "ConfigurationError",
    "ContainerCommand",
    "ContainerRun",
    "EarlierUsage",
    "Files",
    "Interval",
    "InvalidRequest",
    "LogLine",
    "NodeAddress",
    "NodeOverride",
    "NotFound",
    "NotSupported",
    "Observation",
    "ObservedContainer",
    "Placement",
    "PodUsage",
    "ReadyHistory",
    "RunningContainer",
    "Runtime",
    "Session",
    "Settings",
    "StreamOptions",
    "Taint",
    "Timeline",
    "Unavailable",
    "UsageLevel",
    "Volume",
    "VolumeFile",
    "VolumeSource",
    "build_lost_status",
    "build_observed_status",
    "build_problem_status",
    "container_command",
    "has_started",
    "load_runtime",
    "observed_transitions",
    "set_window_size",
    "start_command",
    "start_function",
]


def load_runtime(settings: Settings) -> Runtime:
    """Return an instance of the class that `RUNTIME` names.

    Raises:
        ConfigurationError: the class does not exist, is not a subclass of :class:`Runtime`, or lacks methods.
    """
    module, _, name = settings.runtime.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        hint = "; `app` is this product's package" if module.partition(".")[0] == "app" else ""
        raise ConfigurationError(f"RUNTIME: {exc}{hint}") from exc
    if not (isinstance(found, type) and issubclass(found, Runtime)):
        raise ConfigurationError(f"RUNTIME: {settings.runtime} is not a subclass of app.runtimes.Runtime")
    if missing := sorted(found.__abstractmethods__):
        raise ConfigurationError(f"RUNTIME: {settings.runtime} does not define {', '.join(missing)}")
    return found(settings)
