"""Volumes that are sent to a runtime, and whether this machine can mount them."""

from pathlib import Path

import pytest

from app.kubernetes.pod import PodReference
from app.runtimes import Volume, VolumeFile
from app.runtimes.process import ProcessRuntime
from app.runtimes.process.shim import namespaces

UID = "0b0e4e0c-4f0e-4d3a-8f6e-0d8b0f3b7a11"


def can_mount() -> bool:
    try:
        namespaces.pod_namespace([]).close()
    except OSError:
        return False
    return True


needs_namespaces = pytest.mark.skipif(not can_mount(), reason="this machine allows no mount namespaces")


def files(name: str = "config", /, **contents: str) -> Volume:
    """Return a volume; `a__b` is the path `a/b`."""
    return Volume(
        name=name,
        files=[
            VolumeFile(path=path.replace("__", "/"), mode=0o640, data=text.encode())
            for path, text in contents.items()
        ],
    )


def directory(root: Path, name: str = "config") -> Path:
    return root / UID / "volumes" / name


def put(runtime: ProcessRuntime, *volumes: Volume, uid: str = UID) -> None:
    runtime.put_volumes(PodReference("default", "web-0", uid), volumes)
