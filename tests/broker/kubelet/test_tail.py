"""Logs of a provider that knows `tail` alone: the pure part, how what is new is found."""

from datetime import UTC, datetime

import pytest

from broker.kubelet.tail_logs import WINDOW, LogPosition, lines_after, lines_since, time_of


def lines(text: str) -> list[bytes]:
    """A log of words, each a line."""
    return [word.encode() + b"\n" for word in text.split()]


@pytest.mark.parametrize(
    ("before", "now", "new"),
    [
        ("a b", "a b", ""),
        ("a b", "a b c d", "c d"),
        ("a b c", "b c d", "d"),  # the provider forgets old lines
        ("a b c", "c d e", "d e"),
        ("a a", "a a a", "a"),  # the same line again is a new line
        ("a b a b", "a b a b a b", "a b"),
        ("a b c", "b c a b c", "a b c"),
    ],
)
def test_new_is_what_comes_after_the_lines_of_before(before: str, now: str, new: str) -> None:
    assert lines_after(lines(before), lines(now)) == lines(new)


@pytest.mark.parametrize(("before", "now"), [("a b", "c d"), ("a b", ""), ("", "a"), ("a b c", "a c")])
def test_nothing_in_common_is_told_from_nothing_new(before: str, now: str) -> None:
    assert lines_after(lines(before), lines(now)) is None


def test_a_place_moves_to_the_end_of_the_log() -> None:
    place = LogPosition()
    assert place.move(lines("a b"), whole=True, ended=False) == lines("a b")
    assert place.move(lines("a b"), whole=True, ended=False) == []
    assert place.move(lines("a b c"), whole=True, ended=False) == lines("c")


def test_a_log_that_begins_anew_is_given_from_its_beginning() -> None:
    place = LogPosition()
    place.move(lines("a b c"), whole=True, ended=False)
    assert place.move(lines("x"), whole=True, ended=False) == lines("x")


def test_a_place_that_was_overtaken_asks_for_more_lines_and_stays() -> None:
    place = LogPosition()
    place.move(lines("a b c"), whole=True, ended=False)
    assert place.move(lines("d e"), whole=False, ended=False) is None
    assert place.move(lines("c d e"), whole=False, ended=False) == lines("d e")


def test_a_place_keeps_a_window_of_a_long_log() -> None:
    place = LogPosition()
    log = lines(" ".join(map(str, range(3 * WINDOW))))
    place.move(log, whole=True, ended=False)
    assert place.move([*log[-WINDOW + 1 :], b"new\n"], whole=False, ended=False) == [b"new\n"]


def test_half_a_line_waits_for_its_end() -> None:
    place = LogPosition()
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"a\n"]
    assert place.move([b"a\n", b"bc\n"], whole=True, ended=False) == [b"bc\n"]


def test_a_last_line_without_an_end_is_a_line_where_it_stays_so() -> None:
    place = LogPosition()
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"a\n"]
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == [b"b\n"]
    assert place.move([b"a\n", b"b"], whole=True, ended=False) == []
    assert place.move([b"a\n", b"b\n", b"c"], whole=True, ended=True) == [b"c\n"]


def test_a_last_line_without_an_end_is_a_line_where_nothing_more_is_written() -> None:
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
def test_the_time_of_a_line_is_what_it_begins_with(line: bytes, time: datetime | None) -> None:
    assert time_of(line) == time


def test_lines_since_a_time_include_those_that_go_on_from_them() -> None:
    log = [b"2026-11-22T08:00:00Z a\n", b"2026-11-22T09:00:00Z b\n", b"  at b.py\n", b"2026-11-22T10:00:00Z c\n"]
    assert lines_since(log, datetime(2026, 11, 22, 8, 30, tzinfo=UTC)) == log[1:]
    assert lines_since(log, datetime(2026, 11, 22, 8, tzinfo=UTC)) == log
    assert lines_since(log, datetime(2026, 11, 23, tzinfo=UTC)) == []
