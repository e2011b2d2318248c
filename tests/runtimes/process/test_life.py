"""The life of a pod whose containers are processes."""

from tests.runtimes.process import shell
from tests.runtimes.process.conftest import Run


def test_a_pod_that_ends_well_has_succeeded(run: Run) -> None:
    pod = run(shell("echo hello; exit 0"), restartPolicy="Never")
    assert pod.status.phase == "Pending"
    status = pod.until_over()
    assert status.phase == "Succeeded"
    assert pod.log() == [b"hello"]
