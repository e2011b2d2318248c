"""Prose and names: the words of the vocabulary of CONTRIBUTING; docstrings that start with a plain verb."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.server import ROOT

PLAIN = {
    # Pods
    "let a pod go": "delete a pod",
    "lets a pod go": "deletes a pod",
    "let the pod go": "delete the pod",
    "let go": "delete",
    "lets go": "deletes",
    "lets it go": "deletes it",
    "take a pod on": "create a pod",
    "takes a pod on": "accepts a pod",
    "a pod's life": "a pod's timeline",
    "life of a pod": "timeline of a pod",
    "life of pods": "timelines of pods",
    "synthetic life": "simulation",
    "course of its life": "timeline",
    "course of its statuses": "timeline",
    "course of a pod": "timeline of a pod",
    "a whole life": "a complete timeline",
    "have every course go on": "compute all overdue statuses",
    "course goes on": "timeline continues",
    "courses go on": "timelines continue",
    "falls due": "becomes due",
    "fell due": "became due",
    "what becomes of": "the changes of",
    "what became of": "the history of",
    "live again": "be recreated",
    # Node
    "says of itself": "reports (name the fields)",
    "what the node has": "the capacity of the node",
    "be a node until": "run until",
    "be a node of": "run a node of",
    "come to an end": "end",
    "comes to an end": "ends",
    "in good order": "(leave out: say what is drained)",
    # Database and audit log
    "goes on record": "is recorded",
    "go on record": "are recorded",
    "put on record": "record",
    "is on record": "is recorded",
    "stays on record": "is kept",
    "stay on record": "are kept",
    "its turn": "its transaction",
    "the turn of": "the transaction of",
    "a question of": "a report of",
    "ask the database": "query the database",
    "asks the database": "queries the database",
    "takes the place of": "replaces",
    "with a SQL prompt": "SQL users",
    # Riddles and metaphors
    "at the door": "(say where it is checked)",
    "by the api server's word": "by the API server",
    "without a word": "without a record",
    "has it that": "(name the rule)",
    "has in store": "is scheduled for",
    "what is to be done": "the action",
    "who knows": "(name the subject)",
    "for looking only": "read-only",
    "nobody looked at": "that was not read",
    "looks at the clock": "reads the clock",
    "look at the clock": "read the clock",
    "look at it": "read it",
    "looking for it": "polling it",
    "to have at hand": "to have available",
    "at hand": "available",
    "of one's own": "of your own",
    "as one reads it": "as it is read",
    "a look at": "a read of",
    "must bear": "requires",
    "shall have": "has",
    "for want of": "without",
    "all of it can be had anew": "it can be rebuilt",
    "can be had": "is available",
    "anew": "again",
    "whoever": "a client that, a user who",
    "whichever way": "(name the ways)",
    "befall": "fail",
    "befalls": "fails",
    "the seam": "the runtime interface",
    "goes well": "succeeds",
    "went well": "succeeded",
    "it is told": "it receives",
    "is told it": "receives it",
    "was told": "received",
    "were told": "received",
    "no pod is here": "no pods match",
    "it is so": "it holds",
    "that is so": "that matches",
    "and its kin": "and related functions",
    "so far as": "as far as",
    "comes of it": "the consequence",
    "what is asked of": "the request to",
    "asked of it": "requested",
    "hears of": "receives",
    "has to say": "reports",
    "something to say": "a field",
    "an end in good": "a clean exit",
    "stands still": "does not change",
    "the sooner of": "the earlier of",
}
"""A phrase, in lower case, and what to write instead."""

OPENERS = {
    "be": "run",
    "find out": "return, detect",
    "give": "return, yield",
    "have": "(name the action)",
    "lend": "yield",
    "let": "(name the action)",
    "look": "read, poll, reconcile",
    "say": "return, report, log",
    "tell": "return, report",
    "what": "(name the noun)",
    "who": "(name the noun)",
}
"""The first words of a docstring, in lower case, and what to write instead."""

VOCABULARY = re.compile(r"^## vocabulary$.*?^## ", re.MULTILINE | re.DOTALL)
"""The section of CONTRIBUTING that lists words not to use."""

NAMES = {
    "course": "timeline",
    "courses": "timelines",
    "facts": "(name the fields)",
    "life": "lifetime, timeline",
    "lives": "timelines",
    "look": "read, poll",
    "looked": "read, polled",
    "looks": "reads",
    "question": "request, query, report",
    "questions": "requests, queries, reports",
    "seam": "runtime",
    "steering": "annotations",
    "tell": "report",
    "told": "reported",
    "trail": "audit_log",
}
"""A word of an identifier, in lower case, and what to write instead."""

FOLDERS = ("app", "benchmarks", "broker", "conformance", "docs", "helm", "migrations", "tests", "vkweb")
SCANNED = [
    *ROOT.glob("*.md"),
    ROOT / "Makefile",
    ROOT / "Dockerfile",
    *(
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".md", ".py", ".html", ".yaml", ".tpl", ".txt", ".json"}
        and path != Path(__file__)
        and "data" not in path.parent.parts
    ),
]


def findings(paths: Iterable[Path]) -> Iterator[str]:
    """Yield a line for each banned phrase in the files, with its replacement."""
    phrases = {phrase: pattern(phrase) for phrase in PLAIN}
    for path in paths:
        text = VOCABULARY.sub(lambda table: "\n" * table[0].count("\n"), path.read_text().lower())
        for phrase, regex in phrases.items():
            if phrase.split()[0] not in text:
                continue
            for match in regex.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f'{path.relative_to(ROOT)}:{line}: "{phrase}"; write: {PLAIN[phrase]}'
        if path.suffix == ".py":
            yield from openers(path)
            yield from names(path)


def names(path: Path) -> Iterator[str]:
    """Yield a line for each name that a module gives and that has a banned word, with its replacement."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name)
            ):
                pass
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):  # a sentence
                    continue
            case _:
                continue
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name):
            if plain := NAMES.get(word.lower()):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {name}; write: {plain}"


def openers(path: Path) -> Iterator[str]:
    """Yield a line for each docstring of a module that starts with a banned word, with its replacement."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = (ast.get_docstring(node) or "").lower()
        for opener, plain in OPENERS.items():
            if re.match(rf"{opener}\b", docstring):
                line = node.body[0].lineno
                yield f'{path.relative_to(ROOT)}:{line}: docstring starts with "{opener}"; write: {plain}'


def pattern(phrase: str) -> re.Pattern[str]:
    """Return a pattern for whole words, which may be on two lines of a comment."""
    return re.compile(r"\b" + r"\s+(?:#\s+)?".join(map(re.escape, phrase.split())) + r"\b")


@pytest.mark.parametrize("path", SCANNED, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_and_names_have_no_banned_phrase(path: Path) -> None:
    found = list(findings([path]))
    assert not found, "\n".join(found)


def test_a_phrase_is_found_across_lines() -> None:
    assert pattern("whoever asks").search("# whoever\n    # asks")
    assert not pattern("anew").search("an answer")


if __name__ == "__main__":
    sys.stdout.write("\n".join(findings(SCANNED)))
