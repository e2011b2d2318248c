"""The command: `python -m conformance http://host:port`."""

import argparse
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.check import Check
from conformance.checks import ALL
from conformance.provider import Provider, Target
from conformance.report import as_json, as_junit, table
from conformance.run import conforms, run

_DESCRIPTION = """Check whether a web provider answers as Virtual Kubelet needs it. It creates pods in namespaces
of its own and deletes them again; a provider that a broker is using is not the place."""
_EPILOG = """The exit status is 0 where the provider conforms: all that is required is there, and the extensions
that it offers are right; 1 where it does not; 2 where it could not be asked."""


def main(arguments: list[str] | None = None) -> int:
    """Check a provider and say what came of it; give the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        target = Target.parse(given.url, token=given.token)
    except ValueError as exc:
        parser.error(str(exc))
    checks = _chosen(given.only)
    if not checks:
        parser.error(f"no check has a name like {' or '.join(given.only)}")
    try:
        Provider(target).connect().close()
    except OSError as exc:
        parser.error(f"{target.url} cannot be reached: {exc}")
    signal.signal(signal.SIGTERM, _leave)
    results = list(run(checks, target))
    sys.stdout.write(as_json(results, target) if given.json else table(results, target))
    if given.junit:
        given.junit.write_bytes(as_junit(results, target))
    return 0 if conforms(results) else 1


def _chosen(patterns: list[str]) -> list[Check]:
    return [check for check in ALL if any(fnmatchcase(check.name, pattern) for pattern in patterns)]


def _leave(*_: object) -> None:
    """End as Ctrl-C does: the pods of the check that is being tried are let go."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m conformance",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("url", help="where the provider is, such as http://127.0.0.1:3000")
    parser.add_argument("--token", help="the bearer token that it wants")
    parser.add_argument("--json", action="store_true", help="write JSON in place of a table")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results to a file, for a CI server")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="PATTERN", help="only checks of these names, such as 'reads.*'"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
