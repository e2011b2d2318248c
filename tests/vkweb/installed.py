"""The wheel: built from the checkout, and installed into an environment of its own."""

import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from tests.postgres import free_port
from tests.server import CLEAN, ROOT, Client
from tests.waiting import eventually

PARTS = ["app", "broker", "conformance", "migrations"]
_BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the checkout, without a download."""
    source = folder / "source"
    source.mkdir()
    for name in [*PARTS, "vkweb"]:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["pyproject.toml", "README.md", "LICENSE", "wsgi.py", "gunicorn.conf.py"]:
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-c", _BUILD, str(folder)], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    """Return the paths in a wheel."""
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


class Installation:
    """The wheel in a virtual environment that has the libraries of the tests, and a current folder to run in.

    Args:
        wheel: what to install.
        environment: the folder of the virtual environment, which is created.
        cwd: the folder that the commands run in.
    """

    def __init__(self, wheel: Path, environment: Path, cwd: Path) -> None:
        self.cwd = cwd
        self._bin = environment / "bin"
        venv.create(environment, symlinks=True)
        (packages,) = environment.glob("lib/python*/site-packages")
        libraries = [path for path in sys.path if path.endswith("-packages")]
        (packages / "libraries.pth").write_text("\n".join(libraries))
        pip = [sys.executable, "-m", "pip", "--python", str(self._bin / "python")]
        subprocess.run(
            [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)],
            check=True,
        )

    def run(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """Run `vkweb ARGUMENTS`, check its exit status and return its output."""
        done = subprocess.run(
            [self._bin / "vkweb", *arguments],
            cwd=self.cwd,
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def provider(self, **settings: str) -> Iterator[Client]:
        """Run `vkweb provider` on PORT, or on a free port; stop it when the block ends."""
        port = int(settings.get("PORT") or free_port())
        process = subprocess.Popen(
            [self._bin / "vkweb", "provider"],
            cwd=self.cwd,
            env=self._environment({"PORT": str(port), "WORKERS": "1", **settings}),
            start_new_session=True,
        )
        try:
            assert eventually(lambda: process.poll() is not None or is_ready(port), seconds=60)
            with closing(Client(port)) as client:
                yield client
            process.terminate()
            assert process.wait(40) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        return {**CLEAN, "PATH": f"{self._bin}:{CLEAN['PATH']}", "LOG_FORMAT": "json", **settings}


def is_ready(port: int) -> bool:
    """Return whether a provider answers on a port."""
    with closing(Client(port)) as client:
        try:
            return client.get("/readyz").code == 200
        except OSError:
            return False


def phase(client: Client, pod: dict[str, Any]) -> str:
    """Return the phase of a pod's status."""
    names = {name: pod["metadata"][name] for name in ("namespace", "name")}
    found: str = client.get("/getPodStatus", **names).json()["phase"]
    return found
