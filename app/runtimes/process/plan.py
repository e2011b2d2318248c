"""The plan of a pod for its shim: the fields of a manifest that processes need, resolved."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.kubernetes.container_status import initial_waiting_reason
from app.kubernetes.env import expand, with_addresses
from app.kubernetes.manifest import Manifest
from app.runtimes.base import Placement
from app.runtimes.process.hooks import Hooks, hook_command
from app.runtimes.process.mounts import describe_mounts, describe_volumes
from app.runtimes.process.shim.env_files import marker
from app.runtimes.process.spec import ContainerSpec, decode_spec, missing_objects, ordered_containers

_INHERITED = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ")
"""The variables of the provider's own environment that a container inherits unless the pod sets them."""
_MESSAGES_LIMIT = 12 * 1024
"""The size of a pod's termination messages, in bytes. Source: `MaxPodTerminationMessageLogLength` of a kubelet."""


def plan(
    manifest: Manifest,
    placement: Placement,
    *,
    mark: str,
    back_off: tuple[timedelta, timedelta],
    inherited: Mapping[str, str],
    files: Path,
    mounts: str = "auto",
) -> dict[str, Any]:
    """Return the plan of a shim as a JSON object. It contains the secrets of the pod.

    Args:
        manifest: a checked manifest.
        placement: the addresses for variables with a `fieldRef`.
        mark: what its processes are marked with, before the name of the container.
        back_off: the first and the longest pause before a container is run again.
        inherited: the variables that a container has unless the pod sets them.
        files: the directory in which the provider writes the files of volumes.
        mounts: the setting MOUNTS.
    """
    spec = decode_spec(manifest)
    missing = missing_objects(manifest)
    containers = [entry.container for entry in ordered_containers(spec)]
    return {
        "mark": mark,
        "grace": manifest.pod.spec.grace.total_seconds(),
        "back_off": [pause.total_seconds() for pause in back_off],
        "files": str(files),
        "mounts": mounts,
        "host_aliases": [[alias.ip, *(alias.hostnames or ())] for alias in spec.host_aliases or ()],
        "fs_group": spec.security_context.fs_group if spec.security_context else None,
        "volumes": describe_volumes(
            spec.volumes or (),
            [mount for container in containers for mount in container.mounts],
            read=[file.volume_name for container in containers for _, file in container.env_files.values()],
        ),
        "containers": [
            {
                "name": container.name,
                "kind": kind,
                "grace": manifest.pod.spec.grace.total_seconds(),
                "missing": missing[container.name],
                "waiting_reason": initial_waiting_reason(manifest.pod.spec),
                **_hooks(container, placement),
                "policy": "Never" if kind == "ephemeral" else container.restart_policy or spec.policy,
                "rules": [
                    [rule.action, rule.exit_codes.operator, rule.exit_codes.values or []]
                    for rule in container.restart_policy_rules or ()
                    if rule.exit_codes
                ],
                "cwd": container.working_dir or "/",
                "stdin": container.stdin,
                "stdin_once": container.stdin_once,
                "tty": container.tty,
                "message_path": container.message_path,
                "message_from_log": container.termination_message_policy == "FallbackToLogsOnError",
                "message_limit": _MESSAGES_LIMIT // len(manifest.pod.spec.all_containers),
                **_command(container, placement, inherited={**inherited, "HOSTNAME": manifest.pod.host_name}),
                "mounts": describe_mounts(container.mounts, _env(container, placement)),
                "env_files": {
                    str(index): {
                        "name": name,
                        "volume": file.volume_name,
                        "path": file.path,
                        "key": file.key,
                        "optional": bool(file.optional),
                    }
                    for index, (name, file) in container.env_files.items()
                },
            }
            for container, kind, _ in ordered_containers(spec)
        ],
    }


def inherited_variables() -> dict[str, str]:
    """Return the variables of the provider that its containers have."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _command(container: ContainerSpec, placement: Placement, *, inherited: Mapping[str, str]) -> dict[str, Any]:
    env = _env(container, placement)
    words = [*(container.command or ()), *(container.args or ())]
    return {
        "argv": [expand(word, env) for word in words],
        "env": {**inherited, **env},
    }


def _env(container: ContainerSpec, placement: Placement) -> dict[str, str]:
    markers = {index: marker(index) for index in container.env_files}
    variables = [
        (variable.name, variable.own_value, markers.get(index) or variable.field_path)
        for index, variable in enumerate(container.env or ())
    ]
    return with_addresses(variables, {**placement.fields, **{text: text for text in markers.values()}})


def _hooks(container: ContainerSpec, placement: Placement) -> dict[str, Any]:
    lifecycle, ports = container.lifecycle or Hooks(), container.ports or []
    return {
        "post_start": hook_command(lifecycle.post_start, ports, placement),
        "pre_stop": hook_command(lifecycle.pre_stop, ports, placement),
    }
