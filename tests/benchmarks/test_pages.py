"""The benchmark of the dashboard's pages, with a few pods."""

import pytest

from benchmarks.pages import main


def test_a_page_of_copied_pods_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pods", "120", "--events", "200", "--rounds", "2", "--only", "pods, past, sort=-age"]) == 0

    shown = capsys.readouterr()
    *_, header, row = shown.out.splitlines()
    assert "/ui/" not in shown.err, "no log line for each request"
    assert header.split() == ["wall", "ms", "CPU", "ms", "first", "ms", "KiB"]
    assert row.startswith("pods, past, sort=-age")
    assert all(float(cell.replace(",", "")) > 0 for cell in row.split()[-4:])
