"""Check that the lock files are those of pyproject.toml, without a resolver and without a network.

A lock file names the origin of each package (`# via virtual-kubelet-web (pyproject.toml)`), so that the direct
dependencies in it can be compared with the declared ones: the names have to be the same, and each locked version
has to satisfy its declaration. Exits with a line per difference.
"""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PACKAGE = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*\n((?:[ #].*\n)*)", re.MULTILINE)


def differences(lock: str, declared: dict[str, list[str]]) -> list[str]:
    """Return a line for each difference between a lock file and the declared requirements.

    Args:
        lock: the text of the lock file.
        declared: the requirements by the origin that the lock file names, such as `pyproject.toml:dev`.
    """
    locked = {canonicalize_name(name): (version, origin) for name, version, origin in _PACKAGE.findall(lock)}
    found = []
    for origin, requirements in declared.items():
        wanted = {canonicalize_name(r.name): r for r in map(Requirement, requirements)}
        direct = {name for name, (_, origins) in locked.items() if f"({origin})" in origins}
        found += [f"{name} is not locked" for name in sorted(wanted.keys() - direct)]
        found += [f"{name} is locked, but not declared" for name in sorted(direct - wanted.keys())]
        found += [
            f"{name} is locked at {locked[name][0]}, which is not {wanted[name].specifier}"
            for name in sorted(wanted.keys() & direct)
            if not wanted[name].specifier.contains(locked[name][0], prereleases=True)
        ]
    return found


def main() -> None:
    """Check both lock files of the current folder."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    run = {"pyproject.toml": project["project"]["dependencies"]}
    dev = {**run, "pyproject.toml:dev": project["dependency-groups"]["dev"]}
    texts = {name: Path(name).read_text() for name in ("requirements.txt", "requirements-dev.txt")}
    found = [
        f"{name}: {line}"
        for (name, text), declared in zip(texts.items(), (run, dev), strict=True)
        for line in differences(text, declared)
    ]
    first, second = [{name: version for name, version, _ in _PACKAGE.findall(text)} for text in texts.values()]
    found += [f"{name} differs between the lock files" for name in first if first[name] != second.get(name)]
    if found:
        sys.exit("\n".join([*found, "run `make lock`"]))


if __name__ == "__main__":
    main()
