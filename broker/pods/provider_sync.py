"""Has the provider hold a pod as Kubernetes wants it: one step after another, each decided anew."""

from http import HTTPStatus

import structlog

from broker.errors import BrokerError
from broker.kubernetes.client import Client
from broker.kubernetes.objects import Object
from broker.node_info import NodeFacts
from broker.pods.actions import UNKNOWN, Action, Pod, decide
from broker.pods.env import references, resolve
from broker.pods.env_sources import Services, read
from broker.pods.events import Events
from broker.pods.provider_payload import Environment, digest, has_every_container, payload
from broker.pods.provider_state import Record
from broker.pods.store import StoredPod
from broker.pods.workqueue import Later
from broker.provider import Provider, ProviderError, ProviderRefused

_NEVER_TAKES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_FOR_GOOD = (*_NEVER_TAKES, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_MISSING_DELAY = 10.0
"""Seconds between looks for what a pod's environment needs."""

log = structlog.get_logger()


class NeverTaken(BrokerError):
    """The provider will never take this pod on; the message is the provider's."""


class Provision:
    """Creates, updates and deletes pods at the provider, with an event for each.

    Args:
        provider: the provider.
        client: reads what environments are made of.
        facts: the node.
        services: the cluster's.
        events: for the pods.
    """

    def __init__(
        self, provider: Provider, client: Client, facts: NodeFacts, *, services: Services, events: Events
    ) -> None:
        self._provider = provider
        self._client = client
        self._services = services
        self._events = events
        self._facts = facts

    async def ensure(self, stored: StoredPod, record: Record) -> bool:
        """Have the provider hold a pod in its present version.

        Returns:
            Whether the provider was told anything.

        Raises:
            ProviderError: try again.
            Later: the pod's environment is made of something that is not there yet.
            NeverTaken: the pod cannot run here.
        """
        if record.version == stored.version and isinstance(record.held, Pod) and record.held.uid == stored.uid:
            return False
        pod, sent, told = stored.decode(), {}, False
        desired = Pod(stored.uid)
        while (action := decide(desired, record.held)) is not Action.NOTHING:
            match action:
                case Action.ASK:
                    copy = await self._provider.get(stored.metadata.namespace, stored.metadata.name)
                    record.hold(copy, wanted=stored.uid)
                case Action.RESOLVE:
                    sent = payload(pod, await self._environment(pod, record))
                    desired = Pod(stored.uid, digest(sent))
                case Action.DELETE:
                    await self.delete(record.body(stored.key))
                    record.let_go()
                case Action.CREATE:
                    await self._create(sent, record)
                    record.held, told = desired, True
                case Action.UPDATE:
                    if await self._update(sent, record):
                        record.held, told = desired, True
        record.version = stored.version
        return told

    async def delete(self, pod: Object) -> bool:
        """Have the provider let a pod go; tell whether it had it."""
        try:
            existed = await self._provider.delete(pod)
        except ProviderError as exc:
            self._events.record(pod, "Warning", "ProviderDeleteFailed", f"the pod is not deleted: {exc}")
            raise
        if existed:
            self._events.record(pod, "Normal", "ProviderDeleteSuccess", "the provider lets the pod go")
            log.info("pod deleted", **_named(pod))
        return existed

    async def _create(self, pod: Object, record: Record) -> None:
        try:
            await self._provider.create(pod)
        except ProviderError as exc:
            # Without an answer the pod may be there; with some refusals (409) it may have been there before.
            record.held = UNKNOWN
            self._events.record(pod, "Warning", "ProviderCreateFailed", f"the pod is not created: {exc}")
            if isinstance(exc, ProviderRefused) and exc.code in _NEVER_TAKES:
                raise NeverTaken(str(exc)) from exc
            raise
        record.misses = 0
        self._events.record(pod, "Normal", "ProviderCreateSuccess", "the provider has taken the pod on")
        log.info("pod created", **_named(pod))

    async def _update(self, pod: Object, record: Record) -> bool:
        """Send an update; False where the provider has lost the pod, which is known by now."""
        try:
            await self._provider.update(pod)
        except ProviderError as exc:
            metadata = pod["metadata"]
            # No such pod, or no such path? Of a provider that takes no updates the pods stay what they are.
            if _is_not_found(exc) and await self._provider.status(metadata["namespace"], metadata["name"]) is None:
                record.held = None
                return False
            self._events.record(pod, "Warning", "ProviderUpdateFailed", f"the pod is not updated: {exc}")
            if not isinstance(exc, ProviderRefused) or exc.code not in _FOR_GOOD:
                raise
            return True  # the same would be refused again; what changes next is sent
        self._events.record(pod, "Normal", "ProviderUpdateSuccess", "the provider has updated the pod")
        log.info("pod updated", **_named(pod))
        return True

    async def _environment(self, pod: Object, record: Record) -> Environment:
        uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
        known = record.environment(uid)
        if known and has_every_container(known, pod):
            return known
        if not self._services.synced:
            raise Later("the cluster's services are not known yet", at_most=1)
        services = self._services.variables(
            namespace, links=pod["spec"].get("enableServiceLinks", True) is not False
        )
        sources = await read(self._client, namespace, references(pod))
        resolution = resolve(pod, sources=sources, services=services, node=self._facts)
        for problem in resolution.problems:
            self._events.record(pod, "Warning", problem.reason, problem.message)
        if not resolution.complete:
            reasons = ", ".join(sorted({problem.reason for problem in resolution.problems}))
            raise Later(f"the environment is incomplete: {reasons}", at_most=_MISSING_DELAY)
        environment = {**resolution.environment, **known}
        record.remember_environment(uid, environment)
        return environment


def _is_not_found(error: ProviderError) -> bool:
    return isinstance(error, ProviderRefused) and error.code == HTTPStatus.NOT_FOUND


def _named(pod: Object) -> dict[str, str]:
    metadata = pod["metadata"]
    return {"pod": f"{metadata['namespace']}/{metadata['name']}", "uid": metadata.get("uid", "")}
