"""Accounting of resources and host ports of the pods of a node."""

from decimal import Decimal

import pytest

from broker.pods.accounting import Claims, ResourceLedger
from broker.pods.host_ports import HostPort

HTTP = frozenset({HostPort("TCP", 80)})


def cpu(amount: str) -> dict[str, Decimal]:
    return {"cpu": Decimal(amount)}


@pytest.fixture
def released() -> list[str]:
    return []


@pytest.fixture
def ledger(released: list[str]) -> ResourceLedger:
    return ResourceLedger(on_release=lambda: released.append("released"))


def test_each_admitted_pod_counts_once(ledger: ResourceLedger, released: list[str]) -> None:
    ledger.admit("a", "default/a", cpu("1"))
    ledger.admit("a", "default/a", cpu("2"))
    ledger.admit("b", "default/b", cpu("0.5"), HTTP)
    assert ledger.usage == (cpu("2.5"), HTTP)
    ledger.release("a")
    ledger.release("a")
    assert ledger.usage == (cpu("0.5"), HTTP)
    assert "b" in ledger
    assert "a" not in ledger
    assert released == ["released"]


def test_one_pod_is_left_out(ledger: ResourceLedger) -> None:
    ledger.admit("a", "default/a", cpu("1"), HTTP)
    ledger.admit("b", "default/b", cpu("2"))
    assert ledger.requested("a") == cpu("1")
    assert ledger.requested("unknown") == {}
    assert ledger.usage.without(ledger.requested("a"), HTTP) == (cpu("2"), frozenset())
    assert ledger.usage == (cpu("3"), HTTP)


def test_a_leaving_pod_holds_until_its_release(ledger: ResourceLedger) -> None:
    ledger.admit("a", "default/a", cpu("1"), HTTP)
    ledger.admit("b", "default/b", cpu("2"))
    ledger.mark_leaving("a")
    ledger.mark_leaving("unknown")
    assert ledger.usage == (cpu("3"), HTTP)
    assert ledger.staying == (cpu("2"), frozenset())
    assert ledger.running == {"b": "default/b"}
    ledger.release("a")
    assert ledger.usage == ledger.staying == (cpu("2"), frozenset())


def test_a_resized_leaving_pod_stays_leaving(ledger: ResourceLedger) -> None:
    ledger.admit("a", "default/a", cpu("1"))
    ledger.mark_leaving("a")
    ledger.admit("a", "default/a", cpu("3"))
    assert ledger.usage.amounts == cpu("3")
    assert ledger.staying.amounts == cpu("0")


def test_pods_that_nobody_has_release() -> None:
    claims = Claims()
    ledger, elsewhere = ResourceLedger(index=claims), ResourceLedger(index=claims)
    for uid in ("old", "new"):
        ledger.admit(uid, "default/a", cpu("1"))
    elsewhere.admit("older", "default/a", cpu("1"))
    ledger.admit("other", "default/b", cpu("1"))
    claims.release_others("default/a", {"new", "old"})
    assert (ledger.usage.amounts, elsewhere.usage.amounts) == (cpu("3"), cpu("0"))
    claims.release_others("default/a", {"new"})
    assert ledger.usage.amounts == cpu("2")
    claims.release_others("default/unknown", set())
