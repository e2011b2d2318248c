"""Reads a YAML document into a pydantic model; each error names the line and the path of its field."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from broker.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)
Part = str | int
_ABSENT = ("missing", "union_tag_not_found")
"""Errors of fields that are not in the document."""
_DEEPEST = 50
_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_MESSAGES = {
    "missing": "must be set",
    "union_tag_not_found": "must be set",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be a text",
    "too_short": "must not be empty",
}
"""Errors of pydantic in the words of YAML."""


def parse_document(text: str, model: type[Model], *, name: str) -> Model:
    """Parse a YAML document with one mapping.

    Args:
        text: the document.
        model: model of the mapping. A validator of several fields can raise a :func:`field_error`.
        name: name of the file, for errors.

    Raises:
        ConfigurationError: the document is invalid; the message has a line for each error, such as
            `fleet.yaml:7: pools[0].count: must be greater than 0`.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if problems := [_line(name, *found) for found in _problems(root, set())]:
            raise ConfigurationError("\n".join(problems))
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as exc:
        raise ConfigurationError(_syntax_error(name, text, exc)) from None
    except RecursionError:
        raise ConfigurationError(f"{name}:1: is nested too deeply") from None
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        found = [_problem(root, error, model) for error in errors if not _follows(error, errors)]
        raise ConfigurationError("\n".join(_line(name, *each) for each in sorted(found))) from None


def decode(document: bytes, *, name: str) -> str:
    """Decode a document.

    Raises:
        ConfigurationError: it is not UTF-8; the message has the line.
    """
    try:
        return document.decode()
    except UnicodeDecodeError as exc:
        line = document.count(b"\n", 0, exc.start) + 1
        raise ConfigurationError(f"{name}:{line}: is not UTF-8") from None


def field_error(message: str, *location: Part) -> PydanticCustomError:
    """Return an error for a validator of several fields.

    Args:
        message: what is wrong.
        location: path of the wrong field, from that of the validator.
    """
    return PydanticCustomError("field", "{message}", {"message": message, "location": location})


def locate(text: str, location: Sequence[Part], *, name: str) -> str:
    """Return the line and the path of a field of a valid document, as an error has them."""
    node, line = yaml.compose(text, yaml.SafeLoader), 1
    for part in location:
        if (found := _child(node, part)) is not None:
            node, line = found
    return f"{name}:{line}: {_path(location)}"


def _line(name: str, line: int, path: str, message: str) -> str:
    return f"{name}:{line}: {path}: {message}" if path else f"{name}:{line}: {message}"


def _syntax_error(name: str, text: str, error: yaml.YAMLError) -> str:
    """Return the error of a document that is not YAML."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{name}:{line}: the character #x{error.character:04x} is not allowed"
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error)
    return f"{name}:{mark.line + 1 if mark else 1}: {' '.join(message.split())}"


def _problems(
    node: yaml.Node | None, visited: set[int], path: tuple[Part, ...] = ()
) -> Iterator[tuple[int, str, str]]:
    """Yield each scalar without a value, such as the date 2026-13-45, each key that is no text or there twice.

    YAML forbids duplicate keys, and the library ignores the first. A node with several aliases is visited once.
    """
    if node is None or (id(node) in visited and len(path) <= _DEEPEST):
        return
    line = node.start_mark.line + 1
    if len(path) > _DEEPEST:
        yield line, _path(path[:3]), "is nested too deeply"
    elif isinstance(node, yaml.ScalarNode):
        if not _has_value(node):
            yield line, _path(path), "is not a value of its type; quote a text"
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            at = key.start_mark.line + 1
            if key.tag not in (_TEXT, _MERGE):
                yield at, _path(path), "has a key that is not a text; quote it"
                continue
            if key.value in seen:
                yield at, _path([*path, key.value]), "is there twice"
            seen.add(key.value)
            yield from _problems(value, visited, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _problems(item, visited, (*path, index))
    visited.add(id(node))


def _has_value(node: yaml.ScalarNode) -> bool:
    """Return whether a scalar has a value of its type; the date 2026-13-45 has none."""
    try:
        yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError, yaml.YAMLError):
        return False
    return True


def _follows(error: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether an error follows from others: pydantic counts the valid items of a list."""
    location = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(location) and other["loc"][: len(location)] == location for other in errors
    )


def _problem(root: yaml.Node | None, error: Mapping[str, Any], model: type[BaseModel]) -> tuple[int, str, str]:
    """Return line, path and message of an error of the model.

    The location of an error may have parts that are not in the document: the tag of a union, a missing field.
    """
    type_, context = error["type"], error.get("ctx", {})
    location = [*error["loc"], *context.get("location", ())]
    if type_.startswith("union_tag"):
        location.append(context["discriminator"].strip("'"))
    line, path = root.start_mark.line + 1 if root else 1, []
    node = root
    for position, part in enumerate(location):
        if (found := _child(node, part)) is not None:
            node, line = found
            path.append(part)
        elif type_ in _ABSENT and position == len(location) - 1:
            path.append(part)
    return line, _path(path), _message(error, location, model)


def _message(error: Mapping[str, Any], location: Sequence[Part], model: type[BaseModel]) -> str:
    match error["type"]:
        case "union_tag_invalid":
            return f"must be one of {error['ctx']['expected_tags']}"
        case "extra_forbidden":
            close = difflib.get_close_matches(str(location[-1]), _property_names(model.model_json_schema()), n=1)
            known = close and close[0] != location[-1]
            return f"no such field here; is it {close[0]}?" if known else "no such field here"
        case type_:
            # The messages of pydantic begin with the type: "Input should be a valid integer".
            own = re.sub(r"^\w+ should ", "must ", error["msg"].removeprefix("Value error, "))
            return _MESSAGES.get(type_, own)


def _child(node: yaml.Node | None, part: Part) -> tuple[yaml.Node, int] | None:
    """Return a part of a node and its line; None where the node has no such part."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark.line + 1
        merged = [value for key, value in node.value if key.tag == _MERGE]
        return next(filter(None, (_child(value, part) for value in merged)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark.line + 1
    return None


def _path(parts: Sequence[Part]) -> str:
    """Return the path of a field.

    >>> _path(["pools", 0, "zones"])
    'pools[0].zones'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


def _property_names(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of all fields in a JSON Schema."""
    return {name for each in (schema, *schema.get("$defs", {}).values()) for name in each.get("properties", ())}
