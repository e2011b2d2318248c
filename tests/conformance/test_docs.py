"""`docs/conformance.md` matches the kit."""

import re
import subprocess
import sys

from conformance.checks import ALL
from tests.server import CLEAN, ROOT
from tests.stub_provider.serving import TOKEN, complete_provider, serving

DOCUMENT = (ROOT / "docs" / "conformance.md").read_text()


def test_documented_example_prints_the_documented_output() -> None:
    [(command, expected)] = re.findall(r"<!-- test -->\n```sh\n(.*?)\n```\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
    with serving(complete_provider(without="nodes")) as target:
        command = command.replace("python3", sys.executable).replace("http://127.0.0.1:3000", target.url)
        done = subprocess.run(
            f"{command} --token {TOKEN}",
            shell=True,
            cwd=ROOT,
            env=CLEAN,
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout == expected.replace("http://127.0.0.1:3000", target.url)


def test_documented_checks_exist() -> None:
    named = set(re.findall(r"`([a-z]+\.[a-z0-9-]+)`", DOCUMENT))

    assert len(named) > 30
    assert named <= {check.name for check in ALL}
