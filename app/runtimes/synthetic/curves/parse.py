"""Parse the annotations `usage-cpu` and `usage-memory`; users find them in `docs/synthetic.md`."""

import math
import re
from collections.abc import Callable
from itertools import pairwise

import msgspec

from app.core.quantity import parse_quantity
from app.core.timestamps import parse_duration
from app.runtimes.synthetic.curves.curve import (
    CELLS,
    NOISE_CELL,
    Constant,
    Noise,
    Ramp,
    Sine,
    Step,
    Steps,
    Sum,
    Term,
)

_LONGEST_PERIOD = 86_400
_MOST_TERMS = 16
_MOST_STEPS = 100
MAX_CORES, MAX_BYTES = 2.0**20, 2.0**50
"""The most that a container uses. Clients read usage as integers of 64 bits, in billionths of a core."""
_FUNCTION = re.compile(r"([a-z]+)\(([^()]*)\)")
_EXAMPLES = "200m, sine(50m,400m,10m), ramp(0,1,5m), steps(0s:100m,5m:800m) or noise(200m,50m)"


class Load(msgspec.Struct, frozen=True):
    """The usage that an annotation asks for, without a limit.

    Attributes:
        curve: the usage by the time since the start of the container.
        share: what is divided among the ready pods of the same controller, in cores.
    """

    curve: Sum
    share: float = 0.0

    @property
    def has_noise(self) -> bool:
        """Whether it depends on the seed."""
        return any(isinstance(term, Noise) for term in self.curve.terms)

    def seeded(self, fraction: float) -> "Load":
        """Return the load with noise that begins at a fraction, 0 to 1, of its period."""
        terms = tuple(
            msgspec.structs.replace(term, offset=int(fraction * CELLS)) if isinstance(term, Noise) else term
            for term in self.curve.terms
        )
        return Load(Sum(terms), self.share)


def parse_cpu(text: str) -> Load:
    """Parse a curve of CPU, which may contain `share`.

    Raises:
        ValueError: the text is not a curve, or a value is not possible; the message does not contain it.
    """
    return _parse(text, most=MAX_CORES)


def parse_memory(text: str) -> Load:
    """Parse a curve of memory. An OOM kill follows from it, so it does not depend on other pods.

    Raises:
        ValueError: as :func:`parse_cpu`; or the text contains `share`.
    """
    if "share(" in text:
        raise ValueError("share is for usage-cpu")
    return _parse(text, most=MAX_BYTES)


def _parse(text: str, *, most: float) -> Load:
    terms: list[Term] = []
    share = 0.0
    parts = _parts(text)
    if len(parts) > _MOST_TERMS:
        raise ValueError(f"a sum has at most {_MOST_TERMS} terms")
    for part in parts:
        match = _FUNCTION.fullmatch(part)
        if match and match[1] == "share":
            share += _amount(match[2].strip())
        else:
            terms.append(_term(part))
    curve = Sum(tuple(terms))
    if curve.period > _LONGEST_PERIOD:
        raise ValueError("the periods have no common multiple up to a day")
    if share + curve.bounds(0, curve.settles + curve.period).high > most:
        raise ValueError("an amount is too large")
    return Load(curve, share)


def _parts(text: str) -> list[str]:
    """Return the terms of a sum."""
    parts = [part.strip() for part in re.split(r"\+(?![^(]*\))", text)]
    if not all(parts):
        raise ValueError(f"not a usage such as {_EXAMPLES}")
    return parts


def _term(part: str) -> Term:
    match = _FUNCTION.fullmatch(part)
    if match is None:
        return Constant(_amount(part))
    name, arguments = match[1], [argument.strip() for argument in match[2].split(",")]
    if name not in _TERMS:
        raise ValueError(f"no such curve; there are {', '.join([*_TERMS, 'share'])}")
    return _TERMS[name](arguments)


def _sine(arguments: list[str]) -> Term:
    low, high, period = _three(arguments, "sine(least,greatest,period)")
    found = Sine(_amount(low), _amount(high), _seconds(period))
    if found.low > found.high:
        raise ValueError("the least value of sine is above the greatest")
    if not NOISE_CELL <= found.seconds <= _LONGEST_PERIOD:
        raise ValueError("the period of sine must be from 10 seconds to a day")
    return found


def _ramp(arguments: list[str]) -> Term:
    first, last, duration = _three(arguments, "ramp(first,last,duration)")
    return Ramp(_amount(first), _amount(last), _seconds(duration))


def _steps(arguments: list[str]) -> Term:
    if len(arguments) > _MOST_STEPS:
        raise ValueError(f"steps has at most {_MOST_STEPS} values")
    found = []
    for argument in arguments:
        time, colon, amount = argument.partition(":")
        if not colon:
            raise ValueError("steps needs times and values: steps(0s:100m,5m:800m)")
        found.append(Step(math.ceil(parse_duration(time).total_seconds()), _amount(amount.strip())))
    if any(before.time >= after.time for before, after in pairwise(found)):
        raise ValueError("the times of steps must increase")
    return Steps(tuple(found))


def _noise(arguments: list[str]) -> Term:
    if len(arguments) != 2:
        raise ValueError("noise needs two values: noise(mean,spread)")
    found = Noise(_amount(arguments[0]), _amount(arguments[1]))
    if found.spread > found.mean:
        raise ValueError("the spread of noise is above its mean")
    return found


_TERMS: dict[str, Callable[[list[str]], Term]] = {"sine": _sine, "ramp": _ramp, "steps": _steps, "noise": _noise}


def _three(arguments: list[str], form: str) -> list[str]:
    if len(arguments) != 3:
        raise ValueError(f"{form.partition('(')[0]} needs three values: {form}")
    return arguments


def _amount(text: str) -> float:
    try:
        amount = float(parse_quantity(text))
    except ValueError:
        raise ValueError(f"not a usage such as {_EXAMPLES}") from None
    if not 0 <= amount <= MAX_BYTES:
        raise ValueError("an amount must not be negative" if amount < 0 else "an amount is too large")
    return amount


def _seconds(text: str) -> int:
    return max(1, math.ceil(parse_duration(text).total_seconds()))
