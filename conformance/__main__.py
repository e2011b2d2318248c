"""Command line: `python -m conformance http://host:port`."""

import argparse
import signal
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from conformance.check import Check
from conformance.checks import ALL
from conformance.client import ProviderClient, Target
from conformance.report import as_json, as_junit, table
from conformance.run import conforms, run

_DESCRIPTION = """Check whether Virtual Kubelet can use a web provider. The checks create pods in their own
namespaces and delete them afterwards. Do not run them on a provider that a broker is using."""
_EPILOG = """Exit status: 0 if the provider conforms: all required checks pass, and all checks of the extensions
that it offers; 1 if it does not conform; 2 if the arguments are invalid or the provider cannot be reached."""


def main(arguments: list[str] | None = None) -> int:
    """Check a provider and print the results; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        target = Target.parse(options.url, token=options.token)
    except ValueError as exc:
        parser.error(str(exc))
    checks = _selected(options.only)
    if not checks:
        parser.error(f"no check matches {' or '.join(options.only)}")
    try:
        ProviderClient(target).connect().close()
    except OSError as exc:
        parser.error(f"{target.url} cannot be reached: {exc}")
    signal.signal(signal.SIGTERM, _interrupt)
    results = list(run(checks, target))
    sys.stdout.write(as_json(results, target) if options.json else table(results, target))
    if options.junit:
        options.junit.write_bytes(as_junit(results, target))
    return 0 if conforms(results) else 1


def _selected(patterns: list[str]) -> list[Check]:
    return [check for check in ALL if any(fnmatchcase(check.name, pattern) for pattern in patterns)]


def _interrupt(*_: object) -> None:
    """Exit as on Ctrl-C, so that the pods of the running check are deleted."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "vkweb conformance",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("url", help="base URL of the provider, such as http://127.0.0.1:3000")
    parser.add_argument("--token", help="bearer token to send")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write the results to FILE as JUnit XML")
    parser.add_argument(
        "--only",
        nargs="+",
        default=["*"],
        metavar="PATTERN",
        help="run only the checks that match, such as 'reads.*'",
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
