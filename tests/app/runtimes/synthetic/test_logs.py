from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.kubernetes.container_status import container_id
from app.kubernetes.status import PodStatus
from app.runtimes.synthetic.logs import Line, synthetic_lines
from tests.app.simulation import NOW, SECRET, UID, after, annotated, simulated_pod, status_at, transitions_until
from tests.pods import a_container, a_pod

ARRIVED = after(0)


def read(pod: dict[str, Any], at: datetime, *, name: str = "web", previous: bool = False) -> Iterator[Line | None]:
    """Return the log for a status that does not change."""
    status = status_at(transitions_until(pod, until=at), at)
    return synthetic_lines(simulated_pod(pod), name, previous=previous, status=lambda: status)


def written(pod: dict[str, Any], seconds: float = 0, **which: Any) -> list[str]:
    """Return the existing lines without their times."""
    found = []
    for line in read(pod, max(NOW, after(seconds)), **which):
        if line is None:
            break
        found.append(line[1])
    return found


def test_a_running_container_logs_its_description() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]
    web = a_container("web", command=["nginx", "-g"], args=["daemon off;"], ports=ports)
    assert written(a_pod(uid=UID, containers=[web])) == [
        "synthetic container web from image nginx:1.27",
        f"container ID {container_id(UID, 'web')}",
        "command has 3 words",
        "listening on 80/TCP",
        "listening on 53/UDP",
        "started at 2026-11-22T08:46:38Z",
    ]


def test_a_container_with_only_a_name_has_logs() -> None:
    assert written(a_pod(uid=UID, containers=[{"name": "web"}])) == [
        "synthetic container web from image (none)",
        f"container ID {container_id(UID, 'web')}",
        "command is the image's own",
        "started at 2026-11-22T08:46:38Z",
    ]


def test_the_log_of_a_running_container_stays_open() -> None:
    log = read(a_pod(), NOW)
    given = [next(log) for _ in range(8)]
    assert given[-2:] == [None, None]


def test_the_last_line_reports_how_the_container_ended() -> None:
    log = list(read(annotated(a_pod(restartPolicy="Never"), run_for="5s", exit_code="3"), after(10)))
    assert log[-1] == (after(5), "exited with code 3 at 2026-11-22T08:46:43Z")
    assert log[0] == (ARRIVED, "synthetic container web from image nginx:1.27")


def test_probes_log_their_first_results() -> None:
    web = a_container(
        startupProbe={"initialDelaySeconds": 3},
        readinessProbe={"initialDelaySeconds": 5, "successThreshold": 2, "periodSeconds": 4},
    )
    pod = a_pod(containers=[web])
    assert written(pod, 2)[-1] == "started at 2026-11-22T08:46:38Z"
    assert written(pod, 3)[-1] == "startup probe succeeded"
    assert written(pod, 9)[-2:] == ["startup probe succeeded", "readiness probe succeeded"]


def test_a_later_readiness_failure_is_logged() -> None:
    pod = annotated(a_pod(containers=[a_container(readinessProbe={"periodSeconds": 1})]), fail="ReadinessProbe")
    assert written(pod, 4)[-1] == "readiness probe succeeded"
    assert written(pod, 7)[-1] == "readiness probe failed"


def test_a_liveness_kill_is_logged_with_its_reason() -> None:
    probe = {"periodSeconds": 1, "terminationGracePeriodSeconds": 2}
    pod = annotated(
        a_pod(containers=[a_container(livenessProbe=probe)], restartPolicy="Never"), fail="LivenessProbe"
    )
    assert written(pod, 60)[-2:] == [
        "killed: the liveness probe failed",
        "exited with code 137 at 2026-11-22T08:46:47Z",
    ]


def test_the_previous_run_has_its_own_log() -> None:
    pod = annotated(a_pod(uid=UID), run_for="5s", exit_code="1")
    assert f"container ID {container_id(UID, 'web', restart_count=1)}" in written(pod, 6)
    previous = list(read(pod, after(6), previous=True))
    assert previous[1] == (ARRIVED, f"container ID {container_id(UID, 'web')}")
    assert previous[-1] == (after(5), "exited with code 1 at 2026-11-22T08:46:43Z")


@pytest.mark.parametrize("previous", [False, True])
def test_during_back_off_the_last_run_is_read(previous: bool) -> None:
    pod = annotated(a_pod(), run_for="5s", exit_code="1")
    assert written(pod, 13, previous=previous)[-1] == "exited with code 1 at 2026-11-22T08:46:49Z"


@pytest.mark.parametrize("name", ["fetch", "proxy", "debug"])
def test_containers_of_every_kind_have_logs(name: str) -> None:
    pod = a_pod(
        initContainers=[a_container("fetch"), a_container("proxy", restartPolicy="Always")],
        ephemeralContainers=[a_container("debug")],
    )
    assert written(pod, 5, name=name)[0] == f"synthetic container {name} from image nginx:1.27"


def test_an_annotation_gives_the_text_of_a_log() -> None:
    pod = annotated(a_pod(), logs="hello\n\nworld\u2028!\n")
    assert read_all(pod) == [(ARRIVED, "hello"), (ARRIVED, ""), (ARRIVED, "world\u2028!")]


def test_a_log_can_be_empty() -> None:
    assert read_all(annotated(a_pod(), logs="")) == []


def read_all(pod: dict[str, Any]) -> list[Line]:
    found: list[Line] = []
    for line in read(pod, NOW):
        if line is None:
            break
        found.append(line)
    return found


def test_a_followed_log_ends_with_the_run() -> None:
    pod = annotated(a_pod(containers=[a_container(readinessProbe={"initialDelaySeconds": 2})]), run_for="5s")
    timeline = transitions_until(pod, until=after(60))
    times = iter([NOW, after(1), after(2), after(3), after(5), after(9)])
    log = synthetic_lines(
        simulated_pod(pod), "web", previous=False, status=lambda: status_at(timeline, next(times))
    )
    texts = [line and line[1] for line in log][4:]
    assert texts == [
        None,
        None,
        "readiness probe succeeded",
        None,
        None,
        "exited with code 0 at 2026-11-22T08:46:43Z",
    ]


def test_a_followed_log_ends_when_its_run_disappears() -> None:
    pod = annotated(a_pod(), run_for="5s")
    timeline = transitions_until(pod, until=after(600))
    statuses: Iterator[PodStatus] = (status_at(timeline, time) for time in (NOW, after(600)))
    log = list(synthetic_lines(simulated_pod(pod), "web", previous=False, status=lambda: next(statuses)))
    assert log[-1] is None


def test_a_lost_container_logs_nothing_more() -> None:
    pod = annotated(a_pod(), fail="Evicted")
    assert written(pod, 10) == []


def test_logs_contain_no_command_or_environment() -> None:
    web = a_container(command=["run", SECRET], args=[f"--password={SECRET}"], env=[{"name": "A", "value": SECRET}])
    assert SECRET not in "\n".join(written(a_pod(containers=[web])))


def test_a_log_is_the_same_at_every_reading() -> None:
    pod = a_pod()
    assert written(pod, 60) == written(pod, 60) == written(pod, 10**6)


def test_the_times_of_a_log_never_go_back() -> None:
    probes: dict[str, Any] = {
        "startupProbe": {"initialDelaySeconds": 7},
        "readinessProbe": {"initialDelaySeconds": 1, "successThreshold": 3, "periodSeconds": 2},
    }
    pod = annotated(a_pod(containers=[a_container(**probes)], restartPolicy="Never"), run_for="60s")
    times = [line[0] for line in read(pod, after(100)) if line]
    assert times == sorted(times)
    assert times[-1] - times[0] == timedelta(seconds=60)
