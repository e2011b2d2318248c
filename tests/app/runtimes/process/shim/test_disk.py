"""The sizes of directories, and their removal."""

import os
from pathlib import Path

from app.runtimes.process.shim.disk import occupied, remove_tree


def test_a_directory_that_is_gone_occupies_nothing(tmp_path: Path) -> None:
    assert occupied(str(tmp_path / "gone")) == (0, 0)


def test_a_file_with_two_names_occupies_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(b"x" * 100_000)
    size, inodes = occupied(str(tmp_path))
    assert size >= 100_000
    assert inodes == 3
    (tmp_path / "other").hardlink_to(tmp_path / "folder" / "one")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert occupied(str(tmp_path))[1] == 4
    assert occupied(str(tmp_path))[0] < size + 100_000


def test_a_file_that_cannot_be_read_hides_no_others(tmp_path: Path) -> None:
    """As one whose path is longer than the system allows: a container can create it."""
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    before = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=before)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=before)
        os.close(before)
        before = inner
    os.close(before)
    assert occupied(str(tmp_path))[0] >= 100_000


def test_read_only_directories_of_a_container_are_removed(tmp_path: Path) -> None:
    pod = tmp_path / "pod"
    (pod / "cache" / "module").mkdir(parents=True)
    (pod / "cache" / "module" / "file").touch()
    (pod / "link").symlink_to(tmp_path)
    for path, mode in (("cache/module", 0o555), ("cache", 0)):
        (pod / path).chmod(mode)
    remove_tree(str(pod))
    assert os.listdir(tmp_path) == []
