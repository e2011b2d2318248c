"""`python -m conformance`, run as a process."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conformance.faults import FAULTS
from tests.conformance.faulty import below_a_path, with_status
from tests.postgres import free_port
from tests.server import CLEAN, ROOT
from tests.stub_provider.serving import TOKEN, complete_provider, serving
from tests.waiting import eventually

READS = ("--only", "reads.unknown-pod*", "node.*", "--token", TOKEN)


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-S",
        "-m",
        "conformance",
        *arguments,
    ]  # without site-packages: the kit needs only Python
    return subprocess.run(command, cwd=ROOT, env=CLEAN, capture_output=True, text=True, timeout=60, check=False)


def test_conforming_provider_exits_0() -> None:
    with serving(complete_provider()) as target:
        done = conformance(target.url, *READS)

    assert (done.returncode, done.stderr) == (0, "")
    assert "passed   reads.unknown-pod-returns-404-not-found" in done.stdout
    assert done.stdout.endswith("10 passed, 0 failed, 0 not offered; conforms\n")


def test_violation_exits_1_and_still_writes_reports(tmp_path: Path) -> None:
    fault = FAULTS["reads.unknown-pod-returns-404-not-found"]
    with serving(complete_provider(), fault.answer) as target:
        done = conformance(target.url, *READS, "--json", "--junit", str(tmp_path / "junit.xml"))

    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert [check["problem"] for check in report["checks"] if check["outcome"] == "failed"] == [fault.problem]
    assert ET.parse(tmp_path / "junit.xml").getroot().get("failures") == "1"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["https://127.0.0.1:3000"], "plain HTTP"),
        (["localhost:3000"], "expected a URL such as http://127.0.0.1:3000"),
        ([f"http://127.0.0.1:{free_port()}"], "cannot be reached"),
        (["http://127.0.0.1:3000", "--only", "nothing.*"], "no check matches nothing.*"),
    ],
)
def test_unusable_target_exits_2_with_one_line(arguments: list[str], problem: str) -> None:
    done = conformance(*arguments)

    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_url_path_is_a_prefix() -> None:
    stub = complete_provider()
    with serving(stub, below_a_path) as target:
        done = conformance(f"{target.url}/provider/", *READS)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_deletes_the_pods(number: signal.Signals) -> None:
    stub = complete_provider()
    with serving(stub, with_status(containerStatuses=[])) as target:  # the pod never starts
        waiting = [sys.executable, "-m", "conformance", target.url, "--only", "logs.*", "--token", TOKEN]
        with subprocess.Popen(waiting, cwd=ROOT, env=CLEAN, stdout=subprocess.PIPE) as process:
            eventually(lambda: stub.pods)
            process.send_signal(number)
            assert process.wait(30) == 130

    assert stub.pods == {}
