"""Paths of files in a volume.

Source: `validatePath` in `pkg/volume/util/atomic_writer.go`.
"""

from collections.abc import Collection
from posixpath import normpath

_LONGEST_PATH, _LONGEST_NAME = 4096, 255


class InvalidPath(Exception):
    """A path that a volume cannot have; the message is that of a kubelet."""


def clean_path(path: str) -> str:
    """Return a path without empty and `.` elements.

    Raises:
        InvalidPath: it leaves the volume, is too long, or is one of the names that the volume itself needs.
    """
    names = path.split("/")
    if not path:
        raise InvalidPath('invalid path: must not be empty: ""')
    if path.startswith("/"):
        raise InvalidPath(f"invalid path: must be relative path: {path}")
    if len(path.encode()) > _LONGEST_PATH:
        raise InvalidPath(f"invalid path: must be less than or equal to {_LONGEST_PATH} characters")
    if ".." in names:
        raise InvalidPath(f"invalid path: must not contain '..': {path}")
    if any(len(name.encode()) > _LONGEST_NAME for name in names):
        raise InvalidPath(f"invalid path: filenames must be less than or equal to {_LONGEST_NAME} characters")
    if names[0].startswith(".."):
        raise InvalidPath(f"invalid path: must not start with '..': {path}")
    cleaned = normpath(path)
    if cleaned == ".":
        raise InvalidPath(f"invalid path: must name a file: {path}")
    return cleaned


def check_directories(paths: Collection[str]) -> None:
    """Check that no path is that of a file and of a directory at once.

    Raises:
        InvalidPath: one is.
    """
    for path in sorted(paths):
        directory = path
        while "/" in directory:
            directory = directory.rpartition("/")[0]
            if directory in paths:
                raise InvalidPath(f"invalid path: {directory} is a file and a directory")
