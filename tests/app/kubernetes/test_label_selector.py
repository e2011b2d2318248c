"""The grammar of label selectors."""

import re
from typing import Any

import pytest

from app.kubernetes.label_selector import Requirement, parse_label_selector

EXACT = "in", ("web",)
ACCEPTED: dict[str, list[tuple[Any, ...]]] = {
    "": [],
    "  ": [],
    "app": [("app", "exists", ())],
    "!app": [("app", "does not exist", ())],
    "! app": [("app", "does not exist", ())],
    "app=web": [("app", *EXACT)],
    " app == web ": [("app", *EXACT)],
    "app=": [("app", "in", ("",))],
    "app!=web": [("app", "not in", ("web",))],
    "app in (web)": [("app", *EXACT)],
    "app in (in, notin)": [("app", "in", ("in", "notin"))],
    "in in (a)": [("in", "in", ("a",))],
    "app notin (a,,b)": [("app", "not in", ("a", "", "b"))],
    "app in ()": [("app", "in", ("",))],
    "size>5": [("size", "greater than", ("5",))],
    "size < 5": [("size", "less than", ("5",))],
    "app.kubernetes.io/name=web,!x,y": [
        ("app.kubernetes.io/name", *EXACT), ("x", "does not exist", ()), ("y", "exists", ()),
    ],
}  # fmt: skip
REFUSED = {
    ",": 'found ",", expected the key of a label',
    "app,": 'found "the end", expected the key of a label',
    "app web": 'found "web", expected one of =',
    "!app=web": 'found "=", expected ","',
    "app in web": 'found "web", expected "("',
    "app in (a b)": 'found "b", expected ")"',
    "app in (a": 'found "the end", expected ")"',
    "app=a=b": 'found "=", expected ","',
    "size>big": '"big" is not a number',
    "size>": '"" is not a number',
    "-app": '"-app" is no label key',
    "Example.com/app": "is no label key",
    f"{'a' * 254}/app": "is no label key",
    f"{'a' * 64}": "is no label key",
    "app=-a": '"-a" is no label value',
    f"app={'a' * 64}": "is no label value",
    'a"b': "is no label key",
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_selector_has_requirements(text: str) -> None:
    assert parse_label_selector(text) == tuple(Requirement(*parts) for parts in ACCEPTED[text])


@pytest.mark.parametrize("text", REFUSED)
def test_a_malformed_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(REFUSED[text])):
        parse_label_selector(text)
