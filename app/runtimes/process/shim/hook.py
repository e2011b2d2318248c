"""A lifecycle hook of a container: a process beside it, with its environment and its mark."""

import os
import subprocess
from functools import partial
from typing import Any

from .processes import MARK, die_with


def start_hook(hook: dict[str, Any], container: dict[str, Any], *, mark: str) -> int | None:
    """Start a hook; return its process ID, or None if it cannot be started.

    Args:
        hook: from the plan: `argv`, and `env`, which is added to that of the container.
        container: the container in the plan.
        mark: the mark of the container's processes.
    """
    if not hook["argv"]:
        return None
    try:
        process = subprocess.Popen(  # noqa: S603 - running the pod's command is the purpose
            hook["argv"],
            env={**container["env"], **hook["env"], MARK: mark},
            cwd=container["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            umask=0o022,
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - there are no threads in a shim
        )
    except (OSError, ValueError):
        return None
    process.returncode = 0  # the shim reaps its children itself
    return process.pid
