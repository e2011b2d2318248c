"""A simulation of a node that is full to the last core, with a scheduler that binds pods as early as it may."""

import asyncio
from random import Random

import pytest

from broker.node_info import NodeInfo
from tests.broker.apiserver import ApiServer
from tests.broker.pods.conftest import Controlling, Object, bound
from tests.pods import a_container
from tests.stub_provider import Reply, Request, StubProvider, Ways, ended, providing

CORES = 4
PODS = 40
TERMINAL = ("Succeeded", "Failed")


def cores(pod: Object) -> int:
    return int(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"])


class Simulation:
    """Pods of jobs, rollovers and preemptions, in a random order.

    Attributes:
        waiting: cores of the pods that are not bound yet, in order.
        deleted: UIDs of the pods whose deletion was requested.
        overcommitted: pods created at the provider while others held their cores.
        changed: set by each request to the provider and each change in Kubernetes.
    """

    def __init__(self, api: ApiServer, stub: StubProvider, random: Random) -> None:
        self.api, self.stub, self.random = api, stub, random
        self.waiting = [random.randint(1, CORES) for _ in range(PODS)]
        self.bound = 0
        self.deleted: set[str] = set()
        self.overcommitted: list[str] = []
        self.changed = asyncio.Event()
        stub.override = self._answer
        api.store.listen(self._schedule_soon)

    def schedule(self) -> None:
        """Bind the next pods that fit, as the scheduler counts: pods in a terminal phase hold nothing."""
        while self.waiting:
            pods = self.api.store.list("pods")
            held = sum(cores(pod) for pod in pods if pod["status"]["phase"] not in TERMINAL)
            if held + self.waiting[0] > CORES:
                return
            self.bound += 1
            container = a_container(resources={"requests": {"cpu": str(self.waiting.pop(0))}})
            self.api.store.create(
                "pods", bound(f"pod-{self.bound}", containers=[container], restartPolicy="Never")
            )

    def _schedule_soon(self, _: object) -> None:
        self.changed.set()
        asyncio.get_running_loop().call_soon(self.schedule)

    async def step(self) -> None:
        """End a pod in one of many ways, if there is one, and wait until the broker has done something."""
        active = [key for key, status in self.stub.statuses.items() if status["phase"] == "Running"]
        ending = [key for key in active if self.stub.pods[key]["metadata"]["uid"] in self.deleted]
        running = [pod for key in active if key not in ending and (pod := self._in_kubernetes(key))]
        if ending and self.random.random() < 0.5:
            self.stub.end(self.random.choice(ending))
        elif running := [pod for pod in running if pod["status"]["phase"] == "Running"]:
            self._disturb(self.random.choice(running))
        elif ending:
            self.stub.end(ending[0])
        self.changed.clear()
        async with asyncio.timeout(30):
            await self.changed.wait()

    def _disturb(self, pod: Object) -> None:
        name, key = pod["metadata"]["name"], f"default/{pod['metadata']['name']}"
        match self.random.choice(["completes", "is deleted", "is deleted by force", "is failed by another"]):
            case "completes":
                self.stub.report(key, ended(self.stub.statuses[key], self.random.choice([0, 1])))
            case "is deleted":
                self.api.store.delete("pods", name, "default")
            case "is deleted by force":
                self.api.store.delete("pods", name, "default", {"gracePeriodSeconds": 0})
            case _:
                pod["status"] |= {"phase": "Failed", "reason": "DeletionByPodGC"}
                self.api.store.update("pods", pod, subresource="status")

    def _in_kubernetes(self, key: str) -> Object | None:
        return self.api.store.find("pods", key.partition("/")[2], "default")

    async def _answer(self, stub: StubProvider, request: Request) -> Reply:
        self.changed.set()
        if request.path == "/deletePod":
            self.deleted.add(request.pod["metadata"]["uid"])
        if request.path == "/createPod":
            held = sum(cores(pod) for key, pod in stub.pods.items() if stub.statuses[key]["phase"] not in TERMINAL)
            if held + cores(request.pod) > CORES:
                self.overcommitted.append(request.pod["metadata"]["name"])
        return await stub.answer(request)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("reports_changes", [True, False])
async def test_no_pod_is_rejected_or_overcommitted(
    api: ApiServer, controlling: Controlling, info: NodeInfo, seed: int, reports_changes: bool
) -> None:
    info.allocatable = {"cpu": str(CORES), "pods": "1000"}
    ways = Ways(extensions=("gracefulDelete",), reports_changes=reports_changes)
    async with providing(ways) as stub, controlling(stub):
        simulation = Simulation(api, stub, Random(seed))
        simulation.schedule()
        while simulation.waiting or any(p["status"]["phase"] not in TERMINAL for p in api.store.list("pods")):
            await simulation.step()
    reasons = {pod["status"].get("reason") for pod in api.store.list("pods")}
    assert not {reason for reason in reasons if reason and reason.startswith("OutOf")}
    assert simulation.overcommitted == []
    assert simulation.bound == PODS
