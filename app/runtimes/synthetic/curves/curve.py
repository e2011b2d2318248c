"""Curves of the usage of a container over the seconds since its start.

The problem: any process must tell the usage at any time, and the total up to it, without a record of samples.

The rule: every curve has its value, its integral from the start and its bounds between two times in closed form. A
curve is periodic from a time on (its `settles`), so what is known of one period is known of all.
"""

import math
from bisect import bisect_right
from hashlib import shake_256
from itertools import accumulate
from typing import NamedTuple

import msgspec

NOISE_CELL = 10
"""The seconds for which a noise keeps its value."""
CELLS = 360
"""The values of a noise until they repeat."""


class Bounds(NamedTuple):
    """The least and the greatest value of a curve between two times, or numbers below and above them."""

    low: float
    high: float


class _Curve(msgspec.Struct, frozen=True, tag_field="curve"):
    """Attributes of every curve, in seconds.

    Attributes:
        settles: the time from which the curve is periodic.
        period: its period, a whole number; 1 for a curve that is constant from `settles` on.
    """

    @property
    def settles(self) -> int:
        return 0

    @property
    def period(self) -> int:
        return 1


class Constant(_Curve, frozen=True, tag="constant"):
    """A value that does not change."""

    amount: float

    def value(self, _: float) -> float:
        """Return the value at a time."""
        return self.amount

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        return self.amount * time

    def bounds(self, _start: float, _end: float) -> Bounds:
        """Return the bounds between two times."""
        return Bounds(self.amount, self.amount)


class Sine(_Curve, frozen=True, tag="sine"):
    """A wave between two values, which begins at the lower one."""

    low: float
    high: float
    seconds: int

    @property
    def period(self) -> int:
        """The seconds from one minimum to the next."""
        return self.seconds

    def value(self, time: float) -> float:
        """Return the value at a time."""
        wave = (1 - math.cos(2 * math.pi * (time % self.seconds) / self.seconds)) / 2
        return self.low + (self.high - self.low) * wave

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        mean, amplitude = (self.low + self.high) / 2, (self.high - self.low) / 2
        turn = 2 * math.pi / self.seconds
        return mean * time - amplitude / turn * math.sin(turn * (time % self.seconds))

    def bounds(self, start: float, end: float) -> Bounds:
        """Return the bounds between two times."""
        values = [self.value(start), self.value(end)]
        if math.floor(end / self.seconds) > math.floor(start / self.seconds):
            values.append(self.low)
        if math.floor(end / self.seconds + 0.5) > math.floor(start / self.seconds + 0.5):
            values.append(self.high)
        return Bounds(min(values), max(values))


class Ramp(_Curve, frozen=True, tag="ramp"):
    """A straight line from one value to another, which is then kept."""

    first: float
    last: float
    seconds: int

    @property
    def settles(self) -> int:
        """The time at which the last value is reached."""
        return self.seconds

    def value(self, time: float) -> float:
        """Return the value at a time."""
        return self.first + (self.last - self.first) * min(time / self.seconds, 1.0)

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        rising = min(time, self.seconds)
        area = rising * (self.first + self.value(rising)) / 2
        return area + self.last * (time - rising)

    def bounds(self, start: float, end: float) -> Bounds:
        """Return the bounds between two times."""
        values = self.value(start), self.value(end)
        return Bounds(min(values), max(values))


class Step(NamedTuple):
    """A value, and the time from which it holds."""

    time: int
    amount: float


class Steps(_Curve, frozen=True, tag="steps"):
    """Values that each hold from a time on; 0 before the first time."""

    steps: tuple[Step, ...]

    @property
    def settles(self) -> int:
        """The time of the last step."""
        return self.steps[-1].time

    def value(self, time: float) -> float:
        """Return the value at a time."""
        index = bisect_right(self.steps, time, key=lambda step: step.time)
        return self.steps[index - 1].amount if index else 0.0

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        ends = [*(step.time for step in self.steps[1:]), math.inf]
        return sum(
            step.amount * (min(time, end) - step.time)
            for step, end in zip(self.steps, ends, strict=True)
            if time > step.time
        )

    def bounds(self, start: float, end: float) -> Bounds:
        """Return the bounds between two times."""
        first, last = (bisect_right(self.steps, time, key=lambda step: step.time) for time in (start, end))
        values = [self.value(start), *(step.amount for step in self.steps[first:last])]
        return Bounds(min(values), max(values))


def _noise() -> list[float]:
    """Return numbers from -1 to 1 whose mean is 0, the same in every process."""
    digest = shake_256(b"usage").digest(2 * CELLS)
    raw = [int.from_bytes(digest[2 * n : 2 * n + 2], "big") / 32768 - 1 for n in range(CELLS)]
    mean = sum(raw) / CELLS
    largest = max(abs(number - mean) for number in raw)
    return [(number - mean) / largest for number in raw]


_NOISE = _noise()
_NOISE_TOTALS = [0.0, *accumulate(_NOISE)]


class Noise(_Curve, frozen=True, tag="noise"):
    """Values around a mean, a new one every 10 seconds and the same again after an hour.

    Attributes:
        offset: the cell of the noise with which it begins, 0 to 359.
    """

    mean: float
    spread: float
    offset: int = 0

    @property
    def period(self) -> int:
        """One hour."""
        return NOISE_CELL * CELLS

    def value(self, time: float) -> float:
        """Return the value at a time."""
        return self.mean + self.spread * _NOISE[(int(time // NOISE_CELL) + self.offset) % CELLS]

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        return self.mean * time + self.spread * NOISE_CELL * (
            self._total(time / NOISE_CELL + self.offset) - self._total(self.offset)
        )

    def bounds(self, start: float, end: float) -> Bounds:
        """Return the bounds between two times."""
        if end - start >= self.period:
            return Bounds(self.mean - self.spread, self.mean + self.spread)
        first, last = (int(time // NOISE_CELL) for time in (start, end))
        cells = [_NOISE[(cell + self.offset) % CELLS] for cell in range(first, last + 1)]
        return Bounds(self.mean + self.spread * min(cells), self.mean + self.spread * max(cells))

    @staticmethod
    def _total(cells: float) -> float:
        """Return the sum of the first so many cells; those of whole hours cancel out."""
        whole, part = divmod(cells % CELLS, 1)
        return _NOISE_TOTALS[int(whole)] + part * _NOISE[int(whole)]


Term = Constant | Sine | Ramp | Steps | Noise


class Sum(msgspec.Struct, frozen=True):
    """The sum of curves; 0 without any."""

    terms: tuple[Term, ...] = ()

    @property
    def most_parts(self) -> int:
        """The parts into which time is divided to compare it with a limit; a second of computing at most."""
        return 2**16 // max(1, len(self.terms))

    @property
    def settles(self) -> int:
        """The time from which all of its curves are periodic."""
        return max((term.settles for term in self.terms), default=0)

    @property
    def period(self) -> int:
        """The common period of its curves."""
        return math.lcm(*(term.period for term in self.terms))

    @property
    def is_constant(self) -> bool:
        """Whether its value never changes."""
        return all(isinstance(term, Constant) for term in self.terms)

    def value(self, time: float) -> float:
        """Return the value at a time."""
        return sum([term.value(time) for term in self.terms])

    def integral(self, time: float) -> float:
        """Return the integral from 0 to a time."""
        return sum([term.integral(time) for term in self.terms])

    def bounds(self, start: float, end: float) -> Bounds:
        """Return numbers that the values between two times are not below and not above."""
        found = [term.bounds(start, end) for term in self.terms]
        return Bounds(sum(bounds.low for bounds in found), sum(bounds.high for bounds in found))


def constant(amount: float) -> Sum:
    """Return the curve of a constant."""
    return Sum((Constant(amount),))


def first_above(curve: Sum, limit: float) -> int | None:
    """Return the first whole second at which a curve is above a limit; None if it never is.

    A part of the time whose upper bound is not above the limit is skipped as a whole. After `most_parts`, only
    the first second of each part that is left is examined.
    """
    parts = curve.most_parts

    def search(first: int, last: int) -> int | None:
        nonlocal parts
        parts -= 1
        if curve.bounds(first, last).high <= limit:
            return None
        if first == last or parts <= 0:
            return first if curve.value(first) > limit else None
        middle = (first + last) // 2
        found = search(first, middle)
        return search(middle + 1, last) if found is None else found

    return search(0, curve.settles + curve.period)
