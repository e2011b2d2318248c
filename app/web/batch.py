"""Batches: a JSON array of what a single write takes, and an array of outcomes in the same order."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from app.audit import Caller, Outcome
from app.core.errors import InvalidRequest
from app.kubernetes.manifest import parse_reference
from app.kubernetes.pod import PodReference
from app.web.body import read_items
from app.web.errors import describe
from app.web.middleware import caller, record_refusals
from app.web.responses import Response, json_response

T = TypeVar("T")

_DONE = (200, "")


def answer_batch(
    parse: Callable[[bytes], T],
    carry_out: Callable[[Sequence[T], Caller], Sequence[Exception | None]],
) -> Response:
    """Carry out this request's items, and return `[{"code", "message"}, …]`: what each gets as a single request.

    Args:
        parse: parses an item; raises InvalidRequest.
        carry_out: carries out the valid items; returns the error of each, None for those that succeeded.

    Raises:
        InvalidRequest: the body is no array; nothing was done.
        DatabaseUnavailable: nothing was done.
    """
    items = read_items()
    parsed = [_parse(item, parse) for item in items]
    errors = iter(carry_out([one for one in parsed if not isinstance(one, InvalidRequest)], caller()))
    outcomes = [_outcome(one if isinstance(one, InvalidRequest) else next(errors)) for one in parsed]
    record_refusals(
        Outcome(_reference(item), code, {"refused": message})
        for item, (code, message) in zip(items, outcomes, strict=True)
        if code >= 400
    )
    return json_response([{"code": code, "message": message} for code, message in outcomes])


def _parse(item: bytes, parse: Callable[[bytes], T]) -> T | InvalidRequest:
    try:
        return parse(item)
    except InvalidRequest as exc:
        return exc


def _outcome(error: Exception | None) -> tuple[int, str]:
    return describe(error) if error else _DONE


def _reference(item: bytes) -> PodReference | None:
    """Return the pod that an item names, for the audit log; None for one without a valid name."""
    with suppress(InvalidRequest):
        return parse_reference(item)
    return None
