"""Shares one call among all who want its result at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Those who await :meth:`result` while a call is under way get the result or the error of that call.

    A caller that is cancelled does not cancel the call, which others may wait for.

    Args:
        call: what is called.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._task: asyncio.Task[T] | None = None

    async def result(self) -> T:
        """Return the result of the call that is under way, or of a new one."""
        if self._task is None:
            self._task = asyncio.create_task(self._call())
            self._task.add_done_callback(self._end)
        return await asyncio.shield(self._task)

    def _end(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # those who wait raise it; if none waits any more, it is not to be logged
