"""The annotations of a Node that are faults."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.faults import DOMAIN, FAIL, NONE, START_DELAY_FACTOR, Faults, fraction, parse_faults, pod_annotations

SINCE = datetime(2026, 11, 27, 20, 30, 0, 900_000, tzinfo=UTC)


def parsed(**annotations: str) -> Faults:
    return parse_faults({f"{DOMAIN}/{name.replace('_', '-')}": text for name, text in annotations.items()})


def pod(uid: str = "a", *, bound: str | None = None, created: str = "2026-11-27T20:00:00Z") -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": bound}] if bound else []
    return {"metadata": {"uid": uid, "creationTimestamp": created}, "status": {"conditions": conditions}}


def test_other_annotations_are_no_faults() -> None:
    assert parse_faults({"example.com/partition": "true"}) is NONE


def test_each_annotation_is_parsed() -> None:
    assert parsed(
        not_ready="disk broken",
        partition="true",
        vanish="true",
        pressure="pid, memory",
        slow="2.5",
        slow_since="2026-11-27T20:30:00Z",
        fail="OOMKilled",
        fail_share="30%",
        fail_seed="7",
        fail_since="2026-11-27T20:30:00Z",
    ) == Faults(
        not_ready="disk broken",
        partition=True,
        vanish=True,
        pressures=("MemoryPressure", "PIDPressure"),
        slow="2.5",
        slow_since=datetime(2026, 11, 27, 20, 30, tzinfo=UTC),
        fail="OOMKilled",
        fail_share=0.3,
        fail_seed="7",
        fail_since=datetime(2026, 11, 27, 20, 30, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("not_ready", " "),
        ("partition", "yes"),
        ("pressure", "memory,cpu"),
        ("pressure", ""),
        ("slow", "nan"),
        ("fail_share", "130%"),
        ("fail_since", "2026-11-27T20:30:00"),
        ("slow_since", "soon"),
    ],
)
def test_an_invalid_annotation_has_no_effect(name: str, text: str) -> None:
    found = parsed(**{name: text}, vanish="true")
    assert found == Faults(vanish=True, problems=found.problems)
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{DOMAIN}/{name.replace('_', '-')}: must ")


def test_pods_bound_before_a_fault_are_not_changed() -> None:
    faults = Faults(slow="5", slow_since=SINCE, fail="OOMKilled", fail_since=SINCE)
    assert pod_annotations(pod(bound="2026-11-27T20:29:59Z"), faults) == {}
    new = {START_DELAY_FACTOR: "5", FAIL: "OOMKilled"}
    assert pod_annotations(pod(bound="2026-11-27T20:30:00Z"), faults) == new  # a time of whole seconds
    assert pod_annotations(pod(created="2026-11-27T20:29:59Z"), faults) == {}
    assert pod_annotations(pod(), Faults(slow="5", fail="OOMKilled")) == new


@settings(max_examples=20)
@given(st.text(max_size=5), st.floats(0, 1))
def test_the_share_of_failing_pods_is_kept(seed: str, share: float) -> None:
    faults = Faults(fail="OOMKilled", fail_seed=seed, fail_share=share)
    failing = [uid for uid in map(str, range(200)) if pod_annotations(pod(uid), faults)]
    assert abs(len(failing) / 200 - share) < 0.2
    assert failing == [uid for uid in map(str, range(200)) if fraction(seed, uid) < share]
