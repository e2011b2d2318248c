"""A lifecycle hook of a container: a process beside it, with its environment and its mark."""

from typing import Any

from .namespaces import Namespace
from .processes import start


def start_hook(
    hook: dict[str, Any], container: dict[str, Any], *, mark: str, namespace: Namespace | None
) -> int | None:
    """Start a hook; return its process ID, or None if it cannot be started.

    Args:
        hook: from the plan: `argv`, and `env`, which is added to that of the container.
        container: the container in the plan.
        mark: the mark of the container's processes.
        namespace: that of the container; None if it has none.
    """
    if not hook["argv"]:
        return None
    try:
        env = {**container["env"], **hook["env"]}
        return start(hook["argv"], env=env, cwd=container["cwd"], mark=mark, namespace=namespace)
    except (OSError, ValueError):
        return None
