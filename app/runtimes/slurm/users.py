"""The users of jobs: whom the job of a pod runs as, and who may see its files.

By the table SLURM_USERS, a provider of root runs the job of a pod as a user of the pod's namespace. The directory
of the pod belongs to that user, who may put anything there, such as a link to a file of root in place of a log. So
a thread of the provider uses these files with the rights of their owner: its user ID for file systems is that of
the owner, see setfsuid(2). Its other rights stay. Files that all pods share, it uses as the provider.
"""

import ctypes
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import local
from typing import NamedTuple

from app.core.errors import ConfigurationError, InvalidRequest
from app.kubernetes.manifest import Manifest

USER = "slurm.virtual-kubelet.io/user"
"""The annotation that names the user of a job."""

_libc = ctypes.CDLL(None)
_thread = local()


class User(NamedTuple):
    """A user of the machine.

    Attributes:
        name: the name.
        uid: the number.
        gid: the number of its group.
        home: the home directory.
    """

    name: str
    uid: int
    gid: int
    home: str

    @property
    def prefix(self) -> list[str]:
        """The words before a command that make it one of this user, with the user's groups."""
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that name the user."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}


class Users:
    """The users that may run jobs, by namespace.

    Args:
        table: namespace → names; if it is empty, each job runs as the provider's user.

    Raises:
        ConfigurationError: there is no such user, or this provider may not run jobs as others.
    """

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        if table and os.geteuid() != 0:
            raise ConfigurationError("SLURM_USERS: only a provider of root can run jobs as other users")
        self._table = {namespace: tuple(map(_user, names)) for namespace, names in table.items()}
        if table:
            os.setgroups([])  # the rights of root's groups are none of a user

    @property
    def uids(self) -> list[int]:
        """The numbers of all users whose jobs may be pods."""
        return sorted({os.geteuid(), *(user.uid for users in self._table.values() for user in users)})

    def of(self, manifest: Manifest) -> User | None:
        """Return the user that the job of a pod runs as: the annotated one, or the first of its namespace.

        Returns:
            None for the user of the provider.

        Raises:
            InvalidRequest: that user may not run jobs of the namespace, or none may.
        """
        metadata = manifest.pod.metadata
        name, field = (metadata.annotations or {}).get(USER), f"metadata.annotations[{USER}]"
        if not self._table:
            if name:
                raise InvalidRequest("jobs run as the user of the provider; see SLURM_USERS", field=field)
            return None
        users = self._table.get(metadata.namespace, ())
        if not users:
            raise InvalidRequest("no user may run jobs of this namespace; see SLURM_USERS", field=field)
        for user in users:
            if name in (None, "", user.name):
                return user
        raise InvalidRequest("this user may not run jobs of this namespace; see SLURM_USERS", field=field)


def _user(name: str) -> User:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError(f"SLURM_USERS: {name}: no such user") from None
    return User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


@contextmanager
def as_owner_of(directory: Path) -> Iterator[None]:
    """Use files with the rights of the owner of a directory; with those of the provider if it does not exist."""
    try:
        stat = directory.lstat()
    except FileNotFoundError:
        owner = _provider()
    else:
        owner = _provider() if stat.st_uid == os.geteuid() else (stat.st_uid, stat.st_gid)
    with _rights_of(owner):
        yield


@contextmanager
def as_provider() -> Iterator[None]:
    """Use files with the rights of the provider, within :func:`as_owner_of`."""
    with _rights_of(_provider()):
        yield


@contextmanager
def _rights_of(owner: tuple[int, int]) -> Iterator[None]:
    before = getattr(_thread, "owner", _provider())
    if owner == before:
        yield
        return
    _use(owner)
    try:
        yield
    finally:
        _use(before)


def _use(owner: tuple[int, int]) -> None:
    """Set the user and the group of this thread for file systems.

    Raises:
        PermissionError: the kernel refuses.
    """
    uid, gid = owner
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
    if (_libc.setfsuid(-1), _libc.setfsgid(-1)) != owner:  # it returns the user before, and no error
        raise PermissionError(f"may not use the files of the user {uid}")
    _thread.owner = owner


def _provider() -> tuple[int, int]:
    return os.geteuid(), os.getegid()
