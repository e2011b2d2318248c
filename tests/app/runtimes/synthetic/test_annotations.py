"""Annotations change the simulation of a pod; invalid ones are reported and ignored."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes.synthetic.annotations import (
    DOMAIN,
    NO_POD_OVERRIDES,
    jitter,
    parse_annotations,
)
from app.runtimes.synthetic.annotations import (
    ContainerOverrides as Overrides,
)
from app.runtimes.synthetic.timeline import create
from tests.app.runtimes.synthetic.generated import annotations, pods
from tests.app.simulation import NOW, SECRET, UID, annotated, parse_pod, simulated_pod, transitions_of
from tests.pods import a_container, a_pod

PROBED = a_pod(uid=UID, containers=[a_container("web", livenessProbe={}), a_container("log")])


@pytest.mark.parametrize(
    ("annotations", "web", "log"),
    [
        pytest.param({"run_for": "90s"}, Overrides(run_for=90), Overrides(run_for=90), id="run-for"),
        pytest.param({"run_for": "1500ms"}, Overrides(run_for=2), Overrides(run_for=2), id="in whole seconds"),
        pytest.param({"run_for": "0s"}, Overrides(run_for=1), Overrides(run_for=1), id="at least one"),
        pytest.param({"exit_code": " 255 "}, Overrides(exit_code=255), Overrides(exit_code=255), id="exit-code"),
        pytest.param({"fail": "OOMKilled"}, Overrides(fail="OOMKilled"), Overrides(fail="OOMKilled"), id="fail"),
        pytest.param({"fail_after": "7"}, Overrides(fail_after=7), Overrides(fail_after=7), id="fail-after"),
        pytest.param({"fail_after": "0s"}, Overrides(fail_after=0), Overrides(fail_after=0), id="from the start"),
        pytest.param({"stop_after": "0s"}, Overrides(stop_after=0), Overrides(stop_after=0), id="stop-after"),
        pytest.param({"logs": "a\n b"}, Overrides(logs="a\n b"), Overrides(logs="a\n b"), id="logs"),
        pytest.param({"exit_code__log": "1"}, Overrides(), Overrides(exit_code=1), id="of one container"),
        pytest.param(
            {"exit_code": "1", "exit_code__log": "2", "run_for": "3"},
            Overrides(exit_code=1, run_for=3),
            Overrides(exit_code=2, run_for=3),
            id="its own comes first",
        ),
        pytest.param(
            {"fail": "LivenessProbe"}, Overrides(fail="LivenessProbe"), Overrides(), id="with such a probe"
        ),
    ],
)  # fmt: skip
def test_annotations_override_containers(annotations: dict[str, str], web: Overrides, log: Overrides) -> None:
    read = parse_annotations(parse_pod(annotated(PROBED, **annotations)))
    assert read.problems == ()
    assert [read.containers.get(name, Overrides()) for name in ("web", "log")] == [web, log]


def test_an_annotation_applies_to_all_containers_or_one() -> None:
    pod = a_pod(initContainers=[a_container("fetch")], ephemeralContainers=[a_container("debug")])
    read = parse_annotations(parse_pod(annotated(pod, run_for="3s", run_for__fetch="4s", run_for__debug="5s")))
    assert {name: orders.run_for for name, orders in read.containers.items()} == {"web": 3, "fetch": 4, "debug": 5}


def test_some_annotations_apply_to_the_whole_pod() -> None:
    pod = annotated(start_delay="1500ms", jitter="2s", fail="Evicted", fail_after="9s")
    read = parse_annotations(parse_pod(pod))
    assert (read.start_delay, read.jitter) == (timedelta(seconds=1.5), timedelta(seconds=2))
    assert (read.fail, read.fail_after, read.problems) == ("Evicted", 9, ())


@pytest.mark.parametrize("annotations", [None, {}, {"note": SECRET, "example.com/run-for": "x"}])
def test_annotations_of_other_domains_are_ignored(annotations: dict[str, str] | None) -> None:
    assert parse_annotations(parse_pod(a_pod(metadata={"annotations": annotations}))) is NO_POD_OVERRIDES


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (f"{DOMAIN}/run-for", "soon", "not a duration such as 500ms, 10s or 1m30s"),
        pytest.param(
            f"{DOMAIN}/exec",
            '{"a":' + 100_000 * "[",
            "must be a JSON object: command → output",
            id="nested too deeply",
        ),
        (f"{DOMAIN}/run-for", None, "not a duration such as 500ms, 10s or 1m30s"),
        (f"{DOMAIN}/start-delay", "-1s", "not a duration such as 500ms, 10s or 1m30s"),
        (f"{DOMAIN}/start-delay", "9999999h", "longer than a year"),
        (f"{DOMAIN}/start-delay-factor", "-1", "must be a number such as 10 or 2.5"),
        (f"{DOMAIN}/exit-code", "256", "must be a number from 0 to 255"),
        (f"{DOMAIN}/exit-code", "-1", "must be a number from 0 to 255"),
        (f"{DOMAIN}/exit-code", "9" * 5000, "must be a number from 0 to 255"),
        (f"{DOMAIN}/exit-code", "²", "must be a number from 0 to 255"),
        (
            f"{DOMAIN}/fail",
            "Crash",
            "must be one of ErrImagePull, ImagePullBackOff, CreateContainerConfigError, CrashLoopBackOff, "
            "OOMKilled, StartupProbe, ReadinessProbe, LivenessProbe, PostStartHook, Evicted, NodeLost",
        ),
        (f"{DOMAIN}/fail", "ReadinessProbe", "no container has such a probe or hook"),
        (f"{DOMAIN}/runfor", "1s", "no such annotation; is it run-for?"),
        (
            f"{DOMAIN}/x",
            "1s",
            "no such annotation; there are start-delay, start-delay-factor, jitter, run-for, exit-code, fail, "
            "fail-after, stop-after, logs, exec, usage-cpu, usage-memory",
        ),
        (f"run-for.{DOMAIN}/db", "1s", "the pod has no such container"),
        (f"run-for.{DOMAIN}/web", "soon", "not a duration such as 500ms, 10s or 1m30s"),
        (f"jitter.{DOMAIN}/web", "1s", f"is for the whole pod: {DOMAIN}/jitter"),
        (f"fail.{DOMAIN}/web", "Evicted", f"that happens to the whole pod: {DOMAIN}/fail"),
        (f"fail.{DOMAIN}/log", "LivenessProbe", "the container has no such probe or hook"),
        (f"color.{DOMAIN}/log", "red",
         "no such annotation; there are run-for, exit-code, fail, fail-after, stop-after, logs, exec, usage-cpu, "
         "usage-memory"),
    ],
)  # fmt: skip
def test_an_invalid_annotation_is_reported_as_a_problem(key: str, value: str | None, problem: str) -> None:
    pod = {**PROBED, "metadata": {**PROBED["metadata"], "annotations": {key: value, f"{DOMAIN}/stop-after": "3s"}}}
    read = parse_annotations(parse_pod(pod))
    assert read.problems == (f"{key}: {problem}",)
    assert read.containers == {"web": Overrides(stop_after=3), "log": Overrides(stop_after=3)}


def test_invalid_annotations_are_reported_in_the_pod_status() -> None:
    pod = annotated(run_for=SECRET, exit_code="-1", start_delay="1s")
    timeline = create(simulated_pod(pod), now=NOW)
    assert [at for at, _ in timeline.transitions] == [NOW, NOW + timedelta(seconds=1)]
    assert timeline.problems == (
        f"{DOMAIN}/exit-code: must be a number from 0 to 255",
        f"{DOMAIN}/run-for: not a duration such as 500ms, 10s or 1m30s",
    )
    for _, status in timeline.transitions:
        assert status.message == "; ".join(timeline.problems)
        assert SECRET not in status.message


def test_the_longest_container_name_makes_a_valid_annotation() -> None:
    name = "x" * 63
    pod = annotated(a_pod(containers=[a_container(name)]), **{f"exit_code__{name}": "3"})
    (key,) = pod["metadata"]["annotations"]
    prefix, _, last = key.partition("/")
    assert len(last) <= 63
    assert len(prefix) <= 253
    assert parse_annotations(parse_pod(pod)).containers[name].exit_code == 3


# Jitter


def test_jitter_is_the_same_at_every_reading() -> None:
    pod = annotated(a_pod(uid=UID, restartPolicy="Never"), jitter="30s", run_for="60s")
    timeline = transitions_of(pod)
    assert transitions_of(pod) == timeline
    starts_at, ends_at = timeline[-2].effective_at, timeline[-1].effective_at
    assert NOW < starts_at < NOW + timedelta(seconds=30)
    assert timedelta(seconds=59) < ends_at - starts_at < timedelta(seconds=91)


def test_jitter_is_another_for_every_pod() -> None:
    starts = {
        transitions_of(annotated(a_pod(uid=f"{index}", restartPolicy="Never"), jitter="1h"))[-1].effective_at
        for index in range(20)
    }
    assert len(starts) == 20


@given(st.text(), st.text())
def test_jitter_is_from_0_to_1(uid: str, what: str) -> None:
    assert 0 <= jitter(uid, what) < 1


@given(
    pods(),
    annotations | st.dictionaries(st.sampled_from([f"{DOMAIN}/{n}" for n in ("fail", "exit-code")]), st.text()),
)
def test_any_annotations_are_read(pod: dict[str, Any], found: dict[str, str]) -> None:
    read = parse_annotations(parse_pod({**pod, "metadata": {**pod["metadata"], "annotations": found}}))
    assert len(read.problems) <= len(found)
    assert all(problem.partition(": ")[0] in found for problem in read.problems)
