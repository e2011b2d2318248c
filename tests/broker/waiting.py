"""Waiting in a loop that does other things meanwhile: for a condition, never for a time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], T | None], *, seconds: float = 30) -> T:
    """Ask until the answer is true, and give it; fail loudly where it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not (answer := condition()):
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
    return answer
