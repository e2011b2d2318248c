"""Mount namespaces: a container sees its volumes at their mount paths, and everything else as it is. Linux only.

A mount needs a mount namespace, and for an ordinary user a user namespace around it, in which only the user and
the group of the shim are mapped, each to itself. The shim stays outside. It forks a child that makes the namespace
and sends its descriptors back, and each process of the container enters it before it is executed.

There is one namespace for the pod, with the file systems in memory that its containers share, and one for each run
of a container, a copy of it with the volumes of the container.
"""

import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from . import libc
from .mount_tree import Mount, MountTree

_ANSWER_LIMIT = 64 * 1024
_FILE_LIMIT = 1024 * 1024


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
            libc.call("setns", self.user, libc.CLONE_NEWUSER)
        libc.call("setns", self.mounts, libc.CLONE_NEWNS)

    def close(self) -> None:
        """Close the descriptors; the namespace ends with its last process."""
        os.close(self.mounts)
        if self.user is not None:
            os.close(self.user)


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
            libc.mount(None, "/", flags=libc.MS_REC | libc.MS_SLAVE)
        for memory in memories:
            options = f"mode={memory.mode:o}" + (f",size={memory.limit}" if memory.limit is not None else "")
            libc.mount("tmpfs", memory.path, type_="tmpfs", flags=libc.MS_NOSUID | libc.MS_NODEV, options=options)
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
        libc.call("unshare", libc.CLONE_NEWNS)
        # Opened before the first mount, which may hide them. Parents are mounted before what is within them.
        tree = MountTree(scratch)
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


def _unshare() -> None:
    """Make a mount namespace; for a user without the privilege, with a user namespace around it."""
    user, group = os.geteuid(), os.getegid()
    try:
        libc.call("unshare", libc.CLONE_NEWNS)
    except PermissionError:
        libc.call("unshare", libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
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
