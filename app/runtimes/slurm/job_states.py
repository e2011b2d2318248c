"""The states of a job of Slurm, and what each means for its pod.

Source: "JOB STATE CODES" of squeue(1). A state that squeue does not show, such as a future one, counts as running:
nothing is concluded from it, and the pod keeps its status.
"""

from types import MappingProxyType
from typing import Literal, NamedTuple

from app.kubernetes.container_status import LOST

Stage = Literal["queued", "running", "ending", "ended"]


class JobState(NamedTuple):
    """The meaning of a state of a job for its pod.

    Attributes:
        stage: `queued` jobs have no node, `running` ones do, `ending` ones have been ended, and `ended` ones have
            no processes any more.
        reason: the reason of a pod whose job ended in this state; None if its containers tell how they ended.
        message: the message of such a pod.
        killed: the reason of a container that was killed and whose end nobody observed.
        disruption: the reason of the condition DisruptionTarget; None if the pod was not disrupted by the node.
    """

    stage: Stage
    reason: str | None = None
    message: str | None = None
    killed: str = "Error"
    disruption: str | None = None


JOB_STATES = MappingProxyType(
    {
        "PENDING": JobState("queued"),
        "CONFIGURING": JobState("queued"),
        "POWER_UP_NODE": JobState("queued"),
        "REQUEUED": JobState("queued"),
        "REQUEUE_FED": JobState("queued"),
        "REQUEUE_HOLD": JobState("queued"),
        "RESV_DEL_HOLD": JobState("queued"),
        "SPECIAL_EXIT": JobState("queued"),
        "RUNNING": JobState("running"),
        "RESIZING": JobState("running"),
        "SIGNALING": JobState("running"),
        "STAGE_OUT": JobState("running"),
        "STOPPED": JobState("running"),
        "SUSPENDED": JobState("running"),
        "COMPLETING": JobState("ending"),
        "COMPLETED": JobState("ended", killed=LOST),
        "CANCELLED": JobState("ended", "JobCancelled", "the job was cancelled in Slurm"),
        "FAILED": JobState("ended", killed=LOST),
        "LAUNCH_FAILED": JobState("ended", "JobLaunchFailed", "Slurm could not start the job on its node"),
        "RECONFIG_FAIL": JobState("ended", "JobLaunchFailed", "Slurm could not configure the node of the job"),
        "REVOKED": JobState("ended", "JobCancelled", "the job runs in another cluster of the federation"),
        "TIMEOUT": JobState("ended", "DeadlineExceeded", "the job has reached its time limit in Slurm"),
        "DEADLINE": JobState("ended", "DeadlineExceeded", "the job has reached its deadline in Slurm"),
        "OUT_OF_MEMORY": JobState("ended", None, None, killed="OOMKilled"),
        "PREEMPTED": JobState(
            "ended", "Preempted", "the job was preempted in Slurm", disruption="PreemptionByScheduler"
        ),
        "NODE_FAIL": JobState(
            "ended", "NodeFailed", "a node of the job has failed", killed=LOST, disruption="TerminationByKubelet"
        ),
        "BOOT_FAIL": JobState(
            "ended",
            "NodeFailed",
            "a node of the job did not boot",
            killed=LOST,
            disruption="TerminationByKubelet",
        ),
    }
)

_UNKNOWN = JobState("running")


def job_state(name: str) -> JobState:
    """Return what a state that squeue prints means."""
    return JOB_STATES.get(name, _UNKNOWN)
