"""The mounts of a run of a container, while its namespace is made.

A mount point has to exist. Where it does not, it is made without a change to the machine: the nearest directory
that exists is covered by an empty file system that shows the same entries, each bound from the directory, and has
the mount point beside them. It is read-only, so that no new file is lost in it. In a directory in which the user
makes files, such as /tmp or a home directory, the mount point is an ordinary directory instead.
"""

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from . import libc

_KEPT_FLAGS = 2 | 4 | 8 | 1024 | 2048
"""nosuid, nodev, noexec, noatime and nodiratime, which a user namespace may not clear; as in `statvfs`."""
_ST_RELATIME = 4096


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


class MountTree:
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
        libc.mount(f"/proc/self/fd/{source}", path, flags=libc.MS_BIND | libc.MS_REC)
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
        libc.mount(
            "tmpfs", self._scratch, type_="tmpfs", flags=libc.MS_NOSUID | libc.MS_NODEV, options=f"mode={mode:o}"
        )
        # Otherwise a bound directory that contains it would have a copy of it.
        libc.mount(None, self._scratch, flags=libc.MS_UNBINDABLE)
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
                libc.mount(entry.path, copy, flags=libc.MS_BIND | libc.MS_REC)
            except FileNotFoundError:  # it was removed in between
                continue
        os.utime(self._scratch, ns=(before.st_atime_ns, before.st_mtime_ns))
        if directory == "/":
            os.chdir(self._scratch)
            libc.mount(".", "/", flags=libc.MS_MOVE)
            os.chroot(".")
        else:
            libc.mount(self._scratch, directory, flags=libc.MS_MOVE)
        libc.mount(None, directory, flags=libc.MS_PRIVATE)
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
    kept = flags & _KEPT_FLAGS | (libc.MS_RELATIME if flags & _ST_RELATIME else 0)
    libc.mount(None, path, flags=libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY | kept)
