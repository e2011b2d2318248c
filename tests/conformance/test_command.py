"""`python -m conformance`, as it is run."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conformance.faults import FAULTS
from tests.conformance.faulty import with_status
from tests.conformance.stub import TOKEN, Stub, serving
from tests.postgres import free_port
from tests.server import CLEAN, ROOT
from tests.waiting import eventually

READS = ("--only", "reads.an-*", "node.*", "--token", TOKEN)


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", "-m", "conformance", *arguments]  # it needs nothing that is installed
    return subprocess.run(command, cwd=ROOT, env=CLEAN, capture_output=True, text=True, timeout=60, check=False)


def test_a_provider_that_conforms_is_0() -> None:
    with serving(Stub()) as target:
        done = conformance(target.url, *READS)

    assert (done.returncode, done.stderr) == (0, "")
    assert "passed   reads.an-unknown-pod-is-404-not-found" in done.stdout
    assert done.stdout.endswith("9 passed, 0 failed, 0 not offered; conforms\n")


def test_a_provider_that_does_not_conform_is_1_and_files_are_written_all_the_same(tmp_path: Path) -> None:
    fault = FAULTS["reads.an-unknown-pod-is-404-not-found"]
    with serving(Stub(), fault.answer) as target:
        done = conformance(target.url, *READS, "--json", "--junit", str(tmp_path / "junit.xml"))

    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    assert [check["problem"] for check in told["checks"] if check["outcome"] == "failed"] == [fault.problem]
    assert ET.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["https://127.0.0.1:3000"], "plain HTTP"),
        (["localhost:3000"], "an address is such as http://127.0.0.1:3000"),
        ([f"http://127.0.0.1:{free_port()}"], "cannot be reached"),
        (["http://127.0.0.1:3000", "--only", "nothing.*"], "no check has a name like nothing.*"),
    ],
)
def test_what_cannot_be_asked_is_2_with_a_line_that_says_why(arguments: list[str], problem: str) -> None:
    done = conformance(*arguments)

    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_provider_below_a_path_is_asked_there() -> None:
    stub = Stub()
    with serving(
        stub, lambda stub, request: stub.answer(request._replace(path=request.path.removeprefix("/provider")))
    ) as target:
        done = conformance(f"{target.url}/provider/", *READS)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_its_pods_when_it_is_stopped(number: signal.Signals) -> None:
    stub = Stub()
    with serving(stub, with_status(containerStatuses=[])) as target:  # a pod that never starts
        waiting = [sys.executable, "-m", "conformance", target.url, "--only", "logs.*", "--token", TOKEN]
        with subprocess.Popen(waiting, cwd=ROOT, env=CLEAN, stdout=subprocess.PIPE) as process:
            eventually(lambda: stub.pods)
            process.send_signal(number)
            assert process.wait(30) == 130

    assert stub.pods == {}
