"""Stub provider with the extensions `gracefulDelete` and `activeDeadline`."""

import json
import time
from typing import NamedTuple

from tests.stub_provider.provider import StubProvider
from tests.stub_provider.server import Reply, Request, json_reply
from tests.stub_provider.statuses import NOW, Object, ended, running
from tests.stub_provider.ways import Ways

STOP_AFTER = "synthetic.virtual-kubelet.io/stop-after"


class Ending(NamedTuple):
    """A pod that is being deleted, its status, and the monotonic time at which it is gone."""

    pod: Object
    status: Object
    ends_at: float


class GracefulProvider(StubProvider):
    """Provider whose pods with the annotation `STOP_AFTER` end that long after their deletion.

    Attributes:
        ending: UID → pod that is being deleted.
        deadlines: namespace/name → monotonic time at which a pod exceeds its `activeDeadlineSeconds`.
        starts_at_once: whether a pod starts although another UID of its name is ending: a fault.
        cancels: whether a create cancels a deletion: a fault.
    """

    def __init__(self, ways: Ways) -> None:
        super().__init__(ways)
        self.ending: dict[str, Ending] = {}
        self.deadlines: dict[str, float] = {}
        self.starts_at_once = False
        self.cancels = False

    async def answer(self, request: Request) -> Reply:
        """Remove the pods that have ended, and return the response that the contract prescribes."""
        for uid, ending in list(self.ending.items()):
            if ending.ends_at <= time.monotonic():
                self._end(uid)
        for key, deadline in list(self.deadlines.items()):
            if deadline <= time.monotonic():
                del self.deadlines[key]
                if key in self.pods and self.statuses[key]["phase"] == "Running":
                    self.report(key, {**_ended(self.statuses[key]), "reason": "DeadlineExceeded"})
        if request.path == "/deletePod" and (uid := request.pod.get("metadata", {}).get("uid")) in self.ending:
            self._shorten(uid, request.pod)
            return Reply(200)
        reply = await super().answer(request)
        if request.path == "/getPods" and reply.code == 200:
            ended = [{**ending.pod, "status": ending.status} for ending in self.ending.values()]
            return json_reply([*json.loads(reply.text), *ended])
        if request.path == "/getPodStatus" and reply.code == 404:
            for ending in self.ending.values():
                if ending.pod["metadata"]["name"] == request.query.get("name"):
                    return json_reply(ending.status)
        return reply

    def _create(self, request: Request) -> Reply:
        if request.pod.get("metadata", {}).get("uid") in self.ending and not self.cancels:
            return Reply(200)
        reply = super()._create(request)
        metadata = request.pod["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        seconds = request.pod["spec"].get("activeDeadlineSeconds")
        if seconds and "activeDeadline" in self.ways.extensions:
            self.deadlines[key] = time.monotonic() + seconds
        if self._has_ending(key) and not self.starts_at_once:
            self.statuses[key] = {**self.statuses[key], "phase": "Pending", "containerStatuses": []}
        return reply

    def _delete(self, request: Request) -> Reply:
        metadata = request.pod["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        if key not in self.pods or self.pods[key]["metadata"]["uid"] != metadata.get("uid"):
            return super()._delete(request)
        pod = self.pods[key]
        seconds = float((pod["metadata"].get("annotations") or {}).get(STOP_AFTER, "0s").rstrip("s"))
        if not seconds:
            self.statuses[key] = _ended(self.statuses[key])
            return super()._delete(request)
        self.ending[metadata["uid"]] = Ending(pod, self.statuses[key], time.monotonic() + seconds)
        self.pods.pop(key)
        self.statuses.pop(key)
        return Reply(200)

    def _shorten(self, uid: str, pod: Object) -> None:
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            self._end(uid)

    def _end(self, uid: str) -> None:
        ending = self.ending.pop(uid)
        self._last_statuses[uid] = _ended(ending.status)
        metadata = ending.pod["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        self._change(key, uid, gone=True)
        if key in self.pods and not self._has_ending(key):
            self.report(key, running(self.pods[key], NOW))

    def _has_ending(self, key: str) -> bool:
        named = (ending.pod["metadata"] for ending in self.ending.values())
        return any(f"{metadata['namespace']}/{metadata['name']}" == key for metadata in named)


def _ended(status: Object) -> Object:
    return ended({"containerStatuses": [], **status}, 143)
