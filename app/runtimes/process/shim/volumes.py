"""The volumes of a pod: made ready before its first container starts, and mounted for each run of a container.

A `files` volume was written by the provider, in a directory beside the pod instances of the same UID. An `empty`
one is a directory that is removed with the pod, or a file system in memory. A `host` one is a path of the machine.

Where the machine allows no mount namespaces, or MOUNTS=environment, nothing is mounted: the variable `VOLUME_NAME`
has the directory of each volume, and the status of the pod says so.

Source of the messages: the volume plugins and `makeMounts` of a kubelet.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from . import message
from .disk import occupied, remove_tree
from .env_files import EnvFileError, with_values
from .mount_tree import Mount
from .namespaces import Memory, Namespace, container_namespace, pod_namespace, read_file

_EMPTY = ".empty"
_SCRATCH = ".scratch"
_HOSTS = ".hosts"
"""No container has such a name."""
_HOSTS_PATH = "/etc/hosts"
_MEASURE_SECONDS = 10.0
"""How often the size of an emptyDir is compared with its limit, as in a kubelet; also when a container starts."""
_CREATED = {"DirectoryOrCreate": "Directory", "FileOrCreate": "File"}
_IS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}
"""hostPath type → test of the mode, and its name in a message."""


class Waiting(NamedTuple):
    """Why a container cannot be started; a reason of None is that of a container whose pod is being prepared."""

    reason: str | None
    message: str


class Prepared(NamedTuple):
    """The namespace and the variables that a run of a container needs.

    Attributes:
        namespace: that its processes enter; None if nothing is mounted.
        env: added to its environment.
        spec: the container of the plan, with the values of variables that are in files; empty for the plan's.
    """

    namespace: Namespace | None = None
    env: Mapping[str, str] = MappingProxyType({})
    spec: Mapping[str, Any] = MappingProxyType({})


class VolumeProblem(Exception):
    """A volume cannot be used; the argument is a :class:`Waiting`."""

    def __init__(self, reason: str | None, message: str) -> None:
        super().__init__(message)
        self.waiting = Waiting(reason, message)


class Volumes:
    """The volumes of a pod.

    Args:
        plan: `volumes`, each with `name`, `kind` and, by its kind, `path` and `type`, or `memory`, `limit` and
            `limit_text`; `files`, the directory of `files` volumes; `mounts` (the setting MOUNTS); `fs_group`;
            `host_aliases`, each an address and its names, which are added to `/etc/hosts`.
        directory: the directory of the pod instance.
    """

    def __init__(self, plan: dict[str, Any], directory: str) -> None:
        self._volumes: dict[str, dict[str, Any]] = {}
        self._pending: list[dict[str, Any]] = []
        """Those that are not ready yet."""
        self._mounted: set[str] = set()
        """The file systems in memory that the namespace has."""
        self._files: str = plan.get("files", "")
        self._mode: str = plan.get("mounts", "auto")
        self._group: int | None = plan.get("fs_group")
        self._aliases: list[list[str]] = plan.get("host_aliases") or []
        self._directory = directory
        self._namespace: Namespace | None = None
        self._refusal: str | None = None
        self._measured_at = float("-inf")
        self.note: str | None = None
        """That volumes are not mounted, for the status of the pod; None if they are."""
        self.add(plan)

    def add(self, plan: dict[str, Any]) -> None:
        """Add the volumes of a plan that are new: those that only an ephemeral container mounts."""
        new = {volume["name"]: volume for volume in plan.get("volumes", []) if volume["name"] not in self._volumes}
        self._volumes |= new
        self._pending += new.values()

    def prepare(self, container: dict[str, Any]) -> Prepared:
        """Prepare a run of a container of the plan.

        Raises:
            VolumeProblem: a volume is not ready, or cannot be mounted.
        """
        with _umask(0o022):
            self._set_up()
        try:
            container = with_values(container, self._read_file)
        except EnvFileError as exc:
            raise VolumeProblem("CreateContainerConfigError", str(exc)) from exc
        return self._prepare_mounts(container)._replace(spec=container)

    def _prepare_mounts(self, container: dict[str, Any]) -> Prepared:
        mounts = container.get("mounts") or []
        found = [mount for mount in mounts if self._is_there(mount)]
        bound = [self._mount(mount) for mount in found]
        self._measured_at = float("-inf")
        is_bare = all(mount.source == mount.path and not mount.read_only for mount in bound)
        message_path = self._message_path(container, is_bare=is_bare)
        has_hosts = bool(self._aliases) and not any(mount.path == _HOSTS_PATH for mount in bound)
        if is_bare and not message_path and (not has_hosts or self._mode == "environment"):
            return Prepared()
        if self._mode == "environment":
            return self._in_environment(found, "MOUNTS=environment")
        self._enter_namespace()
        if self._namespace is None and is_bare:
            return Prepared()
        if self._namespace is None:
            refusal = self._refusal or ""
            if self._mode == "namespace":
                raise VolumeProblem("CreateContainerError", f"the volumes cannot be mounted: {refusal}")
            return self._in_environment(found, f"this machine does not allow it: {refusal}")
        scratch = os.path.join(self._directory, _SCRATCH)
        os.makedirs(scratch, exist_ok=True)
        try:
            if message_path:
                file = message.create(os.path.join(self._directory, container["name"]))
                bound.append(Mount(file, "", message_path, read_only=False, has_points=False))
            if has_hosts:
                bound.append(Mount(self._hosts_file(), "", _HOSTS_PATH, read_only=False, has_points=False))
            return Prepared(container_namespace(self._namespace, bound, scratch=scratch, cwd=container["cwd"]))
        except OSError as exc:
            for mount in found:
                if mount["sub_path"] and exc.filename == self._mount(mount).source:
                    does = "prepare subPath" if exc.errno == errno.EXDEV else "create subPath directory"
                    where = f'for volumeMount "{mount["volume"]}" of container "{container["name"]}"'
                    raise VolumeProblem("CreateContainerConfigError", f"failed to {does} {where}") from exc
            problem = f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc.strerror)
            if exc.filename == container["cwd"]:
                raise VolumeProblem("CreateContainerError", f"workingDir: {exc.strerror}") from exc
            raise VolumeProblem("CreateContainerError", f"the volumes cannot be mounted: {problem}") from exc

    def _read_file(self, volume: str, path: str) -> bytes:
        """Return a file of an emptyDir.

        Raises:
            OSError: it cannot be read.
        """
        namespace = self._namespace if volume in self._mounted else None
        return read_file(os.path.join(self._directory, _EMPTY, volume), path, namespace=namespace)

    def _message_path(self, container: dict[str, Any], *, is_bare: bool) -> str | None:
        """Return where the file of the termination message is mounted; None where it is not.

        A container that needs no namespace else gets one for the default path only if that takes no user
        namespace, in which programs such as sudo do not work.
        """
        path: str | None = container.get("message_path")
        if self._mode == "environment" or (is_bare and path == message.DEFAULT_PATH and os.geteuid()):
            return None
        return path

    def _hosts_file(self) -> str:
        """Return the path of the pod's hosts file, made once. Source: `nodeHostsFileContent` of the kubelet.

        Raises:
            OSError: it cannot be written.
        """
        path = os.path.join(self._directory, _HOSTS)
        if os.path.exists(path):
            return path
        of_machine = ""
        with contextlib.suppress(FileNotFoundError), open(_HOSTS_PATH, encoding="utf-8", errors="replace") as file:
            of_machine = file.read()
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(f"# Kubernetes-managed hosts file (host network).\n{of_machine}")
            file.write("\n# Entries added by HostAliases.\n")
            file.writelines("\t".join(alias) + "\n" for alias in self._aliases)
        os.chmod(f"{path}.new", 0o644)
        os.replace(f"{path}.new", path)
        return path

    def exceeded(self, now: float) -> str | None:
        """Return why the pod is evicted: an emptyDir is larger than its limit; None if none is known to be."""
        due = self.due()
        if due is None or now < due:
            return None
        self._measured_at = now
        for volume in self._limited:
            if occupied(self._empty(volume))[0] > volume["limit"]:
                return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{volume["limit_text"]}". '
        return None

    def due(self) -> float | None:
        """Return the monotonic time of the next measurement; None if there is nothing to measure."""
        return self._measured_at + _MEASURE_SECONDS if self._limited and not self._pending else None

    @property
    def _limited(self) -> list[dict[str, Any]]:
        return [volume for volume in self._volumes.values() if volume.get("limit") is not None]

    def remove(self) -> None:
        """Remove what lives as the pod does: directories, and files that the provider has written."""
        if self._namespace:
            self._namespace.close()
            self._namespace = None
        if self._volumes:
            for path in (os.path.join(self._directory, _EMPTY), self._files):
                remove_tree(path, ignore_errors=True)

    def _set_up(self) -> None:
        """Make the volumes ready, all before the first container.

        Raises:
            VolumeProblem: one is not ready.
        """
        for volume in list(self._pending):
            try:
                self._set_up_volume(volume)
                self._pending.remove(volume)
            except OSError as exc:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {exc.strerror or exc}'
                raise VolumeProblem(None, message) from exc

    def _set_up_volume(self, volume: dict[str, Any]) -> None:
        if volume["kind"] == "host":
            _check_host_path(volume["path"], volume["type"])
        elif volume["kind"] == "empty":
            path = self._empty(volume)
            os.makedirs(path, exist_ok=True)
            os.chmod(path, 0o777)  # noqa: S103 - as in a kubelet; the pod's directory is that of its owner alone
            self._share(path, read_only=False)
        elif os.path.lexists(self._sent(volume)):
            self._share(os.path.dirname(self._sent(volume)), read_only=True)
        elif not volume["optional"]:
            raise OSError("its files have not been sent")

    def _is_there(self, mount: dict[str, Any]) -> bool:
        volume = self._volumes.get(mount["volume"])
        if volume is None:  # a token that the pod does not define
            return False
        return volume["kind"] != "files" or os.path.lexists(self._sent(volume))

    def _sent(self, volume: dict[str, Any]) -> str:
        return os.path.join(self._files, volume["name"], "..data")

    def _empty(self, volume: dict[str, Any]) -> str:
        return os.path.join(self._directory, _EMPTY, volume["name"])

    def _path(self, volume: dict[str, Any]) -> str:
        """Return the directory of a volume, or the file of a `host` one."""
        if volume["kind"] == "host":
            return str(volume["path"])
        return self._empty(volume) if volume["kind"] == "empty" else os.path.dirname(self._sent(volume))

    def _share(self, root: str, *, read_only: bool) -> None:
        """Change the group of a volume to `fsGroup`, as far as this user may. Source: `changeFilePermission`."""
        if self._group is None:
            return
        for directory, _, files in os.walk(root):
            for path in (directory, *(os.path.join(directory, name) for name in files)):
                is_directory = path == directory
                with contextlib.suppress(OSError):
                    os.chown(path, -1, self._group, follow_symlinks=False)
                    if os.path.islink(path):
                        continue
                    mask = (0o440 if read_only else 0o660) | (0o2110 if is_directory else 0)
                    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | mask)

    def _mount(self, mount: dict[str, Any]) -> Mount:
        """Return a mount of the plan as one of a namespace.

        Raises:
            VolumeProblem: it has no valid `subPath`.
        """
        volume, sub_path = self._volumes[mount["volume"]], mount["sub_path"] or ""
        if mount["missing"]:
            raise VolumeProblem("CreateContainerConfigError", f'missing value for "{mount["missing"]}"')
        if os.path.isabs(sub_path) or ".." in sub_path.split("/"):
            raise VolumeProblem("CreateContainerConfigError", "a subPath is absolute or has `..`")
        is_files = volume["kind"] == "files"
        return Mount(
            self._path(volume),
            sub_path,
            mount["path"],
            read_only=mount["read_only"] or is_files,
            has_points=is_files and not sub_path,
        )

    def _enter_namespace(self) -> None:
        """Make the namespace of the pod, or mount what it does not have yet."""
        missing = [
            volume
            for volume in self._volumes.values()
            if volume.get("memory") and volume["name"] not in self._mounted
        ]
        if self._refusal is not None or (self._namespace and not missing):
            return
        mode = 0o777 if self._group is None else 0o2777
        memories = [Memory(self._empty(volume), volume["limit"], mode, self._group) for volume in missing]
        before = self._namespace
        try:
            self._namespace = pod_namespace(memories, before=before)
        except OSError as exc:
            self._refusal = exc.strerror or str(exc)
            return
        if before:
            before.close()
        self._mounted |= {volume["name"] for volume in missing}

    def _in_environment(self, mounts: list[dict[str, Any]], why: str) -> Prepared:
        names = sorted({mount["volume"] for mount in mounts})
        env = {_variable(name): self._path(self._volumes[name]) for name in names}
        self.note = f"the volumes are not mounted ({why}); $VOLUME_NAME has the directory of each"
        return Prepared(env=env)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    """Set the umask for directories and files that others may see."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _variable(volume: str) -> str:
    return "VOLUME_" + volume.upper().replace("-", "_")


def _check_host_path(path: str, type_: str) -> None:
    """Check the type of a path of the machine; make one that is to be made.

    Raises:
        OSError: it is of another type.
    """
    wanted = _CREATED.get(type_, type_)
    if type_ in ("", "DirectoryOrCreate") and not os.path.exists(path):
        os.makedirs(path, mode=0o755)
    elif type_ == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    if not wanted:
        return
    is_type, name = _IS[wanted]
    try:
        matches = is_type(os.stat(path).st_mode)
    except OSError:
        matches = False
    if not matches:
        raise OSError(f"hostPath type check failed: {path} is not a {name}")
