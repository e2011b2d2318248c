"""Directories on disk: their sizes, and their removal."""

import contextlib
import os
import shutil


def occupied(directory: str) -> tuple[int, int]:
    """Return the bytes and the inodes of a directory and all in it; a file with several names counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            with contextlib.suppress(OSError):  # gone, in a directory that may not be searched, or a path too long
                found = os.lstat(os.path.join(parent, name))
                sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values()), len(sizes)


def remove_tree(path: str, *, ignore_errors: bool = False) -> None:
    """Remove a directory with all that is in it, in directories too that a container has made read-only.

    Args:
        ignore_errors: remove what can be removed.

    Raises:
        OSError: something cannot be removed.
    """
    for directory, names, _ in os.walk(path):
        for each in (os.path.join(directory, name) for name in names):
            if not os.path.islink(each):
                with contextlib.suppress(OSError):
                    os.chmod(each, 0o700)
    shutil.rmtree(path, ignore_errors=ignore_errors)
