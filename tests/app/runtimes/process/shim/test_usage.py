"""The measurements of a shim."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.runtimes.process.shim.processes import stat
from app.runtimes.process.shim.record import rfc3339_micro
from app.runtimes.process.shim.usage import UsageMeter
from tests.waiting import eventually


def test_the_first_rate_is_that_since_the_start(tmp_path: Path) -> None:
    begun = time.time()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        container: Any = SimpleNamespace(name="web", pid=busy.pid, started=rfc3339_micro(int(begun * 10**6)))
        meter = UsageMeter(str(tmp_path), "mark")
        eventually(lambda: stat(busy.pid).cpu > 100_000)
        meter.ask()
        meter.measure(time.monotonic(), [container])
        busy.kill()

    measured = json.loads((tmp_path / "usage.json").read_text())
    web = measured["containers"]["web"]
    assert web["rate"] == pytest.approx(web["cpu"] * 1000 / (measured["at"] - begun), rel=0.01)
