"""Every state of a job that squeue(1) documents, and what it means for a pod."""

import re
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from app.kubernetes.manifest import Manifest
from app.kubernetes.status import PodStatus
from app.runtimes import AcceptedPod, Placement
from app.runtimes.observed import ContainerRun, Observation, ObservedContainer, build_observed_status
from app.runtimes.process.shim.record import StopRequest
from app.runtimes.slurm.job_queue import Job
from app.runtimes.slurm.job_states import JOB_STATES, job_state
from app.runtimes.slurm.job_status import disruption, end_of_job, has_failed, with_disruption
from tests.pods import a_pod
from tests.server import ROOT

NOW = datetime(2026, 11, 27, 18, tzinfo=UTC)
DOCUMENTED = """
    BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED
    RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT
    STOPPED SUSPENDED TIMEOUT
"""
"""The states in squeue(1)."""


def a_job(state: str) -> Job:
    return Job(7, state, 1, None, None, "n1", "None")


def running() -> Observation:
    return Observation(NOW, {"web": ObservedContainer(1, ContainerRun(NOW))})


def ended(code: int) -> Observation:
    run = ContainerRun(NOW, NOW + timedelta(seconds=1), code, "Error" if code else "Completed")
    return Observation(NOW + timedelta(seconds=1), {"web": ObservedContainer(1, run)}, final=True)


def status_at_end(state: str, last: Observation | None, stop: StopRequest | None = None) -> PodStatus:
    """Return the status of a pod whose job has ended."""
    document = a_pod(containers=[{"name": "web", "command": ["x"]}], restartPolicy="Never")
    pod = AcceptedPod(
        manifest=Manifest.parse(orjson.dumps(document)),
        placement=Placement(host_ips=("10.0.0.1",), pod_ip=None),
        accepted_at=NOW,
    )
    job = a_job(state)
    observation = end_of_job(job, last, stop=stop, at=NOW + timedelta(seconds=2))
    status = build_observed_status(pod, observation, at=observation.at, scheme="slurm")
    why = disruption(job, status)
    return with_disruption(status, why, at=observation.at) if why else status


def test_every_documented_state_has_a_meaning() -> None:
    assert set(DOCUMENTED.split()) <= set(JOB_STATES)


def test_a_state_of_the_future_concludes_nothing() -> None:
    assert job_state("TELEPORTING").stage == "running"


def documented_table() -> dict[str, list[str]]:
    """Return state → the cells after it of the table in docs/slurm.md."""
    rows = re.findall(r"^\| `([A-Z_]+)` \|(.*)\|$", (ROOT / "docs" / "slurm.md").read_text(), re.MULTILINE)
    return {state: [cell.strip() for cell in cells.split("|")] for state, cells in rows}


def test_the_document_lists_every_state() -> None:
    assert documented_table().keys() == JOB_STATES.keys()


@pytest.mark.parametrize("state", sorted(JOB_STATES))
def test_the_document_tells_the_status(state: str) -> None:
    meaning = JOB_STATES[state]
    phase, reason, container, disrupted = documented_table()[state]
    if meaning.stage != "ended":
        assert (phase, reason, container, disrupted) == (
            "Pending" if meaning.stage == "queued" else "Running",
            "",
            "",
            "",
        )
        return
    status = status_at_end(state, running())
    assert phase == status.phase == "Failed"
    terminated = status.container_statuses[0].state.terminated
    assert terminated
    assert (terminated.exit_code, f"`{terminated.reason}`") == (137, container)
    assert reason == (f"`{status.reason}`" if status.reason else "")
    found = [condition.reason for condition in status.conditions if condition.type == "DisruptionTarget"]
    assert [disrupted.strip("`")] == (found or [""])


@pytest.mark.parametrize("state", [name for name, meaning in JOB_STATES.items() if meaning.stage == "ended"])
def test_what_the_shim_wrote_counts(state: str) -> None:
    assert status_at_end(state, ended(0)).phase == "Succeeded"
    status = status_at_end(state, ended(3))
    terminated = status.container_statuses[0].state.terminated
    assert terminated
    assert (status.phase, terminated.exit_code, terminated.reason) == ("Failed", 3, "Error")


def test_a_killed_container_ran_out_of_memory() -> None:
    terminated = status_at_end("OUT_OF_MEMORY", ended(137)).container_statuses[0].state.terminated
    assert terminated
    assert terminated.reason == "OOMKilled"


def test_a_job_that_never_started_its_pod() -> None:
    status = status_at_end("FAILED", None)
    assert (status.phase, status.reason) == ("Failed", "JobFailed")


def test_a_killed_container_ended_with_its_job() -> None:
    end = NOW + timedelta(hours=1)
    job = a_job("NODE_FAIL")._replace(end=int(end.timestamp()))
    run = end_of_job(job, running(), stop=None, at=NOW + timedelta(hours=5)).containers["web"].run
    assert run
    assert run.finished == end


def test_a_deleted_pod_has_no_reason_of_slurm() -> None:
    status = status_at_end("CANCELLED", running(), StopRequest(at=0, grace=0, reason=None))
    assert (status.phase, status.reason) == ("Failed", None)


def test_a_pod_past_its_deadline_says_so() -> None:
    status = status_at_end("CANCELLED", None, StopRequest(at=0, grace=0, reason="DeadlineExceeded"))
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")
    assert has_failed(ended(1))
