"""The total of a curve that a limit caps: the CPU time of a container that is throttled.

The problem: the integral of the smaller of a curve and a limit has no closed form, and a container may run for
months.

The rule: time is divided into pieces in which the curve is not above the limit, or not below it. A piece that
is neither is halved, down to half a second; in such a piece the container gets at most the limit, as in a
period of enforcement of the kernel. Longer pieces begin and end at whole seconds, as steps and the values of
noise do: no leap of the curve is within a shortest piece. The pieces of one period are computed once, and
stand for all later ones; none begins before the curve is periodic and ends after it. After `most_parts`, a
piece is treated like a shortest one however long it is.
"""

from bisect import bisect_right
from functools import lru_cache
from threading import Lock

from app.runtimes.synthetic.curves.curve import Sum

_SHORTEST = 0.5
_FIRST = 3600
"""The seconds that are divided first; then as many again, so that few pieces are computed that are not needed."""


def capped_integral(curve: Sum, limit: float | None, time: float) -> float:
    """Return the integral from 0 to a time of a curve, as far as it is not above a limit."""
    if limit is None:
        return curve.integral(time)
    if curve.is_constant:
        return min(curve.value(0), limit) * time
    low, high = _extremes(curve)
    if high <= limit:
        return curve.integral(time)
    if low >= limit:
        return limit * time
    return _capped(curve, limit).integral(time)


@lru_cache(maxsize=4096)
def _extremes(curve: Sum) -> tuple[float, float]:
    return curve.bounds(0, curve.settles + curve.period)


@lru_cache(maxsize=1024)
def _capped(curve: Sum, limit: float) -> "_Capped":
    return _Capped(curve, limit)


class _Capped:
    """The pieces of a curve under a limit, computed up to a time and extended where needed."""

    def __init__(self, curve: Sum, limit: float) -> None:
        self._curve, self._limit = curve, limit
        self._period = curve.period
        self._settled = -(-curve.settles // self._period) * self._period
        self._end = self._settled + self._period
        self._computed = 0
        self._left = curve.most_parts
        self._starts: list[float] = []
        self._totals: list[float] = [0.0]
        self._rates: list[float | None] = []
        """The usage in each piece; None for that of the curve."""
        self._lock = Lock()

    def integral(self, time: float) -> float:
        if time <= self._end:
            return self._within(time)
        periods, rest = divmod(time - self._settled, self._period)
        first = self._within(self._settled)
        return first + periods * (self._within(self._end) - first) + (self._within(self._settled + rest) - first)

    def _within(self, time: float) -> float:
        if self._computed < time:
            with self._lock:
                while self._computed < time:
                    next_part = self._settled if self._computed < self._settled else self._end
                    end = min(max(2 * self._computed, _FIRST), next_part)
                    self._divide(self._computed, end)
                    self._computed = end
        if time <= 0:
            return 0.0
        piece = bisect_right(self._starts, time) - 1
        return self._totals[piece] + self._of_piece(piece, self._starts[piece], time)

    def _of_piece(self, piece: int, start: float, end: float) -> float:
        rate = self._rates[piece]
        if rate is None:
            return self._curve.integral(end) - self._curve.integral(start)
        return rate * (end - start)

    def _divide(self, start: float, end: float) -> None:
        self._left -= 1
        low, high = self._curve.bounds(start, end)
        if high <= self._limit:
            self._append(start, end, None)
        elif low >= self._limit:
            self._append(start, end, self._limit)
        elif end - start <= _SHORTEST or self._left <= 0:
            mean = (self._curve.integral(end) - self._curve.integral(start)) / (end - start)
            self._append(start, end, min(mean, self._limit))
        else:
            middle = (start + end) / 2 if end - start <= 1 else (start + end) // 2
            self._divide(start, middle)
            self._divide(middle, end)

    def _append(self, start: float, end: float, rate: float | None) -> None:
        self._rates.append(rate)
        self._starts.append(start)
        self._totals.append(self._totals[-1] + self._of_piece(len(self._starts) - 1, start, end))
