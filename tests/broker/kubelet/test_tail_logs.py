"""Logs of a provider that supports `tail` only: how new lines are found."""

from datetime import UTC, datetime

import pytest

from broker.kubelet.tail_logs import WINDOW, LogPosition, lines_after, lines_since, time_of


def lines(text: str) -> list[bytes]:
    """Return the words of a text as the lines of a log."""
    return [word.encode() + b"\n" for word in text.split()]


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("a b", "a b", ""),
        ("a b", "a b c d", "c d"),
        ("a b c", "b c d", "d"),  # the provider drops old lines
        ("a b c", "c d e", "d e"),
        ("a a", "a a a", "a"),  # the same line again is a new line
        ("a b a b", "a b a b a b", "a b"),
        ("a b c", "b c a b c", "a b c"),
    ],
)
def test_lines_after_returns_lines_after_the_overlap(before: str, now: str, new: str) -> None:
    assert lines_after(lines(before), lines(now)) == lines(new)


@pytest.mark.parametrize(("before", "now"), [("a b", "c d"), ("a b", ""), ("", "a"), ("a b c", "a c")])
def test_lines_after_returns_none_without_overlap(before: str, now: str) -> None:
    assert lines_after(lines(before), lines(now)) is None


def test_a_position_moves_to_the_end() -> None:
    place = LogPosition()
    assert place.move(lines("a b"), whole=True, ended=False) == lines("a b")
    assert place.move(lines("a b"), whole=True, ended=False) == []
    assert place.move(lines("a b c"), whole=True, ended=False) == lines("c")


def test_a_restarted_log_is_returned_from_the_start() -> None:
    place = LogPosition()
    place.move(lines("a b c"), whole=True, ended=False)
    assert place.move(lines("x"), whole=True, ended=False) == lines("x")


def test_an_overtaken_position_stays_until_more_lines_arrive() -> None:
    place = LogPosition()
    place.move(lines("a b c"), whole=True, ended=False)
    assert place.move(lines("d e"), whole=False, ended=False) is None
    assert place.move(lines("c d e"), whole=False, ended=False) == lines("d e")


def test_a_position_keeps_a_window_of_lines() -> None:
    place = LogPosition()
    log = lines(" ".join(map(str, range(3 * WINDOW))))
    place.move(log, whole=True, ended=False)
    assert place.move([*log[-WINDOW + 1 :], b"new\n"], whole=False, ended=False) == [b"new\n"]


def test_half_a_line_waits_for_its_end() -> None:
    place = LogPosition()
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"a\n"]
    assert place.move([b"a\n", b"bc\n"], whole=True, ended=False) == [b"bc\n"]


def test_an_unterminated_line_is_returned_once_unchanged() -> None:
    place = LogPosition()
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"a\n"]
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"b\n"]
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == []
    assert place.move([b"a\n", b"b\n", b"c"], whole=True, ended=True) == [b"c\n"]


def test_an_unterminated_line_is_returned_at_the_end() -> None:
    assert LogPosition().move([b"a\n", b"b"], whole=True, ended=True) == [b"a\n", b"b\n"]


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (b"2026-11-22T08:46:38Z started\n", datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)),
        (b"2026-11-22T08:46:38.123456789Z stdout F x\n", datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC)),
        (b"2026-11-22T09:46:38+01:00\n", datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)),
        (b"2026-11-22T08:46:38 without a zone\n", None),
        (b"2026-13-22T08:46:38Z no such month\n", None),
        (b"started at 2026-11-22T08:46:38Z\n", None),
        (b"\n", None),
    ],
)
def test_a_line_starts_with_its_time(line: bytes, time: datetime | None) -> None:
    assert time_of(line) == time


def test_lines_since_includes_continuation_lines() -> None:
    log = [b"2026-11-22T08:00:00Z a\n", b"2026-11-22T09:00:00Z b\n", b"  at b.py\n", b"2026-11-22T10:00:00Z c\n"]
    assert lines_since(log, datetime(2026, 11, 22, 8, 30, tzinfo=UTC)) == log[1:]
    assert lines_since(log, datetime(2026, 11, 22, 8, tzinfo=UTC)) == log
    assert lines_since(log, datetime(2026, 11, 23, tzinfo=UTC)) == []
