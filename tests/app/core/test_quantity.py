from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.quantity import parse_quantity, percentile

SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("-0", "0"),
        ("007", "7"),
        ("1.5", "1.5"),
        ("5.", "5"),
        (".5", "0.5"),
        ("-.5Gi", "-536870912"),
        ("100m", "0.1"),
        ("1.5Gi", "1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e+3", "1000"),
        ("15e-1", "1.5"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("18446744073709551616", "18446744073709551616"),
    ],
)
def test_quantity_is_number_with_exponent_or_suffix(text: str, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffix_is_a_power_of_ten_or_two(suffix: str) -> None:
    assert parse_quantity(f"3{suffix}") == 3 * SUFFIXES[suffix]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "-",
        "m",
        "Gi",
        "ten",
        "1 ",
        " 1",
        "1\n",
        "1 Gi",
        "1K",
        "1ki",
        "1gi",
        "1mi",
        "1B",
        "1GiB",
        "1Gi1",
        "1e",
        "1e3k",
        "1e1.5",
        "1.5.5",
        "--1",
        "1_000",
        "1,5",
        "0x10",
        "NaN",
        "Infinity",
        "٣",
        "1e٣",
        "1\0",
        "1" * 65,
        "1e99999",
    ],
)
def test_anything_else_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity such as"):
        parse_quantity(text)


@given(
    st.decimals(-(10**6), 10**6, places=6),
    st.sampled_from(sorted(SUFFIXES)),
)
def test_a_number_with_a_suffix_is_their_product(number: Decimal, suffix: str) -> None:
    assert parse_quantity(f"{number:f}{suffix}") == number * SUFFIXES[suffix]


@given(st.integers(-(10**6), 10**6), st.integers(-99, 99), st.sampled_from("eE"))
def test_an_exponent_is_a_power_of_ten(number: int, exponent: int, e: str) -> None:
    assert parse_quantity(f"{number}{e}{exponent}") == Decimal(number).scaleb(exponent)


@given(st.text(max_size=10) | st.text("0123456789.+-eEnumkMGTPi", max_size=10))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        amount = parse_quantity(text)
    except ValueError:
        return
    assert amount.is_finite()


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentiles_are_values_that_occur(part: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], part) == expected
    assert percentile([], part) is None
