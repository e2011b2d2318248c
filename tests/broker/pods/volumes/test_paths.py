"""Paths that a volume may have."""

import pytest

from broker.pods.volumes.paths import InvalidPath, check_directories, clean_path


@pytest.mark.parametrize(
    ("path", "expected"), [("a", "a"), ("a//b/./c/", "a/b/c"), ("a..b", "a..b"), ("a/..b", "a/..b")]
)
def test_a_path_is_cleaned(path: str, expected: str) -> None:
    assert clean_path(path) == expected


@pytest.mark.parametrize(
    "path", ["", ".", "/a", "..", "a/../b", "..data", "..2026/x", "a" * 256, "/".join(["a" * 255] * 17)]
)
def test_a_path_that_leaves_the_volume_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath, match=r"^invalid path: (filenames )?must "):
        clean_path(path)


def test_a_file_is_no_directory() -> None:
    check_directories({"a/b", "a/c", "ab"})
    with pytest.raises(InvalidPath, match="invalid path: a is a file and a directory"):
        check_directories({"a", "a/b/c"})
