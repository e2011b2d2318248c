"""Variables whose values are in a file of an emptyDir, which an init container has written: `fileKeyRef`.

A value is known only when its container starts. So the plan has a marker where it goes, a number between two NULs:
in the environment, also in the values of other variables, in the command and in a `subPath`.

Source: `makeEnvironmentVariables` and `ParseEnv` of the kubelet.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

_MARKER = re.compile("\0([0-9]+)\0")


class EnvFileError(Exception):
    """A mandatory variable has no value; the argument is the message of the kubelet."""


def marker(number: int) -> str:
    """Return the marker of a variable. No other text of a plan has a NUL."""
    return f"\0{number}\0"


def with_values(container: dict[str, Any], read: Callable[[str, str], bytes]) -> dict[str, Any]:
    """Return a container of the plan with values in the place of markers.

    Args:
        container: `env_files` has for each number `name`, `volume`, `path`, `key` and `optional`.
        read: returns a file of a volume; raises OSError.

    Raises:
        EnvFileError: a mandatory variable has no value.
    """
    files: Mapping[str, dict[str, Any]] = container.get("env_files") or {}
    if not files:
        return container
    values = {number: _value(file, read) for number, file in files.items()}

    def filled(text: str) -> str:
        # A reference to a variable that does not exist stays as it is.
        return _MARKER.sub(lambda found: values[found[1]] or f"$({files[found[1]]['name']})", text)

    unset = {(file["name"], marker(int(number))) for number, file in files.items() if not values[number]}
    return {
        **container,
        "argv": [filled(word) for word in container["argv"]],
        "env": {name: filled(value) for name, value in container["env"].items() if (name, value) not in unset},
        "mounts": [
            {**mount, "sub_path": filled(mount["sub_path"]) if mount["sub_path"] else mount["sub_path"]}
            for mount in container["mounts"]
        ],
    }


def _value(file: dict[str, Any], read: Callable[[str, str], bytes]) -> str:
    try:
        value = parse(read(file["volume"], file["path"]).decode(), file["key"])
    except (OSError, ValueError) as exc:
        raise EnvFileError("couldn't parse env file") from exc
    if not value and not file["optional"]:
        raise EnvFileError(f'environment variable key "{file["key"]}" not found in file "{file["path"]}"')
    return value


def parse(text: str, key: str) -> str:
    r"""Return the value of a variable in a file; empty if it has none.

    Lines are comments, or variables with values in single quotes, which may have line feeds. `KEY= 'value'` is an
    empty value, as in a shell.

    >>> parse("# ports\nHTTP='80' # plain\nHTTPS='443'", "HTTPS")
    '443'

    Raises:
        ValueError: a line before the variable has another form.
    """
    lines = iter(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    for line in lines:
        assignment = line.lstrip(" \t")
        if not assignment or assignment.startswith("#"):
            continue
        name, equals, value = assignment.partition("=")
        if not equals or not name or name != name.rstrip(" \t"):
            raise ValueError("not an assignment")
        if value.startswith((" ", "\t")):
            if name == key:
                return ""
            continue
        if not value.startswith("'"):
            raise ValueError("a value without single quotes")
        quoted = value[1:]
        while "'" not in quoted:
            following = next(lines, None)
            if following is None:
                raise ValueError("a quote without an end")
            quoted += f"\n{following}"
        value, _, rest = quoted.partition("'")
        if rest.strip(" \t") and not rest.lstrip(" \t").startswith("#"):
            raise ValueError("text after a value")
        if name == key:
            return value
    return ""
