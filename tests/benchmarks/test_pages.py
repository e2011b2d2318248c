"""The benchmark of the dashboard's pages, with a few pods."""

import pytest

from benchmarks.pages import main


def test_a_page_of_copied_pods_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pods", "120", "--events", "200", "--rounds", "2", "--only", "last page"]) == 0

    *_, header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["wall", "ms", "CPU", "ms", "first", "ms", "KiB"]
    assert row.startswith("pods, last page")
    assert all(float(cell.replace(",", "")) > 0 for cell in row.split()[-4:])
