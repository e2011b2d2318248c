"""The pods that end so that a critical pod can run."""

from decimal import Decimal

import pytest

from broker.pods.admission import InsufficientResource, Rejection
from broker.pods.preemption import Candidate, is_critical, pods_to_preempt
from tests.pods import a_pod

CRITICAL = 2_000_000_000


def pod(name: str, qos_class: str = "Burstable", *, priority: int | None = 0, **requested: str) -> Candidate:
    """A running pod."""
    amounts = {resource: Decimal(amount) for resource, amount in requested.items()}
    return Candidate(f"default/{name}", name, qos_class, priority, {"pods": Decimal(1), **amounts})


def chosen(*pods: Candidate, preemptor: int = CRITICAL, **missing: str) -> set[str]:
    """The names of the pods to preempt for what a critical pod lacks."""
    found = pods_to_preempt(preemptor, pods, shortages(**missing))
    assert isinstance(found, list)
    return {candidate.uid for candidate in found}


def shortages(**missing: str) -> list[InsufficientResource]:
    return [
        InsufficientResource(name, Decimal(amount), Decimal(7), Decimal(7)) for name, amount in missing.items()
    ]


@pytest.mark.parametrize(("priority", "critical"), [(None, False), (1_999_999_999, False), (CRITICAL, True)])
def test_system_priorities_are_critical(priority: int | None, critical: bool) -> None:
    assert is_critical(priority) is critical


def test_guaranteed_pods_end_last() -> None:
    pods = pod("g", "Guaranteed", cpu="4"), pod("b", cpu="4")
    assert chosen(*pods, cpu="4") == {"b"}
    assert chosen(*pods, cpu="5") == {"b", "g"}


def test_best_effort_pods_end_for_places_only() -> None:
    pods = pod("g", "Guaranteed", cpu="4"), pod("b", cpu="4"), pod("e", "BestEffort")
    assert chosen(*pods, pods="1") == {"e"}
    assert chosen(*pods, pods="2") == {"e", "b"}
    assert chosen(*pods, cpu="1") == {"b"}
    assert chosen(*pods, cpu="1", pods="1") == {"b"}


def test_a_guaranteed_pod_saves_burstable_pods() -> None:
    pods = pod("g", "Guaranteed", cpu="4"), pod("b", cpu="1"), pod("c", cpu="1")
    assert chosen(*pods, cpu="4") == {"g"}


def test_the_fewest_pods_end() -> None:
    assert chosen(pod("a", cpu="1"), pod("b", cpu="1"), pod("c", cpu="3"), cpu="2") == {"c"}
    assert chosen(pod("a", cpu="1"), pod("b", cpu="2"), pod("c", cpu="3"), cpu="4") == {"c", "a"}


def test_the_smallest_sufficient_pod_ends() -> None:
    assert chosen(pod("a", cpu="4"), pod("b", cpu="2"), pod("c", cpu="3"), cpu="2") == {"b"}
    assert chosen(pod("a", cpu="2", memory="2"), pod("b", cpu="3", memory="1"), cpu="2") == {"b"}


def test_one_pod_may_cover_several_resources() -> None:
    pods = pod("a", cpu="2"), pod("b", memory="2"), pod("c", cpu="1", memory="2")
    assert chosen(*pods, cpu="1", memory="2") == {"c"}


@pytest.mark.parametrize(
    ("priority", "preempted"),
    [(None, True), (0, True), (CRITICAL, True), (CRITICAL + 1000, False), (CRITICAL + 2000, False)],
)
def test_only_pods_of_lower_priority_end(priority: int | None, preempted: bool) -> None:
    found = pods_to_preempt(CRITICAL + 1000, [pod("a", priority=priority, cpu="2")], shortages(cpu="2"))
    assert isinstance(found, list) is preempted


def test_a_pod_beyond_all_others_is_rejected() -> None:
    found = pods_to_preempt(
        CRITICAL, [pod("a", cpu="1"), pod("b", priority=CRITICAL, cpu="9")], shortages(cpu="1.5")
    )
    assert found == Rejection(
        "UnexpectedAdmissionError",
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of "
        "pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 500), ]",
    )


def test_a_candidate_has_class_and_priority() -> None:
    made = a_pod("a", uid="a", priority=7)
    made["status"]["qosClass"] = "Burstable"
    assert Candidate.of(made, {"pods": Decimal(1)}) == pod("a", priority=7)
