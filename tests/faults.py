"""Faults to inject into a server of the tests."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

E = TypeVar("E")
"""What a server answers instead of its response."""


@dataclass(eq=False)
class Fault(Generic[E]):
    """A fault that replaces the response to matching requests.

    Attributes:
        method: method of the requests; any by default.
        path: regular expression that matches a part of the path.
        error: the response; None holds the request until the fault ends.
        times: number of requests to affect; None for all.
        lost: whether the request is executed first, so that only its response is lost.
        met: number of affected requests.
    """

    method: str = ""
    path: str = ""
    error: E | None = None
    times: int | None = None
    lost: bool = False
    met: int = 0
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def fits(self, method: str, path: str) -> bool:
        """Return whether the fault applies to a request."""
        left = self.times is None or self.met < self.times
        return left and self.method in ("", method) and re.search(self.path, path) is not None


class Faults(Generic[E]):
    """The active faults."""

    def __init__(self) -> None:
        self._faults: list[Fault[E]] = []

    @contextmanager
    def inject(self, fault: Fault[E]) -> Iterator[Fault[E]]:
        """Activate a fault for the duration of the block."""
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)
            fault.lifted.set()

    def meet(self, method: str, path: str) -> Fault[E] | None:
        """Return the fault of a request and count it; None if there is none."""
        fault = next((fault for fault in self._faults if fault.fits(method, path)), None)
        if fault:
            fault.met += 1
        return fault
