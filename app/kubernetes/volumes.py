"""The files of a pod's volumes, as a client that resolved them sends them: the body of `PUT /podVolumes`."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Self

import msgspec

from app.core.errors import InvalidRequest
from app.kubernetes.manifest import check_metadata, parse_reference, validation_error, with_node
from app.kubernetes.pod import NULL, ApiObject, PodReference

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LONGEST_PATH = 4095
_LONGEST_PART = 255


class VolumeSource(ApiObject, frozen=True):
    """An object from which files of a volume are.

    Attributes:
        kind: ConfigMap, Secret, ServiceAccountToken, DownwardAPI or ClusterTrustBundle.
        resource_version: the version of the object, of the pod for its fields; None for a token, and for fields
            that never change.
    """

    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    name: Annotated[str, msgspec.Meta(max_length=253)] | None = None
    resource_version: Annotated[str, msgspec.Meta(max_length=253)] | None = None


class VolumeFile(ApiObject, frozen=True):
    """A file of a volume. Its content may be secret, and is not in its `repr`.

    Attributes:
        path: relative to the volume, with `/` between its parts, and clean.
        mode: the permission bits, at most 0o777.
        data: the content, Base64 in JSON.
    """

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_PATH)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)]
    data: bytes

    def __repr__(self) -> str:
        return f"VolumeFile({self.path!r}, {self.mode:o}, {len(self.data)} bytes)"


class Volume(ApiObject, frozen=True):
    """All files of a volume of a pod.

    Attributes:
        name: the name of the volume in `spec.volumes`.
        files: every file; one that the volume had before and is not among them is removed.
        resource_version: identifies this version of the volume; None where the client has none.
        sources: the objects from which the files are.
    """

    name: str
    files: list[VolumeFile]
    resource_version: Annotated[str, msgspec.Meta(max_length=253)] | None = None
    sources: list[VolumeSource] | None = None

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(len(file.data) for file in self.files)


class _Body(ApiObject, frozen=True):
    metadata: PodReference
    volumes: list[Volume]
    kind: str | None = None
    spec: msgspec.Raw = NULL


_DECODER = msgspec.json.Decoder(_Body)


class PodVolumes(msgspec.Struct, frozen=True):
    """Volumes of a pod that were sent together. A volume of the pod that is not among them has not changed."""

    pod: PodReference
    volumes: Sequence[Volume]

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse a request body.

        Raises:
            InvalidRequest: the body is not JSON, names no pod, or has a volume or a path that no directory can
                have. The message names the field and never quotes a value.
        """
        try:
            decoded = _DECODER.decode(body)
        except msgspec.ValidationError as exc:
            raise validation_error(exc) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            parse_reference(body)
            raise InvalidRequest("the body is not valid JSON, or is nested too deeply") from None
        check_metadata(decoded.metadata, kind=decoded.kind)
        if not decoded.metadata.uid:
            raise InvalidRequest("required", field="metadata.uid")
        return cls(with_node(decoded.metadata, decoded.spec), list(_checked(decoded.volumes)))


def _checked(volumes: Sequence[Volume]) -> Iterator[Volume]:
    """Yield volumes with clean paths. Source: `validatePayload` in a kubelet's atomic writer."""
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        field = f"volumes[{index}]"
        if not _NAME.fullmatch(volume.name):
            raise InvalidRequest("must be the name of a volume: a DNS label", field=f"{field}.name")
        if volume.name in names:
            raise InvalidRequest("another volume of this request has the same name", field=f"{field}.name")
        names.add(volume.name)
        _check_texts(volume, field=field)
        paths = _clean_paths([file.path for file in volume.files], field=field)
        files = [msgspec.structs.replace(file, path=path) for file, path in zip(volume.files, paths, strict=True)]
        yield msgspec.structs.replace(volume, files=files)


def _check_texts(volume: Volume, *, field: str) -> None:
    texts: list[tuple[str, str | None]] = [("resourceVersion", volume.resource_version)]
    for index, source in enumerate(volume.sources or ()):
        texts += [
            (f"sources[{index}].kind", source.kind),
            (f"sources[{index}].name", source.name),
            (f"sources[{index}].resourceVersion", source.resource_version),
        ]
    for name, text in texts:
        if text and not text.isprintable():
            raise InvalidRequest("has characters that cannot be printed", field=f"{field}.{name}")


def _clean_paths(paths: Sequence[str], *, field: str) -> list[str]:
    """Return the paths of a volume's files without `.` and empty parts.

    Raises:
        InvalidRequest: no directory can have all of them.
    """
    for index, path in enumerate(paths):
        if problem := _problem(path):
            raise InvalidRequest(problem, field=f"{field}.files[{index}].path")
    clean = [posixpath.normpath(path) for path in paths]
    files = set(clean)
    seen: set[str] = set()
    for index, path in enumerate(clean):
        within = f"{field}.files[{index}].path"
        if path in seen:
            raise InvalidRequest("another file of this volume has the same path", field=within)
        seen.add(path)
        parts = path.split("/")
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            raise InvalidRequest("another file of this volume has the path of its directory", field=within)
    return clean


def _problem(path: str) -> str | None:
    """Return why no file of a volume can have a path; None if one can."""
    parts = path.split("/")
    problems = {
        "must be relative": path.startswith("/"),
        "must not contain `..`": ".." in parts,
        "must not begin with `..`": posixpath.normpath(path).startswith(".."),
        "must name a file": not set(parts) - {"", "."},
        "has characters that cannot be printed": not path.isprintable(),
        f"has a part of more than {_LONGEST_PART} bytes": any(
            len(part.encode()) > _LONGEST_PART for part in parts
        ),
    }
    return next((problem for problem, occurs in problems.items() if occurs), None)
