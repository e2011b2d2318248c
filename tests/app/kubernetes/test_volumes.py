"""The body of `PUT /podVolumes`: what is accepted, and which field a refusal names."""

import json
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.kubernetes.volumes import PodVolumes, Volume

POD = {"namespace": "default", "name": "web", "uid": "uid-1"}


def a_file(path: str = "key", **more: Any) -> dict[str, Any]:
    return {"path": path, "mode": 0o644, "data": "aGlkZGVu", **more}


def parse(*volumes: dict[str, Any], **body: Any) -> list[Volume]:
    return list(PodVolumes.parse(json.dumps({"metadata": POD, "volumes": volumes, **body}).encode()).volumes)


def test_paths_are_cleaned() -> None:
    [volume] = parse({"name": "config", "files": [a_file("./a//b"), a_file("c/")]})
    assert [file.path for file in volume.files] == ["a/b", "c"]
    assert volume.files[0].data == b"hidden"


def test_a_file_does_not_show_its_content() -> None:
    assert "hidden" not in repr(parse({"name": "config", "files": [a_file()]}))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([a_file("/etc/passwd")], "files[0].path: must be relative"),
        ([a_file("a/../b")], "files[0].path: must not contain `..`"),
        ([a_file("..data/key")], "files[0].path: must not begin with `..`"),
        ([a_file("./..data")], "files[0].path: must not begin with `..`"),
        ([a_file("./")], "files[0].path: must name a file"),
        ([a_file("a\0b")], "files[0].path: has characters that cannot be printed"),
        ([a_file("é" * 128)], "files[0].path: has a part of more than 255 bytes"),
        ([a_file("a"), a_file("./a")], "files[1].path: another file of this volume has the same path"),
        ([a_file("a/b"), a_file("a")], "files[0].path: another file of this volume has the path of its directory"),
        ([a_file(mode=0o1644)], "files[0].mode: expected `int` <= 511"),
        ([a_file(data="hidden")], "files[0].data: invalid base64 encoded string"),
    ],
)
def test_invalid_files_are_refused(files: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse({"name": "config", "files": files})
    assert str(refusal.value) == f"volumes[0].{problem}"


@pytest.mark.parametrize(
    ("volume", "field"),
    [
        ({"name": "../config", "files": []}, "volumes[1].name"),
        ({"name": "first", "files": []}, "volumes[1].name"),
        ({"name": "second"}, "volumes[1].files"),
        ({"name": "second", "files": [], "resourceVersion": "4\n2"}, "volumes[1].resourceVersion"),
        ({"name": "second", "files": [], "sources": [{"kind": "a\0"}]}, "volumes[1].sources[0].kind"),
    ],
)
def test_invalid_volumes_are_refused(volume: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse({"name": "first", "files": []}, volume)
    assert refusal.value.field == field


def test_a_pod_without_a_uid_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"metadata\.uid: required"):
        parse(metadata={"namespace": "default", "name": "web"})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"metadata": {}}', b"\xff", b'{"metadata": {"name": "\xff"}}']
)
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        PodVolumes.parse(body)
