"""Writes docs/configuration.md, `make docs`: every setting with its default, from where the programs have them."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from app.core.settings import Settings as ProviderSettings
from broker.settings import Settings as BrokerSettings
from broker.settings import flag, variable

CHART = Path(__file__).parent.parent / "helm"
DEPENDING = {"host", "workers"}
"""Settings of the provider whose default depends on others or on the machine; the description says how."""

PAGE = """\
# Configuration

`make docs` writes this page. An invalid value stops the start with a line that names the setting, and so does a
variable whose name is very similar to that of a setting, such as `DATABSE_URL`. Other unknown variables are
ignored, a misspelt short name such as `PROT` too: the log of a start lists the settings that differ from the
defaults, secrets redacted.

## The provider

Settings come from the environment. `vkweb config` prints those in force, secrets redacted.

{provider}

## The broker

A flag goes before its variable. `PROVIDER_TOKEN` has no flag, for any user of a machine sees those. Durations are
such as `500ms`, `10s` or `2m`.

{broker}

## The chart

`helm install … --set NAME=VALUE`, or `--values FILE`. Other settings of the two programs go into `broker.env` and
`provider.env`.

{chart}
"""


def page() -> str:
    """Return the document."""
    return PAGE.format(
        provider=_table(("Variable", "Default", ""), _provider()),
        broker=_table(("Flag", "Variable", "Default", ""), _broker()),
        chart=_table(("Value", "Default", ""), _chart()),
    )


def _provider() -> Iterator[tuple[str, ...]]:
    in_force = ProviderSettings.model_validate({}).in_force()
    for name, field in ProviderSettings.model_fields.items():
        default = "" if name in DEPENDING else in_force[name.upper()]
        yield _code(name.upper()), _code("" if default == "[]" else default), field.description or ""


def _broker() -> Iterator[tuple[str, ...]]:
    for name, field in BrokerSettings.model_fields.items():
        lone = "" if name == "provider_token" else _code(flag(name))
        default = "" if field.is_required() or field.default_factory else _formatted(field.default)
        required = " (required)" if field.is_required() else ""
        yield lone, _code(variable(name)), _code(default), f"{field.description}{required}"


def _formatted(default: object) -> str:
    match default:
        case None | {}:
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}s"
    return str(default)


def _chart() -> Iterator[tuple[str, ...]]:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path, description in _leaves(schema):
        value: Any = values
        for name in path:
            value = value[name]
        yield _code(".".join(path)), _code(_as_yaml(value)), description


def _leaves(schema: Mapping[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each value of the schema that has no values of its own."""
    within = {name: each for name, each in schema.get("properties", {}).items() if "description" in each}
    if not within:
        yield path, schema["description"]
    for name, each in within.items():
        if name != "global":
            yield from _leaves(each, *path, name)


def _as_yaml(value: object) -> str:
    if value in ("", {}, []):
        return ""
    if isinstance(value, str):
        return value
    return re.sub(r'"([\w./]+)"', r"\1", json.dumps(value)).strip()


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    sys.stdout.write(page())
