"""The files of volumes, as a kubelet writes them: an update replaces all files of a volume at once.

    RUNTIME_DIRECTORY/<pod's UID>/volumes/<volume>/key             a link to ..data/key
    RUNTIME_DIRECTORY/<pod's UID>/volumes/<volume>/..data          a link to the directory below
    RUNTIME_DIRECTORY/<pod's UID>/volumes/<volume>/..2026_…/key    the files of one version

They are written before the pod is created, so they are in the directory of its UID. A UID that is not created is
removed after ten minutes, at the next report of the node or the next start; see :func:`sweep`.

Source: `AtomicWriter` in `pkg/volume/util` of Kubernetes.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

from app.kubernetes.volumes import Volume, VolumeFile

KEPT = timedelta(minutes=10)
_DATA = "..data"
_NEW_DATA = "..data_tmp"
_DIRECTORY = "volumes"
_LOCK_SECONDS, _LOCK_POLL = 5.0, 0.05
"""How long a request waits while another one writes volumes of the same UID. A client repeats a request that takes
longer than its timeout, with thousands of files on a slow disk: each repetition would take one more thread."""


def volumes_of(pod_directory: Path) -> Path:
    """Return the directory of the volumes of a UID."""
    return pod_directory / _DIRECTORY


def put_volumes(pod_directory: Path, volumes: Sequence[Volume]) -> None:
    """Write volumes of a UID. Volumes that are not among them stay as they are.

    Raises:
        BlockingIOError: another request writes volumes of the UID.
        OSError: they cannot be written; each volume has either its old or its new files.
    """
    with _locked(pod_directory) as directory:
        for volume in volumes:
            _put_volume(directory / volume.name, volume.files)


def sweep(root: Path) -> None:
    """Remove the files of UIDs that were not created in time. Called by several processes at once."""
    for pod_directory in root.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            if _is_stale(pod_directory):
                with _locked(pod_directory, blocking=False):
                    if _is_stale(pod_directory):
                        shutil.rmtree(pod_directory)


def _is_stale(pod_directory: Path) -> bool:
    """Return whether only files of volumes are there, for too long."""
    if pod_directory.stat().st_uid != os.geteuid():  # it was created, and given to the user of its job
        return False
    age = time.time() - volumes_of(pod_directory).stat().st_mtime
    return age > KEPT.total_seconds() and os.listdir(pod_directory) == [_DIRECTORY]


@contextlib.contextmanager
def _locked(pod_directory: Path, *, blocking: bool = True) -> Iterator[Path]:
    """Yield the directory of a UID's volumes while no other process writes or removes it.

    Args:
        blocking: whether to wait for a moment, and to make a directory that does not exist.

    Raises:
        BlockingIOError: another process does so for longer.
    """
    directory = volumes_of(pod_directory)
    while True:
        if blocking:
            pod_directory.mkdir(mode=0o700, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(lock, seconds=_LOCK_SECONDS if blocking else 0)
            # It may have been removed after `open`: then this lock protects nothing.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(directory), os.fstat(lock)):
                    if blocking:
                        os.utime(directory)
                    yield directory
                    return
            if not blocking:
                raise BlockingIOError
        finally:
            os.close(lock)


def _lock(fd: int, *, seconds: float) -> None:
    """Lock a file.

    Raises:
        BlockingIOError: it is locked by another process for so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_LOCK_POLL)
        else:
            return


def _put_volume(directory: Path, files: Sequence[VolumeFile]) -> None:
    """Replace the files of a volume; write nothing if they are the same."""
    directory.mkdir(mode=0o755, exist_ok=True)
    before = _current(directory)
    if before is None or not _is_same(directory / before, files):
        group = os.stat(directory) if directory.stat().st_mode & stat.S_ISGID else None
        version = f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{token_hex(5)}"
        try:
            _write(directory / version, files, group=None if group is None else group.st_gid)
            with contextlib.suppress(FileNotFoundError):
                (directory / _NEW_DATA).unlink()
            (directory / _NEW_DATA).symlink_to(version)
            (directory / _NEW_DATA).replace(directory / _DATA)
        except BaseException:
            shutil.rmtree(directory / version, ignore_errors=True)
            raise
    else:
        version = before
    tops = {file.path.split("/")[0] for file in files}
    for name in sorted(tops - set(os.listdir(directory))):
        (directory / name).symlink_to(f"{_DATA}/{name}")
    for name in os.listdir(directory):
        if not name.startswith("..") and name not in tops:
            if (directory / name).is_symlink():  # anything else is a mount point of another volume
                (directory / name).unlink()
        elif name.startswith("..") and name not in (
            _DATA,
            version,
        ):  # an old one, or one of a writer that was killed
            shutil.rmtree(directory / name, ignore_errors=True)
    _sync(directory)


def _current(directory: Path) -> str | None:
    try:
        return os.readlink(directory / _DATA)
    except FileNotFoundError:
        return None


def _is_same(version: Path, files: Sequence[VolumeFile]) -> bool:
    """Return whether a version has exactly these files, with their contents and modes."""
    found = {str(path.relative_to(version)): path for path in version.rglob("*") if path.is_file()}
    if found.keys() != {file.path for file in files}:
        return False
    added = 0o440 if version.stat().st_mode & stat.S_ISGID else 0  # by the group that fsGroup gives it
    try:
        return all(
            stat.S_IMODE(found[file.path].stat().st_mode) == file.mode | added
            and found[file.path].read_bytes() == file.data
            for file in files
        )
    except PermissionError:  # a file that its owner may not read
        return False


def _write(version: Path, files: Sequence[VolumeFile], *, group: int | None) -> None:
    """Write the files of a version.

    Args:
        group: the group that gets the files, as `fsGroup`; None for the user's own.
    """
    version.mkdir(mode=0o755)
    directories = {version}
    for file in files:
        path = version / file.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directories.update(parent for parent in path.parents if version in parent.parents)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as target:
            target.write(file.data)
            target.flush()
            os.fsync(target.fileno())
            if group is not None:
                os.fchown(target.fileno(), -1, group)
            os.fchmod(target.fileno(), file.mode if group is None else file.mode | 0o440)
    for directory in directories:
        if group is not None:
            os.chown(directory, -1, group)
        os.chmod(directory, 0o755 if group is None else 0o2755)
        _sync(directory)


def _sync(directory: Path) -> None:
    """Flush the entries of a directory to the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
