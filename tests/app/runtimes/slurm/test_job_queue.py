"""Output of squeue, parsed; the order of jobs."""

from pathlib import Path

from app.runtimes.slurm.job_queue import Job, JobKey, parse_queue
from app.runtimes.slurm.job_status import queued_message
from app.runtimes.slurm.shared_answer import SharedAnswer

LINE = "{id}|{state}|{priority}|{start}|N/A|{node}|{user}|{reason}|{name}\n"


def a_line(number: int, name: str, state: str = "PENDING", **fields: object) -> str:
    values = {"priority": 10, "start": "N/A", "node": "n/a", "user": 1001, "reason": "Resources", **fields}
    return LINE.format(id=number, state=state, name=name, **values)


def test_jobs_of_pods_are_found_by_name() -> None:
    queue = parse_queue(a_line(7, "web-0.uid-1.123", "RUNNING", node="n1", start=1795802681, reason="None"))
    assert queue.jobs == {
        JobKey("uid-1", 123, 1001): (Job(7, "RUNNING", 10, 1795802681, None, "n1", "None"),),
    }


def test_other_jobs_are_skipped() -> None:
    assert (
        parse_queue(a_line(1, "simulation") + a_line(2, "a|b.c") + "nonsense\n" + a_line(3, "v1.2.x")).jobs == {}
    )


def test_a_reason_may_have_commas_and_parentheses() -> None:
    queue = parse_queue(a_line(1, "a.b.1", reason="(ReqNodeNotAvail, UnavailableNodes:n[1-2])"))
    (job,) = queue.jobs[JobKey("b", 1, 1001)]
    assert job.reason == "ReqNodeNotAvail, UnavailableNodes:n[1-2]"


def test_pending_jobs_have_places_by_priority() -> None:
    queue = parse_queue(
        a_line(1, "a.a.1", priority=5) + a_line(2, "b.b.1", priority=9) + a_line(3, "c.c.1", "RUNNING")
    )
    assert queue.places == {JobKey("b", 1, 1001): 1, JobKey("a", 1, 1001): 2}


def test_of_two_jobs_the_first_active_one_counts() -> None:
    queue = parse_queue(a_line(3, "a.a.1") + a_line(2, "a.a.1") + a_line(1, "a.a.1", "CANCELLED"))
    key = JobKey("a", 1, 1001)
    job = queue.job(key, owner=None)
    assert job
    assert job.id == 2
    assert [other.id for other in queue.others(key, job)] == [3]


def test_the_job_that_runs_the_pod_counts() -> None:
    queue = parse_queue(a_line(3, "a.a.1") + a_line(1, "a.a.1", "COMPLETED"))
    job = queue.job(JobKey("a", 1, 1001), owner=1)
    assert job
    assert job.state == "COMPLETED"
    assert queue.job(JobKey("a", 1, 1001), owner=9) is None


def test_a_job_of_another_user_is_none_of_the_pod() -> None:
    queue = parse_queue(a_line(1, "a.a.1", user=1001) + a_line(2, "a.a.1", user=1002))
    key = JobKey("a", 1, 1002)
    job = queue.job(key, owner=None)
    assert job
    assert job.id == 2
    assert queue.others(key, job) == []


def test_a_message_tells_place_and_expected_start() -> None:
    job = Job(1, "PENDING", 1, 1795802681, None, "", "Priority")
    message = queued_message(job, place=2, of=3)
    assert message == "queued in Slurm: Priority, place 2 of 3, expected to start at 2026-11-27T18:04:41Z"


def test_an_answer_counts_however_long_it_took(tmp_path: Path) -> None:
    assert SharedAnswer(tmp_path / "answer.json", lambda: "text", str, max_age=0).get().content == "text"
