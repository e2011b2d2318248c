"""A copy of the shim in the shared file system: the provider may be installed on its own machine alone."""

import hashlib
import shutil
from pathlib import Path
from tempfile import mkdtemp

import app.runtimes.process.shim as package

_SOURCE = Path(package.__file__).parent


def install_shim(root: Path) -> Path:
    """Copy the package `shim` into a directory named after its content, unless it is there; return the directory.

    Jobs of earlier versions keep theirs.

    Raises:
        OSError: it cannot be written.
    """
    files = sorted(_SOURCE.glob("*.py"))
    content = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files))
    target = root / f".shim-{content.hexdigest()[:16]}"
    if target.exists():
        return _readable(target)
    temporary = Path(mkdtemp(prefix=".shim-", dir=root))
    (temporary / "shim").mkdir()
    for path in files:
        shutil.copyfile(path, temporary / "shim" / path.name)
    try:
        temporary.rename(target)
    except OSError:
        shutil.rmtree(temporary)
        if not target.exists():
            raise
    return _readable(target)


def _readable(directory: Path) -> Path:
    """Make a copy readable for all users, and return it."""
    for path in (directory, directory / "shim"):
        path.chmod(0o755)
    for path in (directory / "shim").glob("*.py"):
        path.chmod(0o644)
    return directory
