"""Sends the pods of one kind of request together where several wait, to a provider with the extension `batch`.

The first pod is sent at once, by the contract's own request. Pods that arrive before its answer are collected, and
sent together as soon as the answer is there; those that arrive meanwhile follow in the next batch, and so on. A
pod that comes alone therefore waits for nothing, and the busier the provider, the larger the batches.

A request costs the provider as much as several pods in it. After a request with pods that had waited, the next one
is therefore delayed by a multiple of the time that it took, until some pods have gathered (docs/decisions/0093).

Each pod has its own outcome. A failure of a whole batch, such as a broken connection or a 503, is that of each of
its pods. A batch that is refused as a whole is divided: the cause may be one pod, or the size of all together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple

import msgspec

from broker.errors import ProviderError, ProviderUnavailable
from broker.provider.answer import NO_SUCH_PATH, Answer, decode, is_refusal, is_success

_MOST_PODS = 250
_MOST_BYTES = 1_000_000
"""Size of the largest batch in bytes: many proxies accept 1 MiB. A larger pod is sent alone."""
_PAUSE, _LONGEST_PAUSE = 3.0, 0.2
"""Delay before the next batch: a multiple of the time that the previous one took, and its limit in seconds."""
_ENOUGH = 16
"""Number of waiting pods that end the delay: more would keep too many of the broker's workers waiting."""


class _Outcome(msgspec.Struct, frozen=True):
    code: int
    message: str = ""


class _Item(NamedTuple):
    pod: bytes
    answer: asyncio.Future[Answer]


class BatchSender:
    """Sends one kind of request: in turn and together, or each at once where the provider lacks the extension.

    Args:
        request: sends a body to a path.
        path: path of the request for a single pod, such as `/createPod`; that for an array has an `s` after it.
        is_supported: returns whether the provider has the extension; asks it where that is not known.
        mark_unsupported: is called where the provider does not have the path of the batch.
    """

    def __init__(
        self,
        request: Callable[[str, bytes], Awaitable[Answer]],
        path: str,
        *,
        is_supported: Callable[[], Awaitable[bool]],
        mark_unsupported: Callable[[], None],
    ) -> None:
        self._request = request
        self._path = path
        self._is_supported = is_supported
        self._mark_unsupported = mark_unsupported
        self._waiting: list[_Item] = []
        self._is_sending = False
        self._task: asyncio.Task[None] | None = None
        self._is_enough = asyncio.Event()
        self._most_bytes = _MOST_BYTES

    async def send(self, pod: bytes) -> Answer:
        """Send a pod in JSON, alone or with others; return the answer for this pod.

        Raises:
            ProviderError: no answer.
        """
        if self._is_sending:
            return await self._join(pod)
        self._is_sending = True
        try:
            return await self._request(self._path, pod)
        finally:
            self._send_waiting()

    async def _join(self, pod: bytes) -> Answer:
        """Wait for the next batch; send the pod at once where the provider has none.

        The pod waits already while the provider is asked for that, and may be sent meanwhile.
        """
        item = _Item(pod, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if len(self._waiting) >= _ENOUGH:
            self._is_enough.set()
        try:
            if await self._is_supported() or item not in self._waiting:
                return await item.answer
        except BaseException:
            item.answer.cancel()
            raise
        self._waiting.remove(item)
        return await self._request(self._path, pod)

    def _send_waiting(self) -> None:
        self._is_sending = bool(self._waiting)
        if self._is_sending:
            self._task = asyncio.create_task(self._send_batch(self._take()), name=f"send {self._path}")

    async def _gather(self, seconds: float) -> None:
        """Wait until enough pods wait, at most so many seconds."""
        self._is_enough.clear()
        if len(self._waiting) < _ENOUGH:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_enough.wait()

    def _take(self) -> list[_Item]:
        """Remove and return the pods of the next batch: as many as it may have, and at least one."""
        size, count = 0, 0
        for item in self._waiting[:_MOST_PODS]:
            size += len(item.pod)
            if count and size > self._most_bytes:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [item for item in taken if not item.answer.cancelled()]

    async def _send_batch(self, items: Sequence[_Item]) -> None:
        began = monotonic()
        try:
            if len(items) > 1 and await self._is_supported():
                await self._send(items)
            else:
                await self._send_each(items)
        except ProviderError as exc:
            for item in items:
                _set(item, exc)
        finally:
            for item in items:  # only where the client is closed, or an error is unexpected
                _set(item, ProviderUnavailable("the request was not completed"))
            await self._gather(min(_PAUSE * (monotonic() - began), _LONGEST_PAUSE))
            self._send_waiting()

    async def _send(self, items: Sequence[_Item]) -> None:
        """Send pods together, and set the answer of each."""
        if len(items) < 2:
            await self._send_each(items)
            return
        try:
            answer = await self._request(f"{self._path}s", b"[%b]" % b",".join(item.pod for item in items))
            outcomes = self._outcomes(answer, len(items))
        except ProviderError as exc:
            for item in items:
                _set(item, exc)
            return
        if answer.status in NO_SUCH_PATH:
            self._mark_unsupported()
            await self._send_each(items)
        elif is_refusal(answer.status):
            if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                self._most_bytes = min(self._most_bytes, sum(len(item.pod) for item in items) - 1)
            half = len(items) // 2
            await self._send(items[:half])
            await self._send(items[half:])
        else:
            for item, outcome in zip(items, outcomes, strict=True):
                _set(item, outcome)

    async def _send_each(self, items: Sequence[_Item]) -> None:
        """Send each pod by a request of its own, and set its answer."""

        async def send(item: _Item) -> None:
            try:
                _set(item, await self._request(self._path, item.pod))
            except ProviderError as exc:
                _set(item, exc)

        await asyncio.gather(*map(send, items))

    def _outcomes(self, answer: Answer, count: int) -> list[Answer]:
        """Return the answer for each pod of a batch; that of the batch where it was not carried out."""
        if not is_success(answer.status):
            return [answer] * count
        outcomes = decode(answer.body, list[_Outcome], f"{self._path}s")
        if len(outcomes) != count:
            raise ProviderUnavailable(
                f"the provider's answer to {self._path}s has {len(outcomes)} outcomes for {count} pods"
            )
        return [Answer(out.code, answer.retry_after, msgspec.json.encode(out.message)) for out in outcomes]


def _set(item: _Item, outcome: Answer | ProviderError) -> None:
    if item.answer.done():
        return
    if isinstance(outcome, ProviderError):
        # An exception of its own for each pod: raising one in several tasks would mix up their tracebacks.
        retry_after = getattr(outcome, "retry_after", None)
        item.answer.set_exception(ProviderUnavailable(str(outcome), retry_after))
    else:
        item.answer.set_result(outcome)
