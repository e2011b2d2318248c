"""The fields of a pod that processes need, decoded and checked.

A field that a process of this machine cannot honor is refused with its name; no field is ignored silently.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from app.core.errors import InvalidRequest
from app.kubernetes.env import missing_object
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import ApiObject, ContainerRestartRule
from app.runtimes.base import Placement
from app.runtimes.process.hooks import Hooks, Port
from app.runtimes.process.mounts import VolumeMount, VolumeSpec, check_mount

_SHELL = "/bin/sh"
"""The command of an ephemeral container without one: images for debugging have a shell as their entry point."""


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


def missing_objects(manifest: Manifest) -> dict[str, str | None]:
    """Return container → the message for an object that its environment refers to and that does not exist yet."""
    return {container.name: missing_object(container) for container in manifest.pod.spec.all_containers}


def _without_env(containers: Iterable[ContainerSpec]) -> list[ContainerSpec]:
    return [msgspec.structs.replace(container, env=None) for container in containers]


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
