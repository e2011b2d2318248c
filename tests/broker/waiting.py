"""Wait for a condition while the event loop runs."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(condition: Callable[[], T | None], *, seconds: float = 30) -> T:
    """Wait until a condition is true; return its value."""
    try:
        async with asyncio.timeout(seconds):
            while not (answer := condition()):
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
    return answer
