"""Errors of a YAML document: the line and the path of each field."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from broker.errors import ConfigurationError
from broker.yaml_document import decode, parse_document


class Small(BaseModel, extra="forbid"):
    kind: Literal["small"]
    count: int = 1


class Large(BaseModel, extra="forbid"):
    kind: Literal["large"]
    zones: list[str] = Field(default=[], min_length=1)


class Document(BaseModel, extra="forbid"):
    seed: int = 0
    pools: list[Annotated[Small | Large, Field(discriminator="kind")]] = []


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parse_document(text, Document, name="f.yaml")
    return str(raised.value).splitlines()


def test_a_valid_document_is_a_model() -> None:
    text = "pools:\n- &a {kind: small, count: 3}\n- *a\n"
    assert parse_document(text, Document, name="f.yaml") == Document(pools=[Small(kind="small", count=3)] * 2)
    assert parse_document("", Document, name="f.yaml") == Document()


def test_each_error_has_its_line_and_path() -> None:
    text = """\
seed: x
pools:
- kind: small
  cuont: 2
- kind: large
  zones:
  - a
  - [b]
- count: 1
- kind: huge
- 7
"""
    assert errors(text) == [
        "f.yaml:1: seed: must be a valid integer, unable to parse string as an integer",
        "f.yaml:4: pools[0].cuont: no such field here; is it count?",
        "f.yaml:8: pools[1].zones[1]: must be a text",
        "f.yaml:9: pools[2].kind: must be set",
        "f.yaml:10: pools[3].kind: must be one of 'small', 'large'",
        "f.yaml:11: pools[4]: must be a mapping",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: [", "f.yaml:1: expected the node content, but found '<stream end>'"),
        ("seed: 1\npools: []\nseed: 2", "f.yaml:3: seed: is there twice"),
        ("{[a]: 1}", "f.yaml:1: has a key that is not a text"),
        ("- 1", "f.yaml:1: must be a mapping"),
        ("seed: &a [*a]", "f.yaml:1: seed[0][0]: is nested too deeply"),
        ("seed: *b", "f.yaml:1: found undefined alias 'b'"),
        ("seed: 1\na: \x00", "f.yaml:2: the character #x0000 is not allowed"),
        ("seed: 1\npools: 2026-13-45", "f.yaml:2: pools: is not a value of its type"),
        ("seed: 1\npools:\n  - !!int x", "f.yaml:3: pools[0]: is not a value of its type"),
        ("[" * 5000, "f.yaml:1: is nested too deeply"),
        ("seed: 1\n---\nseed: 2", "f.yaml:2: but found another document"),
    ],
)
def test_a_malformed_document_is_one_error(text: str, error: str) -> None:
    (found,) = errors(text)
    assert found.startswith(error)


@pytest.mark.parametrize("key", ["yes", "0x10", "2026-11-28", "2026-13-45", "~", "[a]"])
def test_keys_that_are_no_texts_have_their_line(key: str) -> None:
    assert errors(f"seed: 1\n? {key}\n: 1\n") == ["f.yaml:2: has a key that is not a text; quote it"]


def test_a_merged_field_has_its_line() -> None:
    text = "pools:\n- &a\n  kind: small\n  count: x\n-\n  <<: *a\n"
    assert [found.split(": ")[:2] for found in errors(text)] == [
        ["f.yaml:4", "pools[0].count"], ["f.yaml:4", "pools[1].count"],
    ]  # fmt: skip


def test_many_aliases_take_no_time() -> None:
    levels = [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 40)]
    found = errors("\n".join(["a0: &a0 [x]", *levels]))
    assert len(found) == 40


def test_a_document_that_is_not_utf_8_has_a_line() -> None:
    assert decode("seed: ü\n".encode(), name="f.yaml") == "seed: ü\n"
    with pytest.raises(ConfigurationError, match=r"^f\.yaml:2: is not UTF-8$"):
        decode(b"seed: 1\npools: \xff", name="f.yaml")
