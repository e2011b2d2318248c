"""The commands of `vkweb` in the documents exist, with their options."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from broker.settings import Settings
from tests.documents import page
from tests.server import ROOT
from vkweb.cli import cli

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUBSTITUTION = re.compile(r'"?\$\((vkweb [^)]*)\)"?')
COMMAND = re.compile(r"((?:\b[A-Z_]+=\S+ )*)\bvkweb ((?:'[^']*'|[^|<>;&#\n`'])*)")


def in_fences(text: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield environment and words of each command that a reader is to run."""
    for block in FENCE.findall(text):
        for environment, words in COMMAND.findall(SUBSTITUTION.sub(r"\1", block.replace("\\\n", " "))):
            assignments = (word.partition("=") for word in shlex.split(environment))
            yield {name: value for name, _, value in assignments}, shlex.split(words)


def in_prose(text: str) -> Iterator[list[str]]:
    """Yield the words of each command that a text quotes."""
    for quoted in re.findall(r"`([^`\n]*\bvkweb [^`\n]*)`", FENCE.sub("", text)):
        for _, words in COMMAND.findall(SUBSTITUTION.sub(r"\1", quoted.replace("\\|", "|"))):
            yield shlex.split(words)


def check(words: list[str]) -> None:
    """Check that a command and its options exist, apart from options of the broker."""
    command: click.Command = cli
    words = list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(command)
        found = command.get_command(context, words[0])
        assert found, f"{words[0]} is no command of {command.name}"
        command = found
        words.pop(0)
    if command.name in ("up", "broker", "conformance"):
        return
    known = {
        "--help",
        "-h",
        "--",
        *(name for option in command.params for name in (*option.opts, *option.secondary_opts)),
    }
    for word in words:
        assert not re.match(r"--?\w", word) or word.partition("=")[0] in known, f"{command.name}: {word}"


@pytest.mark.parametrize("path", PAGES)
def test_the_commands_exist(path: str) -> None:
    for words in [*in_prose(page(path)), *(words for _, words in in_fences(page(path)))]:
        check(words)


@pytest.mark.parametrize("path", PAGES)
def test_the_broker_starts_with_the_options(path: str) -> None:
    """`vkweb up` sets WEB_ENDPOINT_URL by itself."""
    for environment, (command, *options) in in_fences(page(path)):
        if command in ("up", "broker"):
            url = {"WEB_ENDPOINT_URL": "http://127.0.0.1:3000"} if command == "up" else {}
            Settings.load([word for word in options if word != "--"], {**url, **environment})


def leaves(group: click.Group) -> Iterator[tuple[str, int]]:
    """Yield the summary of each command, and the width that a list of commands on 80 columns has for it."""
    context = click.Context(group)
    names = group.list_commands(context)
    for name in names:
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from leaves(command)
        else:
            yield command.get_short_help_str(1000), 80 - 6 - max(map(len, names))


def test_summaries_fit_into_a_list_of_commands() -> None:
    assert [summary for summary, width in leaves(cli) if len(summary) > width] == []
