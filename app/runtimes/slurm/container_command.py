"""Run containers in their images: the setting CONTAINER_COMMAND goes before the command of each container.

    apptainer exec --bind={mounts} --pwd={workdir} docker://{image}

Each word of the template becomes one word of the command, so no value reaches a shell. A word with `{mounts}` is
left out for a container that mounts no volume.
"""

import re
import shlex
from typing import Any

from app.core.errors import InvalidRequest
from app.kubernetes.manifest import Manifest

_IMAGE = re.compile(r"[A-Za-z0-9_/.][\w./:@+-]{0,1023}")
_PATH = re.compile(r"/[^,:\0]*")


def check_images(manifest: Manifest, template: str) -> None:
    """Check that the image of each container can be a word of a command.

    Raises:
        InvalidRequest: it cannot.
    """
    for container in manifest.pod.spec.all_containers if template else ():
        if not _IMAGE.fullmatch(container.image or ""):
            raise InvalidRequest("is not an image that CONTAINER_COMMAND can run", field=f"{container.name}.image")


def with_images(plan: dict[str, Any], manifest: Manifest, template: str) -> dict[str, Any]:
    """Return a plan in which the containers, and the commands of their hooks, run in their images."""
    if not template:
        return plan
    containers = []
    for container in plan["containers"]:
        words = prefix(container, manifest, template)
        hooks = {name: _in_image(container[name], words) for name in ("post_start", "pre_stop")}
        cwd = "/" if "{workdir}" in template else container["cwd"]
        argv = [*words, *container["argv"]]
        # A container does not see the file of its termination message.
        containers.append({**container, **hooks, "argv": argv, "cwd": cwd, "message_path": None})
    return {**plan, "containers": containers}


def prefix(container: dict[str, Any], manifest: Manifest, template: str) -> list[str]:
    """Return the words that go before the command of a container.

    Args:
        container: the container in a plan.
        manifest: its pod.
        template: the setting CONTAINER_COMMAND.
    """
    images = {found.name: found.image or "" for found in manifest.pod.spec.all_containers}
    mounts = [mount["path"] for mount in container["mounts"] if _PATH.fullmatch(mount["path"])]
    values = {
        "{image}": images[container["name"]],
        "{container}": container["name"],
        "{pod}": manifest.pod.metadata.name,
        "{namespace}": manifest.pod.metadata.namespace,
        "{workdir}": container["cwd"],
        "{mounts}": ",".join(mounts),
    }
    words = [word for word in shlex.split(template) if mounts or "{mounts}" not in word]
    return [re.sub(r"\{\w+\}", lambda match: values.get(match[0], match[0]), word) for word in words]


def _in_image(hook: dict[str, Any] | None, words: list[str]) -> dict[str, Any] | None:
    """Return a hook that runs in an image; requests and pauses, which are programs of this machine, do not."""
    if hook is None or hook["is_of_host"]:
        return hook
    return {**hook, "argv": [*words, *hook["argv"]]}
