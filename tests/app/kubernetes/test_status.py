import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodCondition,
    PodStatus,
    decode_status,
    encode_status,
)
from tests.app.simulation import decoded, transitions_of
from tests.pods import a_container, a_pod

PENDING, RUNNING = (t.status for t in transitions_of(a_pod(containers=[a_container("web")]), start_delay=0.5))

texts = st.text(max_size=5)
states = st.builds(
    ContainerState,
    waiting=st.none() | st.builds(ContainerStateWaiting, reason=texts, message=st.none() | texts),
    running=st.none() | st.builds(ContainerStateRunning, started_at=texts),
    terminated=st.none() | st.builds(ContainerStateTerminated),
)
container_statuses = st.builds(ContainerStatus, name=texts, state=states, last_state=states)
pod_statuses = st.builds(
    PodStatus,
    conditions=st.lists(st.builds(PodCondition), max_size=2).map(tuple),
    init_container_statuses=st.lists(container_statuses, max_size=2).map(tuple),
    container_statuses=st.lists(container_statuses, max_size=2).map(tuple),
)


@given(pod_statuses)
def test_a_status_is_read_as_it_was_written(status: PodStatus) -> None:
    assert decode_status(encode_status(status)) == status


@pytest.mark.parametrize("status", [PENDING, RUNNING], ids=["Pending", "Running"])
def test_a_decoded_status_encodes_to_the_same_bytes(status: PodStatus) -> None:
    assert encode_status(decode_status(encode_status(status))) == encode_status(status)


def test_a_status_is_compact_json_of_one_line() -> None:
    assert encode_status(RUNNING).startswith('{"observedGeneration":1,"phase":"Running","conditions":[{"type":')
    assert "\n" not in encode_status(RUNNING)


def test_empty_fields_are_omitted() -> None:
    assert decoded(PENDING).keys().isdisjoint({"podIP", "podIPs", "reason", "message", "initContainerStatuses"})


def test_polled_fields_are_always_present() -> None:
    for status in (PENDING, RUNNING):
        (container,) = decoded(status)["containerStatuses"]
        assert {"name", "image", "ready", "restartCount", "state"} <= container.keys()


def test_containers_of_any_kind_are_found_by_name() -> None:
    pod = a_pod(
        containers=[a_container("web"), a_container("log")],
        initContainers=[a_container("fetch"), a_container("proxy", restartPolicy="Always")],
    )
    status = transitions_of(pod)[0].status
    for name in ("web", "log", "fetch", "proxy"):
        found = status.container(name)
        assert found
        assert found.name == name
    assert status.container("other") is None


def test_a_text_that_is_no_status_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_status('{"phase":"Sleeping"}')
