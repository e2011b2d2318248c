from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.timestamps import format_duration, parse_duration, rfc3339
from tests.app.simulation import NOW

UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("time", "written"),
    [
        pytest.param(datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC), "2026-11-22T08:46:38Z", id="whole"),
        pytest.param(datetime(2026, 11, 22, 8, 46, 38, 999999, tzinfo=UTC), "2026-11-22T08:46:38Z", id="cut"),
        pytest.param(datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00Z", id="midnight"),
        pytest.param(
            datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2025-12-31T23:30:00Z", id="zone"
        ),
    ],
)
def test_times_are_formatted_in_utc_whole_seconds(time: datetime, written: str) -> None:
    assert rfc3339(time) == written


@given(st.timedeltas(timedelta(days=-20_000), timedelta(days=20_000)), ZONES)
def test_formatted_time_loses_only_its_fraction(ago: timedelta, zone: timezone) -> None:
    time = (NOW + ago).astimezone(zone)
    assert datetime.fromisoformat(rfc3339(time)) == time.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("2", 2),
        ("1.5", 1.5),
        ("10s", 10),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("250μs", 0.00025),
        ("1000000ns", 0.001),
        ("2m", 120),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("1h1m1s1ms", 3661.001),
        ("007s", 7),
        (" 2s\n", 2),
    ],
)
def test_durations_are_go_durations_or_plain_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "s",
        "ten",
        "-1",
        "-1s",
        "1m-30s",
        "1 s",
        "1m 30s",
        "1m30",
        "1d",
        "1w",
        "1S",
        "1..5s",
        "1.5.5s",
        "1e3",
        "1e3s",
        "0x10s",
        "1_000s",
        "1,5s",
        "٣s",
        "٣",
        "inf",
        "nan",
        "1s;",
        "P1D",
    ],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration such as"):
        parse_duration(text)


def test_a_duration_may_be_a_year() -> None:
    assert parse_duration("8760h") == timedelta(days=365)


@pytest.mark.parametrize("text", ["8760h1us", "99999999999999999h", "9" * 400, "9" * 400 + "s", "9999h" * 30000])
def test_a_duration_may_not_be_longer(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration(text)


@given(st.lists(st.tuples(st.integers(0, 800), st.sampled_from(sorted(UNITS))), min_size=1, max_size=10))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == sum((number * UNITS[unit] for number, unit in parts), timedelta())


@given(st.text(max_size=20) | st.text("0123456789.hmsun ", max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert duration >= timedelta(0)


@given(st.timedeltas(timedelta(0), timedelta(days=365)))
def test_formatted_duration_parses_to_the_same_value(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (2, "2s"), (90, "90s"), (1.5, "1.5s"), (0.000001, "0.000001s"), (100, "100s")],
)
def test_a_duration_is_written_in_seconds(seconds: float, written: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == written
