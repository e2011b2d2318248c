"""The contents of the image, without Docker: the files that the Dockerfile copies, and the pinned libraries."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.broker.conftest import api, authority
from tests.server import CLEAN, ROOT

__all__ = ["api", "authority"]  # fixtures

DOCKERFILE = (ROOT / "Dockerfile").read_text()


class Image:
    """The image's two folders, `/srv` and `/opt/venv`, below a temporary folder.

    The environment contains the distributions of requirements.txt, and no others, linked from the environment of
    the tests, where `make` has installed them from the same file. Nothing is downloaded.
    """

    def __init__(self, folder: Path) -> None:
        self.srv = folder / "srv"
        self.venv = folder / "venv"
        self.srv.mkdir()
        for source in copied():
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, self.srv / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, self.srv / source)
        venv.create(self.venv, symlinks=True)
        for name in required(self.srv / "requirements.txt"):
            self._install(distribution(name))
        (compiled,) = re.findall(r"RUN /opt/venv/bin/python (-m compileall .*) \\$", DOCKERFILE, re.MULTILINE)
        subprocess.run([self.venv / "bin" / "python", *compiled.split()], cwd=self.srv, check=True)
        target, link = re.findall(r"ln -s /srv/(\S+) /opt/venv/(\S+)", DOCKERFILE)[0]
        self.command = self.venv / link
        self.command.symlink_to(self.srv / target)

    @contextmanager
    def running(self, *arguments: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start `vkweb ARGUMENTS` as in the image; kill it when the block ends."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.command, *arguments],
                cwd=self.srv,
                env=self._environment(environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `vkweb ARGUMENTS` as in the image and wait for it."""
        return subprocess.run(
            [self.command, *arguments],
            cwd=self.srv,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = f"{self.venv}/bin:/usr/bin:/bin"
        return {**CLEAN, "PATH": path, "LOG_FORMAT": "json", "PYTHONDONTWRITEBYTECODE": "1", **more}

    def _install(self, found: Distribution) -> None:
        (packages,) = self.venv.glob("lib/python*/site-packages")
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(found.locate_file(top)))
        for script in found.entry_points.select(group="console_scripts"):
            path = self.venv / "bin" / script.name
            path.write_text(
                f"#!{self.venv}/bin/python\nimport sys\nfrom {script.module} import {script.attr}\n"
                f"sys.exit({script.attr}())\n"
            )
            path.chmod(0o755)


def copied() -> Sequence[str]:
    """Return the paths that the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def required(requirements: Path) -> Sequence[str]:
    """Return the names of the distributions in requirements.txt that this platform needs."""
    lines = re.findall(r"^(\S.*?) \\$", requirements.read_text(), re.MULTILINE)
    found = [Requirement(line) for line in lines]
    return [each.name for each in found if each.marker is None or each.marker.evaluate()]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image's files."""
    assert sys.prefix != sys.base_prefix, "the tests need a virtual environment: make test"
    return Image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def database_kind() -> str:
    """The entry points do not depend on the database."""
    return "sqlite"
