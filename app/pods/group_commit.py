"""Carry out write requests, several in one transaction."""

from collections.abc import Sequence
from typing import NamedTuple

from app.core.errors import DatabaseUnavailable, ProviderError
from app.pods.accepted import sync_pods
from app.pods.context import NodeContext
from app.pods.requests import WriteRequest
from app.pods.transaction import NodeTransaction, Unchanged
from app.pods.writer import PodWriter
from app.runtimes import AcceptedPod


class Outcome(NamedTuple):
    """The outcome of a write request.

    Attributes:
        error: why it was refused, or failed; None where it has succeeded.
        touched: the pods whose timelines changed.
    """

    error: Exception | None = None
    touched: Sequence[AcceptedPod] = ()


class GroupCommit:
    """Carries out the write requests of one node."""

    def __init__(self, node: NodeContext) -> None:
        self._node = node

    def carry_out(self, requests: Sequence[WriteRequest]) -> list[Exception | None]:
        """Carry out requests in their order; return why each was refused or failed, None for those that succeeded.

        All that succeed are committed at once. One that is refused or fails does not affect the others.

        Raises:
            DatabaseUnavailable: nothing was written.
        """
        outcomes = self._commit(requests)
        for outcome in outcomes:
            sync_pods(self._node.runtime, outcome.touched)
        return [outcome.error for outcome in outcomes]

    def _commit(self, requests: Sequence[WriteRequest]) -> list[Outcome]:
        try:
            settings = self._node.runtime.settings
            with NodeTransaction.begin(self._node.database, settings, clock=self._node.clock) as transaction:
                pods = [request.pod for request in requests]
                transaction.rows.load(
                    [(pod.namespace, pod.name) for pod in pods], [pod.uid for pod in pods if pod.uid]
                )
                return [self._apply(request, transaction) for request in requests]
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # a fault of the program: it may be due to one request alone
            if len(requests) == 1:
                return [Outcome(exc)]
            return [outcome for request in requests for outcome in self._commit([request])]

    def _apply(self, request: WriteRequest, transaction: NodeTransaction) -> Outcome:
        writer = PodWriter(transaction, self._node, caller=request.caller, verb=request.verb)
        try:
            with transaction.step():
                request.apply(writer)
        except Unchanged:
            return Outcome()
        except ProviderError as exc:
            return Outcome(exc)
        return Outcome(touched=writer.touched)
