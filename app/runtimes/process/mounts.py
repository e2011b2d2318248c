"""The volumes of a manifest for the plan of a shim: which can be given to processes, and at which paths."""

import posixpath
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any, Literal

import msgspec

from app.core.errors import InvalidRequest
from app.core.quantity import parse_quantity
from app.kubernetes.env import expand, references
from app.kubernetes.pod import ApiObject

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""In every pod, whether it wants it or not; a client that resolves no volumes does not send it."""

HostPathType = Literal[
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
]


class VolumeMount(ApiObject, frozen=True):
    """A volume as a container sees it."""

    name: str
    mount_path: str
    read_only: bool | None = None
    sub_path: str | None = None
    sub_path_expr: str | None = None
    mount_propagation: str | None = None
    recursive_read_only: str | None = None

    @property
    def path(self) -> str:
        """The absolute path without empty, `.` and `..` parts."""
        return posixpath.normpath("/" + self.mount_path.lstrip("/"))


class _HostPath(ApiObject, frozen=True):
    path: str
    type: HostPathType | None = None


class _EmptyDir(ApiObject, frozen=True):
    medium: str | None = None
    size_limit: str | int | None = None


class VolumeSpec(ApiObject, frozen=True):
    """A volume of a pod; one of another kind than these has none of the fields."""

    name: str
    host_path: _HostPath | None = None
    empty_dir: _EmptyDir | None = None
    config_map: Any = None
    secret: Any = None
    projected: Any = None
    downward_api: Any = msgspec.field(name="downwardAPI", default=None)

    @property
    def has_files(self) -> bool:
        """Whether the client sends its files."""
        sources = (self.config_map, self.secret, self.projected, self.downward_api)
        return any(source is not None for source in sources)


def check_mount(mount: VolumeMount, volume: VolumeSpec | None, field: str) -> None:
    """Check that a volume can be given to a process.

    Raises:
        InvalidRequest: it cannot.
    """
    if volume is None and mount.path == _SERVICE_ACCOUNT:
        return
    if volume is None or not (volume.has_files or volume.empty_dir or volume.host_path):
        kinds = "configMap, secret, projected, downwardAPI, emptyDir or hostPath"
        raise InvalidRequest(f"cannot be given to a process: the volume must be {kinds}", field=field)
    if mount.mount_propagation == "Bidirectional":
        raise InvalidRequest("cannot be Bidirectional", field=f"{field}.mountPropagation")
    if mount.recursive_read_only == "Enabled":
        raise InvalidRequest("cannot be Enabled", field=f"{field}.recursiveReadOnly")
    if "\0" in mount.path + (mount.sub_path or "") + (mount.sub_path_expr or ""):
        raise InvalidRequest("has a NUL character", field=field)
    if volume.empty_dir and volume.empty_dir.size_limit is not None:
        try:
            parse_quantity(str(volume.empty_dir.size_limit))
        except ValueError as exc:
            raise InvalidRequest(str(exc), field="spec.volumes.emptyDir.sizeLimit") from None


def describe_volumes(
    volumes: Iterable[VolumeSpec], mounts: Iterable[VolumeMount], *, read: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Return the volumes that a container mounts, for the plan.

    Args:
        read: names of volumes that are needed without a mount.
    """
    paths: dict[str, set[str]] = {name: set() for name in read}
    for mount in mounts:
        paths.setdefault(mount.name, set()).add(mount.path)
    return [_describe(volume, paths[volume.name]) for volume in volumes if volume.name in paths]


def describe_mounts(mounts: Iterable[VolumeMount], env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the mounts of a container for the plan, with `subPathExpr` expanded.

    Args:
        env: the variables of the container.
    """
    return [_describe_mount(mount, env) for mount in mounts]


def _describe_mount(mount: VolumeMount, env: Mapping[str, str]) -> dict[str, Any]:
    """Return a mount for the plan. `missing` is a variable of its `subPathExpr` that is not there, else None."""
    expression = mount.sub_path_expr or ""
    return {
        "volume": mount.name,
        "path": mount.path,
        "read_only": bool(mount.read_only),
        "sub_path": expand(expression, env) or mount.sub_path,
        "missing": next((name for name in references(expression) if name not in env), None),
    }


def _describe(volume: VolumeSpec, paths: set[str]) -> dict[str, Any]:
    if volume.host_path:
        return {
            "name": volume.name, "kind": "host", "path": volume.host_path.path, "type": volume.host_path.type or ""
        }  # fmt: skip
    if volume.empty_dir:
        limit = volume.empty_dir.size_limit
        return {
            "name": volume.name,
            "kind": "empty",
            "memory": volume.empty_dir.medium == "Memory",
            "limit": ceil(parse_quantity(str(limit or 0))) or None,
            "limit_text": None if limit is None else str(limit),
        }
    return {"name": volume.name, "kind": "files", "optional": paths == {_SERVICE_ACCOUNT}}
