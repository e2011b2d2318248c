"""`vkweb attention`."""

from flask import Flask

from tests.app.audit.recorded import at
from tests.app.cli.conftest import Run, objects, table
from tests.conftest import services_of

WHILE_CRASHING = ("--at", at(30).isoformat())


def test_problems_are_grouped(run: Run) -> None:
    header, *rows = table(run("attention", *WHILE_CRASHING).stdout)

    assert header == ["PROBLEM", "PODS", "FOR", "EXAMPLES", "ADVICE"]
    assert [row[:4] for row in rows if len(row) == 5] == [
        ["crash-loop", "1", "2s", "shop/worker-0"],
        ["image-pull", "1", "7s", "lab/job-0"],
    ]


def test_groups_are_objects_too(run: Run) -> None:
    groups = objects(run("attention", "--json", *WHILE_CRASHING).stdout)

    assert [(group["key"], group["pods"], group["health"]) for group in groups] == [
        ("crash-loop", 1, "failing"),
        ("image-pull", 1, "failing"),
    ]


def test_it_says_so_where_nothing_is_wrong(run: Run) -> None:
    assert run("attention", "--at", at(-1).isoformat()).stdout == "Nothing is wrong with any pod.\n"


def test_refused_requests_are_counted(run: Run) -> None:
    shown = run("attention").stdout.splitlines()[-1]

    assert shown.startswith("2 requests refused in the last hour, the last was")
    assert shown.endswith("vkweb audit tail --outcome refused")


def test_problems_are_coloured(run: Run) -> None:
    assert "\x1b[31mcrash-loop\x1b[0m" in run("attention", "--color", "always", *WHILE_CRASHING, color=True).stdout


def test_a_missing_database_is_one_line(run: Run, recorded: Flask) -> None:
    path = services_of(recorded).database.path
    path.rename(path.with_suffix(".gone"))
    assert "there is no database" in run("attention", code=3).stderr
