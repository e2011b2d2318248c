"""Curves of usage: values, integrals and bounds agree."""

import re
from math import isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.runtimes.synthetic.curves.curve import Bounds, Noise, Sum, first_above
from app.runtimes.synthetic.curves.limit import capped_integral
from app.runtimes.synthetic.curves.parse import parse_cpu, parse_memory

HOUR = 3600
TERMS = (
    st.integers(0, 2000).map(lambda amount: f"{amount}m"),
    st.tuples(st.integers(0, 500), st.integers(500, 2000), st.sampled_from([10, 60, 600])).map(
        lambda values: "sine({}m,{}m,{}s)".format(*values)
    ),
    st.tuples(st.integers(0, 2000), st.integers(0, 2000), st.integers(1, HOUR)).map(
        lambda values: "ramp({}m,{}m,{}s)".format(*values)
    ),
    st.lists(st.integers(1, HOUR), min_size=1, max_size=4, unique=True).map(
        lambda times: f"steps({','.join(f'{time}s:{time % 900}m' for time in sorted(times))})"
    ),
    st.tuples(st.integers(500, 1000), st.integers(0, 500)).map(lambda values: "noise({}m,{}m)".format(*values)),
)
CURVES = st.lists(st.one_of(TERMS), min_size=1, max_size=3).map(lambda terms: parse_cpu(" + ".join(terms)).curve)
TIMES = st.floats(0, 5 * HOUR)
LIMITS = st.none() | st.integers(1, 40).map(lambda tenths: tenths / 10)
quick = settings(max_examples=60, derandomize=True, database=None)


def curve(text: str) -> Sum:
    return parse_cpu(text).curve


@quick
@given(CURVES, LIMITS, TIMES, TIMES)
def test_totals_never_fall(curve: Sum, limit: float | None, one: float, other: float) -> None:
    totals = [round(capped_integral(curve, limit, time) * 1e6) for time in sorted((one, other))]
    assert totals[0] <= totals[1]


@quick
@given(CURVES, LIMITS, st.integers(0, 4 * HOUR))
def test_the_integral_is_the_sum_of_small_steps(curve: Sum, limit: float | None, start: int) -> None:
    def value(time: float) -> float:
        return curve.value(time) if limit is None else min(curve.value(time), limit)

    steps = sum(value(start + (step + 0.5) / 50) for step in range(50 * 60)) / 50
    found = capped_integral(curve, limit, start + 60) - capped_integral(curve, limit, start)
    assert isclose(found, steps, rel_tol=0.02, abs_tol=0.05)


@pytest.mark.parametrize(
    ("text", "limit", "values"),
    [
        ("steps(526s:1647m,718s:1012m)", 1.263, {526: 0, 718: 192 * 1.263, 719: 192 * 1.263 + 1.012}),
        ("steps(526s:1647m,718s:1012m)", 1.263, {3600: 192 * 1.263 + 2882 * 1.012}),
        ("steps(0s:2,7s:100m)", 0.5, {7: 3.5, 8: 3.6, 1007: 103.5}),
        ("steps(0s:2,7s:100m) + sine(0,0,10s)", 0.5, {7: 3.5, 1007: 103.5}),
        ("ramp(0,2,46s) + steps(100s:1)", 1.5, {1100: 0.75 * 34.5 + 1.5 * 65.5 + 1.5 * 1000}),
    ],
)
def test_a_limit_counts_leaps_where_they_are(text: str, limit: float, values: dict[int, float]) -> None:
    found = {time: capped_integral(curve(text), limit, time) for time in values}
    assert found == pytest.approx(values, abs=0.02)


def test_a_limited_noise_is_the_sum_of_its_values() -> None:
    noise = curve("noise(1,1)")
    total = sum(10 * min(noise.value(10 * cell), 1.0) for cell in range(5 * 360))
    assert capped_integral(noise, 1.0, 5 * HOUR) == pytest.approx(total)


@quick
@given(CURVES, TIMES, TIMES, st.floats(0, 1))
def test_values_are_within_the_bounds(curve: Sum, one: float, other: float, between: float) -> None:
    start, end = sorted((one, other))
    low, high = curve.bounds(start, end)
    assert low - 1e-9 <= curve.value(start + (end - start) * between) <= high + 1e-9


@quick
@given(CURVES, st.integers(0, HOUR))
def test_values_repeat_after_a_period(curve: Sum, time: int) -> None:
    time += curve.settles
    assert isclose(curve.value(time), curve.value(time + curve.period), abs_tol=1e-9)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("sine(0,100,10s) + sine(0,1,24h)", 50),
        ("sine(0,100,10s) + sine(0,1,24h)", 100.99999999),
        ("ramp(0,1,8760h) + ramp(1,0,8760h)", 1.0000001),
    ],
)
def test_a_costly_curve_has_a_bounded_cost(text: str, limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[float] = []
    bounds = Sum.bounds

    def counted(self: Sum, start: float, end: float) -> Bounds:
        evaluated.append(start)
        assert len(evaluated) < 70_000
        return bounds(self, start, end)

    monkeypatch.setattr(Sum, "bounds", counted)
    first_above(curve(text), limit)
    capped_integral(curve(text), limit, 366 * 24 * HOUR)


@quick
@given(CURVES, st.integers(1, 60).map(lambda tenths: tenths / 10))
def test_the_first_second_above_a_limit_is_found(curve: Sum, limit: float) -> None:
    found = first_above(curve, limit)
    seconds = range(min(curve.settles + curve.period, 2 * HOUR))
    expected = next((second for second in seconds if curve.value(second) > limit), None)
    if expected is not None or (found is not None and found in seconds):
        assert found == expected


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("200m", {0: 0.2, 1e6: 0.2}),
        ("sine(50m,400m,10m)", {0: 0.05, 300: 0.4, 600: 0.05, 900: 0.4}),
        ("ramp(0,1,5m)", {0: 0, 150: 0.5, 300: 1, 900: 1}),
        ("steps(0s:100m,5m:800m,10m:100m)", {0: 0.1, 299: 0.1, 300: 0.8, 600: 0.1}),
        ("100m + ramp(0, 1, 10s)", {0: 0.1, 5: 0.6}),
        ("steps(1m:1)", {0: 0, 60: 1}),
    ],
)
def test_a_curve_has_the_values_that_it_names(text: str, values: dict[float, float]) -> None:
    assert {time: round(curve(text).value(time), 9) for time in values} == values


def test_noise_varies_around_its_mean() -> None:
    noise = curve("noise(200m,50m)")
    values = [noise.value(cell * 10) for cell in range(360)]
    assert len(set(values)) > 300
    assert min(values) >= 0.15
    assert max(values) <= 0.25
    assert isclose(noise.integral(HOUR), 0.2 * HOUR)


def test_noise_of_two_pods_differs() -> None:
    load = parse_cpu("noise(200m,50m)")
    one, other = (load.seeded(fraction).curve.terms[0] for fraction in (0.1, 0.6))
    assert isinstance(one, Noise)
    assert one != other


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a usage such as 200m"),
        ("much", "not a usage such as 200m"),
        ("200m +", "not a usage such as 200m"),
        ("-1", "an amount must not be negative"),
        ("sine(1,2)", "sine needs three values: sine(least,greatest,period)"),
        ("sine(2,1,10m)", "the least value of sine is above the greatest"),
        ("sine(1,2,10)(", "not a usage such as 200m"),
        ("sine(1,2,soon)", "not a duration such as 500ms, 10s or 1m30s"),
        ("ramp(0,1)", "ramp needs three values: ramp(first,last,duration)"),
        ("steps(100m)", "steps needs times and values: steps(0s:100m,5m:800m)"),
        ("steps(5m:1,1m:2)", "the times of steps must increase"),
        ("noise(1)", "noise needs two values: noise(mean,spread)"),
        ("noise(1,2)", "the spread of noise is above its mean"),
        ("square(1,2)", "no such curve; there are sine, ramp, steps, noise, share"),
        ("sine(1,2,9s)", "the period of sine must be from 10 seconds to a day"),
        ("sine(1,2,25h)", "the period of sine must be from 10 seconds to a day"),
        ("sine(0,1,86399s) + noise(1,1)", "the periods have no common multiple up to a day"),
        (f"steps({'0s:1,' * 101})", "steps has at most 100 values"),
        ("+".join(["1"] * 17), "a sum has at most 16 terms"),
        ("64Mi", "an amount is too large"),
        ("share(1Mi) + 1", "an amount is too large"),
        ("sine(0,1e400,10s)", "an amount is too large"),
    ],
)
def test_what_is_no_curve_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_cpu(text)


@pytest.mark.parametrize("text", ["share(1Gi)", "1Mi + share(0)"])
def test_memory_is_not_divided_among_pods(text: str) -> None:
    with pytest.raises(ValueError, match="share is for usage-cpu"):
        parse_memory(text)


def test_memory_is_at_most_a_pebibyte() -> None:
    assert parse_memory("1023Ti + noise(512Gi,512Gi)").curve.bounds(0, HOUR).high == 2.0**50
    with pytest.raises(ValueError, match="an amount is too large"):
        parse_memory("1Pi + 1")
