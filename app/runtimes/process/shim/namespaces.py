"""Mount namespaces: a container sees its volumes at their mount paths, and everything else as it is. Linux only.

A mount needs a mount namespace, and for an ordinary user a user namespace around it, in which only the user and
the group of the shim are mapped, each to itself. The shim stays outside. It forks a child that makes the namespace
and sends its descriptors back, and each process of the container enters it before it is executed.

There is one namespace for the pod, with the file systems in memory that its containers share, and one for each run
of a container, a copy of it with the volumes of the container.

A mount point has to exist. Where it does not, it is made without a change to the machine: the nearest directory
that exists is covered by an empty file system that shows the same entries, each bound from the directory, and has
the mount point beside them. It is read-only, so that no new file is lost in it. In a directory in which the user
makes files, such as /tmp or a home directory, the mount point is an ordinary directory instead.
"""

import contextlib
import ctypes
import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY = 1
_MS_NOSUID = 2
_MS_NODEV = 4
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_MOVE = 8192
_MS_REC = 16384
_MS_UNBINDABLE = 1 << 17
_MS_PRIVATE = 1 << 18
_MS_SLAVE = 1 << 19
_MS_RELATIME = 1 << 21
_KEPT_FLAGS = 2 | 4 | 8 | 1024 | 2048
"""nosuid, nodev, noexec, noatime and nodiratime, which a user namespace may not clear; as in `statvfs`."""
_ST_RELATIME = 4096
_ANSWER_LIMIT = 64 * 1024
_FILE_LIMIT = 1024 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace(NamedTuple):
    """Descriptors of a mount namespace and, unless it is that of the shim, of the user namespace that owns it."""

    mounts: int
    user: int | None

    def enter(self) -> None:
        """Move this process, which must have one thread, into the namespace.

        Raises:
            OSError: it may not.
        """
        if self.user is not None:
            _call("setns", self.user, _CLONE_NEWUSER)
        _call("setns", self.mounts, _CLONE_NEWNS)

    def close(self) -> None:
        """Close the descriptors; the namespace ends with its last process."""
        os.close(self.mounts)
        if self.user is not None:
            os.close(self.user)


class Mount(NamedTuple):
    """A mount of a container.

    Attributes:
        volume: the directory or file of the volume.
        sub_path: what of it is mounted; empty for all. A directory that does not exist is made.
        path: where the container sees it, absolute.
        has_points: mount points within it are made in the volume, of which they stay a part, although it is
            mounted read-only: a cover would show the links of the version that it was made of.
    """

    volume: str
    sub_path: str
    path: str
    read_only: bool
    has_points: bool

    @property
    def source(self) -> str:
        """The directory or file that is mounted."""
        return os.path.join(self.volume, self.sub_path) if self.sub_path else self.volume

    def open(self) -> int:
        """Open what is mounted.

        Raises:
            OSError: with EXDEV, the `sub_path` leads out of the volume; `filename` is :attr:`source`.
        """
        if self.sub_path:
            self._check_within(os.path.realpath(self.source))
            with contextlib.suppress(FileExistsError):  # a file
                self._make_directories()
        fd = os.open(self.source, os.O_PATH | os.O_CLOEXEC)
        if self.sub_path:  # a container that runs may have replaced a directory by a link
            self._check_within(os.readlink(f"/proc/self/fd/{fd}"))
        return fd

    def _make_directories(self) -> None:
        """Make the directories of `sub_path` that are missing, with the mode of the volume.

        Source: `doSafeMakeDir` in `pkg/volume/util/subpath` of Kubernetes.

        Raises:
            OSError: a directory cannot be made, or it is a file.
        """
        missing = []
        path = os.path.normpath(self.source)
        while not os.path.exists(path):
            missing.append(path)
            path = os.path.dirname(path)
        mode = stat.S_IMODE(os.stat(self.volume).st_mode)
        for path in reversed(missing):
            os.mkdir(path)
            os.chmod(path, mode)  # whatever the umask

    def _check_within(self, path: str) -> None:
        inside = os.path.realpath(self.volume)
        if os.path.commonpath([inside, path]) != inside:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), self.source)


class Memory(NamedTuple):
    """A file system in memory that is mounted on a directory.

    Attributes:
        limit: its size in bytes; None for that of the kernel.
        mode: of its root.
        group: that owns its root; None for the user's own.
    """

    path: str
    limit: int | None
    mode: int
    group: int | None


def pod_namespace(memories: Iterable[Memory], *, before: Namespace | None = None) -> Namespace:
    """Make the namespace of a pod, or mount more file systems in the one that it has, and return new descriptors.

    Raises:
        OSError: this machine does not allow it.
    """

    def build() -> None:
        if before:
            before.enter()
        else:
            _unshare()
            _mount(None, "/", flags=_MS_REC | _MS_SLAVE)
        for memory in memories:
            options = f"mode={memory.mode:o}" + (f",size={memory.limit}" if memory.limit is not None else "")
            _mount("tmpfs", memory.path, type_="tmpfs", flags=_MS_NOSUID | _MS_NODEV, options=options)
            if memory.group is not None:
                os.chown(memory.path, -1, memory.group)

    return _made(build)


def container_namespace(pod: Namespace, mounts: Iterable[Mount], *, scratch: str, cwd: str) -> Namespace:
    """Make the namespace of a run of a container.

    Args:
        pod: the namespace of the pod.
        mounts: the mounts, in any order.
        scratch: an empty directory, on which nothing is mounted afterwards.
        cwd: the working directory, which is checked.

    Raises:
        OSError: a volume cannot be mounted; `filename` is its path, or that of the working directory.
    """

    def build() -> None:
        pod.enter()
        _call("unshare", _CLONE_NEWNS)
        # Opened before the first mount, which may hide them. Parents are mounted before what is within them.
        tree = _Tree(scratch)
        ordered = sorted(mounts, key=lambda mount: mount.path.count("/"))
        opened = [(mount, mount.open()) for mount in ordered]
        for mount, source in opened:
            tree.bind(source, mount)
        tree.protect()
        os.chdir(cwd)

    return _made(build)


def read_file(volume: str, path: str, *, namespace: Namespace | None) -> bytes:
    """Return a file of a volume, of at most 1 MiB.

    Args:
        volume: the directory of the volume.
        path: the path of the file in it.
        namespace: the one in which the volume is, if it is in memory.

    Raises:
        OSError: it cannot be read, or a link leads out of the volume.
    """
    if namespace is None:
        return _read(volume, path)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            namespace.enter()
            with open(writing, "wb") as pipe:
                pipe.write(b"+" + _read(volume, path))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if not answer:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)
    return answer[1:]


def _read(volume: str, path: str) -> bytes:
    found = os.path.realpath(os.path.join(volume, path))
    if os.path.commonpath([found, os.path.realpath(volume)]) != os.path.realpath(volume):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    # A pipe would hold up the pod.
    with open(os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        data = file.read(_FILE_LIMIT + 1)
    if len(data) > _FILE_LIMIT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data


class _Tree:
    """The mounts of a namespace while it is made."""

    def __init__(self, scratch: str) -> None:
        self._directory, self._scratch = os.open(os.path.dirname(scratch), os.O_PATH), os.path.basename(scratch)
        self._covered: dict[int, str] = {}
        """Device → directory."""
        self._bound: list[tuple[str, int, Mount]] = []
        """The path, without links, the descriptor and the mount of all that is bound."""

    def bind(self, source: int, mount: Mount) -> None:
        """Mount the file or directory of a descriptor."""
        path = os.path.realpath(mount.path)
        is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
        if not os.path.lexists(path):
            self._make_point(path, is_directory=is_directory)
        _mount(f"/proc/self/fd/{source}", path, flags=_MS_BIND | _MS_REC)
        self._bound.append((path, source, mount))
        if mount.read_only:
            _remount_read_only(path)

    def protect(self) -> None:
        """Make the covers read-only, once all mount points are made."""
        for directory in self._covered.values():
            _remount_read_only(directory)

    def _make_point(self, path: str, *, is_directory: bool) -> None:
        within = [bound for bound in self._bound if path.startswith(f"{bound[0]}/")]
        if within and within[-1][2].has_points:
            path = f"/proc/self/fd/{within[-1][1]}{path.removeprefix(within[-1][0])}"
        else:
            self._cover_parent(path)
        os.makedirs(path if is_directory else os.path.dirname(path), mode=0o755, exist_ok=True)
        if not is_directory:
            _touch(path)

    def _cover_parent(self, path: str) -> None:
        """Cover the nearest directory of a path, unless this user makes files in it."""
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        if os.stat(parent).st_dev not in self._covered and not _makes_files_in(parent):
            self._cover(parent)

    def _cover(self, directory: str) -> None:
        """Mount an empty file system on a directory, with the same entries."""
        os.fchdir(self._directory)  # a mount may hide its path
        before = os.stat(directory)
        mode = stat.S_IMODE(before.st_mode)
        _mount("tmpfs", self._scratch, type_="tmpfs", flags=_MS_NOSUID | _MS_NODEV, options=f"mode={mode:o}")
        # Otherwise a bound directory that contains it would have a copy of it.
        _mount(None, self._scratch, flags=_MS_UNBINDABLE)
        for entry in list(os.scandir(directory)):
            copy = os.path.join(self._scratch, entry.name)
            try:
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), copy)
                    continue
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(copy)
                else:
                    _touch(copy)
                _mount(entry.path, copy, flags=_MS_BIND | _MS_REC)
            except FileNotFoundError:  # it was removed in between
                continue
        os.utime(self._scratch, ns=(before.st_atime_ns, before.st_mtime_ns))
        if directory == "/":
            os.chdir(self._scratch)
            _mount(".", "/", flags=_MS_MOVE)
            os.chroot(".")
        else:
            _mount(self._scratch, directory, flags=_MS_MOVE)
        _mount(None, directory, flags=_MS_PRIVATE)
        self._covered[os.stat(directory).st_dev] = directory


def _makes_files_in(directory: str) -> bool:
    """Return whether this user makes files in a directory; root, who can anywhere, where everybody does."""
    if os.geteuid() == 0:
        return bool(os.stat(directory).st_mode & stat.S_IWOTH) and os.access(directory, os.W_OK)
    return os.access(directory, os.W_OK)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _remount_read_only(path: str) -> None:
    flags = os.statvfs(path).f_flag
    kept = flags & _KEPT_FLAGS | (_MS_RELATIME if flags & _ST_RELATIME else 0)
    _mount(None, path, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _unshare() -> None:
    """Make a mount namespace; for a user without the privilege, with a user namespace around it."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWNS)
    except PermissionError:
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _made(build: Callable[[], None]) -> Namespace:
    """Return the namespace in which a function leaves a child of this process.

    Raises:
        OSError: as the function.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _answer(build, theirs)
        theirs.close()
        data, fds, _, _ = socket.recv_fds(ours, _ANSWER_LIMIT, 2, socket.MSG_CMSG_CLOEXEC)
        os.waitpid(pid, 0)
    if fds:
        return Namespace(fds[0], fds[1] if len(fds) > 1 else None)
    number, text, path = json.loads(data) if data else (None, "the child was killed", None)
    raise OSError(number, text, path)


def _answer(build: Callable[[], None], connection: socket.socket) -> None:
    """Call a function, send the descriptors of the namespaces or the error, and end this process."""
    try:
        os.umask(0o022)
        before = os.stat("/proc/self/ns/user")
        build()
        names = ["mnt"]
        if not os.path.samestat(before, os.stat("/proc/self/ns/user")):
            names.append("user")
        fds = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
        socket.send_fds(connection, [b"\n"], fds)
    except OSError as exc:
        path = exc.filename if isinstance(exc.filename, str) else None
        connection.sendall(json.dumps([exc.errno, exc.strerror, path]).encode())
    except BaseException as exc:
        connection.sendall(json.dumps([None, type(exc).__name__, None]).encode())
    finally:
        os._exit(0)


def _mount(
    source: str | None, target: str, *, flags: int, type_: str | None = None, options: str | None = None
) -> None:
    _call("mount", _bytes(source), _bytes(target), _bytes(type_), flags, _bytes(options), path=target)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def _call(name: str, *arguments: Any, path: str | None = None) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it fails; `filename` is `path`.
    """
    converted = [
        ctypes.c_ulong(value) if name == "mount" and isinstance(value, int) else value for value in arguments
    ]
    if getattr(_libc, name)(*converted):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
