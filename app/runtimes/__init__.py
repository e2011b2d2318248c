"""The seam for real work: what a node does with its pods, behind one interface.

`RUNTIME=package.module:Class` chooses. `docs/writing-a-runtime.md` leads from nothing to a node of one's own.
"""

from importlib import import_module

from app.core.errors import ConfigurationError
from app.core.settings import Settings
from app.runtimes.base import AcceptedPod, LogLine, Runtime

__all__ = ["AcceptedPod", "LogLine", "Runtime", "load_runtime"]


def load_runtime(settings: Settings) -> Runtime:
    """Make the runtime that `RUNTIME` names.

    Raises:
        ConfigurationError: there is no such class, or it is no runtime.
    """
    module, _, name = settings.runtime.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as exc:
        hint = "; `app` is this product's package" if module.partition(".")[0] == "app" else ""
        raise ConfigurationError(f"RUNTIME: {exc}{hint}") from exc
    if not (isinstance(found, type) and issubclass(found, Runtime)):
        raise ConfigurationError(f"RUNTIME: {settings.runtime} is no {Runtime.__module__}:{Runtime.__name__}")
    return found(settings)
