"""The plan of a pod for its shim: the fields of a manifest that processes need, checked and resolved.

A field that a process of this machine cannot honor is refused with its name; no field is ignored silently.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from app.core.errors import InvalidRequest
from app.kubernetes.container_status import initial_waiting_reason
from app.kubernetes.env import expand, missing_object, with_addresses
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import ApiObject, ContainerRestartRule
from app.runtimes.base import Placement
from app.runtimes.process.hooks import Hooks, Port, hook_command
from app.runtimes.process.mounts import VolumeMount, VolumeSpec, check_mount, describe_mounts, describe_volumes
from app.runtimes.process.shim.env_files import marker

_INHERITED = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ")
"""The variables of the provider's own environment that a container inherits unless the pod sets them."""
_SHELL = "/bin/sh"
"""The command of an ephemeral container without one: images for debugging have a shell as their entry point."""
_MESSAGES_LIMIT = 12 * 1024
"""The size of a pod's termination messages, in bytes. Source: `MaxPodTerminationMessageLogLength` of a kubelet."""


class _SecurityContext(ApiObject, frozen=True):
    run_as_user: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None


class _FieldRef(ApiObject, frozen=True):
    field_path: str


class _FileKeyRef(ApiObject, frozen=True):
    volume_name: str
    path: str
    key: str
    optional: bool | None = None


class _ValueFrom(ApiObject, frozen=True):
    field_ref: _FieldRef | None = None
    file_key_ref: _FileKeyRef | None = None
    config_map_key_ref: Any = None
    secret_key_ref: Any = None

    @property
    def is_for_broker(self) -> bool:
        """Whether the broker resolves it once the object exists."""
        return self.config_map_key_ref is not None or self.secret_key_ref is not None


class _EnvVar(ApiObject, frozen=True):
    name: str
    value: str | None = None
    value_from: _ValueFrom | None = None

    @property
    def own_value(self) -> str | None:
        """Its value; None if it has a source."""
        return (self.value or "") if self.value_from is None else None

    @property
    def field_path(self) -> str | None:
        """The field of the pod that is its source; None without one."""
        return self.value_from.field_ref.field_path if self.value_from and self.value_from.field_ref else None

    @property
    def file(self) -> _FileKeyRef | None:
        """The key of a file that is its source; None without one."""
        return self.value_from.file_key_ref if self.value_from else None


class _HostAlias(ApiObject, frozen=True):
    ip: str
    hostnames: list[str] | None = None


class ContainerSpec(ApiObject, frozen=True):
    """The fields of a Container that a process needs."""

    name: str
    command: list[str] | None = None
    args: list[str] | None = None
    working_dir: str | None = None
    env: list[_EnvVar] | None = None
    restart_policy: Literal["Always", "OnFailure", "Never"] | None = None
    restart_policy_rules: list[ContainerRestartRule] | None = None
    volume_mounts: list[VolumeMount] | None = None
    volume_devices: list[msgspec.Raw] | None = None
    security_context: _SecurityContext | None = None
    lifecycle: Hooks | None = None
    ports: list[Port] | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str | None = None
    termination_message_policy: str | None = None

    @property
    def message_path(self) -> str | None:
        """Where it writes its termination message, absolute; None without a path."""
        path = self.termination_message_path
        return os.path.join("/", os.path.normpath(path)) if path else None

    @property
    def mounts(self) -> list[VolumeMount]:
        """The volumes that are mounted."""
        return self.volume_mounts or []

    @property
    def env_files(self) -> dict[int, tuple[str, _FileKeyRef]]:
        """The number in `env`, the name and the source of each variable whose value is in a file."""
        return {index: (v.name, v.file) for index, v in enumerate(self.env or ()) if v.file}


class Spec(ApiObject, frozen=True):
    """The fields of a PodSpec that processes need."""

    containers: list[ContainerSpec]
    init_containers: list[ContainerSpec] | None = None
    ephemeral_containers: list[ContainerSpec] | None = None
    restart_policy: Literal["Always", "OnFailure", "Never"] | None = None
    active_deadline_seconds: int | None = None
    volumes: list[VolumeSpec] | None = None
    security_context: _SecurityContext | None = None
    host_aliases: list[_HostAlias] | None = None

    @property
    def policy(self) -> str:
        """The pod's restart policy."""
        return self.restart_policy or "Always"

    def fixed(self) -> tuple[object, ...]:
        """Return the fields that cannot change while the pod runs.

        Environments are not among them: the client resolves them again for each request. A container keeps the
        environment with which it was started until it is started again.
        """
        containers = [_without_env(group) for group in (self.containers, self.init_containers or ())]
        return *containers, self.policy, self.volumes or [], self.security_context, self.host_aliases or []

    def extends(self, before: "Spec") -> bool:
        """Return whether it differs from an earlier one by environments and added ephemeral containers only."""
        ephemeral = [_without_env(spec.ephemeral_containers or ()) for spec in (before, self)]
        return self.fixed() == before.fixed() and ephemeral[1][: len(ephemeral[0])] == ephemeral[0]


class _Pod(ApiObject, frozen=True):
    spec: Spec


Kind = Literal["init", "sidecar", "main", "ephemeral"]


class Entry(NamedTuple):
    """A container, its kind, and its path in the manifest."""

    container: ContainerSpec
    kind: Kind
    field: str


_DECODER = msgspec.json.Decoder(_Pod)
_FILE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?")


def decode_spec(manifest: Manifest) -> Spec:
    """Decode the fields of a pod that processes need.

    Raises:
        InvalidRequest: a field is of the wrong type.
    """
    try:
        return _DECODER.decode(manifest.text).spec
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)) from exc


def ordered_containers(spec: Spec) -> Iterator[Entry]:
    """Yield the containers in the order in which they start; ephemeral ones, which start at any time, are last."""
    for index, container in enumerate(spec.init_containers or ()):
        kind: Kind = "sidecar" if container.restart_policy == "Always" else "init"
        yield Entry(container, kind, f"spec.initContainers[{index}]")
    for index, container in enumerate(spec.containers):
        yield Entry(container, "main", f"spec.containers[{index}]")
    for index, container in enumerate(spec.ephemeral_containers or ()):
        with_command = msgspec.structs.replace(container, command=container.command or [_SHELL])
        yield Entry(with_command, "ephemeral", f"spec.ephemeralContainers[{index}]")


def validate_spec(manifest: Manifest, *, user: int) -> Spec:
    """Decode a pod, and check that every container can run as a process.

    Args:
        user: the number of the user that they would run as.

    Raises:
        InvalidRequest: they cannot; the message names the field and has no value of it.
    """
    spec = decode_spec(manifest)
    check_uid(manifest.pod.metadata.uid)
    volumes = {volume.name: volume for volume in spec.volumes or ()}
    for container, _, field in ordered_containers(spec):
        _check_container(container, field, volumes)
        _check_user(container.security_context or spec.security_context, user=user, field=field)
        for index, mount in enumerate(container.volume_mounts or ()):
            check_mount(mount, volumes.get(mount.name), f"{field}.volumeMounts[{index}]")
    return spec


def check_uid(uid: str | None) -> None:
    """Check the UID of a pod, which names a directory.

    Raises:
        InvalidRequest: it cannot.
    """
    if not _FILE_NAME.fullmatch(uid or ""):
        raise InvalidRequest("must have letters, digits and hyphens only", field="metadata.uid")


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


def _without_env(containers: Iterable[ContainerSpec]) -> list[ContainerSpec]:
    return [msgspec.structs.replace(container, env=None) for container in containers]


def missing_objects(manifest: Manifest) -> dict[str, str | None]:
    """Return container → the message for an object that its environment refers to and that does not exist yet."""
    return {container.name: missing_object(container) for container in manifest.pod.spec.all_containers}


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


_ANY_PLACEMENT = Placement(host_ips=("",), pod_ip=None)


def _check_container(container: ContainerSpec, field: str, volumes: Mapping[str, VolumeSpec]) -> None:
    if not _FILE_NAME.fullmatch(container.name):
        raise InvalidRequest("must have letters, digits and hyphens only", field=f"{field}.name")
    if not container.command:
        raise InvalidRequest("required: no image is pulled, so there is no entry point", field=f"{field}.command")
    for index, variable in enumerate(container.env or ()):
        within = f"{field}.env[{index}]"
        if not variable.name or "=" in variable.name:
            raise InvalidRequest("cannot name a variable", field=f"{within}.name")
        if variable.file:
            _check_file(variable.file, volumes, f"{within}.valueFrom.fileKeyRef")
        is_resolved = variable.value_from is None or variable.value_from.is_for_broker or variable.file
        if not is_resolved and variable.field_path not in _ANY_PLACEMENT.fields:
            raise InvalidRequest("must be resolved before the pod comes here", field=f"{within}.valueFrom")
    if container.volume_devices:
        raise InvalidRequest("cannot be given to a process", field=f"{field}.volumeDevices")
    if "\0" in "".join(_words(container)):
        raise InvalidRequest("has a NUL character in a command, a path or an environment", field=field)


def _check_file(file: _FileKeyRef, volumes: Mapping[str, VolumeSpec], field: str) -> None:
    volume = volumes.get(file.volume_name)
    if volume is None or volume.empty_dir is None:
        raise InvalidRequest("must be an emptyDir", field=f"{field}.volumeName")
    if os.path.isabs(file.path) or ".." in file.path.split("/") or "\0" in file.path:
        raise InvalidRequest("must be a path in the volume", field=f"{field}.path")


def _words(container: ContainerSpec) -> Iterator[str]:
    yield from container.command or ()
    yield from container.args or ()
    yield container.working_dir or ""
    yield container.termination_message_path or ""
    for variable in container.env or ():
        yield variable.name
        yield variable.value or ""


def _check_user(context: _SecurityContext | None, *, user: int, field: str) -> None:
    if context and context.run_as_user not in (None, user):
        raise InvalidRequest("is not the provider's own user", field=f"{field}.securityContext.runAsUser")
    if context and context.run_as_non_root and user == 0:
        raise InvalidRequest("the provider is root", field=f"{field}.securityContext.runAsNonRoot")
