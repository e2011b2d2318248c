"""Make the screenshots of README and docs: `make screenshots`.

An hour of a node is recorded by the provider itself, with a clock that goes ahead in steps. Then the provider
serves this record, and Chromium opens its pages. So a screenshot shows what the dashboard shows. `docs/images` has
the few that documents show; `--all DIRECTORY` makes one of each page in every size and theme, to look at.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from playwright.sync_api import sync_playwright

from app import create_app
from app.core.settings import Settings
from app.db.migrate import upgrade

IMAGES = Path(__file__).parent / "images"
BROKER = {"User-Agent": "virtual-kubelet-web-broker"}
Theme = Literal["light", "dark"]
DOMAIN = "synthetic.virtual-kubelet.io"
CAPACITY = {"cpu": "32", "memory": "64Gi", "pods": "110"}
STEP = timedelta(seconds=20)
MINUTES = 65
PLAN: list[tuple[int, str, str, str, int, dict[str, str]]] = [
    (0, "shop", "web", "41", 12, {"cpu": "250m", "memory": "256Mi"}),
    (0, "shop", "cart", "7", 6, {"cpu": "500m", "memory": "512Mi"}),
    (1, "payments", "api", "12", 4, {"cpu": "1", "memory": "1Gi"}),
    (1, "search", "index", "3", 3, {"cpu": "2", "memory": "4Gi"}),
    (2, "monitoring", "agent", "2", 5, {"cpu": "50m", "memory": "64Mi", "start_delay": "7s"}),
    (38, "payments", "api", "13", 4, {"cpu": "1", "memory": "1Gi", "fail": "CrashLoopBackOff"}),
    (47, "shop", "web", "42-rc", 3, {"cpu": "250m", "memory": "256Mi", "fail": "ImagePullBackOff"}),
    (52, "search", "index", "4", 1, {"cpu": "2", "memory": "4Gi", "fail": "OOMKilled"}),
    (56, "shop", "mail", "1", 2, {"cpu": "100m", "fail": "ReadinessProbe", "start_delay": "15s"}),
    (57, "batch", "report", "9", 1, {"start_delay": "2h"}),
]
"""Minute, namespace, name, version, number of pods, and options of :meth:`Recorder._pod`."""
CRASHING = ("payments", "api-13-0", "api:13")
"""Namespace, name and image of the pod whose page is shown."""
SIZES = {"": (1280, 900), "-phone": (390, 844)}
THEMES: Sequence[Theme] = ("light", "dark")
SHOWN = {"overview-light", "overview-phone-dark", "pod-dark", "filtered-light"}
"""The screenshots that documents show."""


class Recorder:
    """Records an hour of a node: deployments that go wrong in several ways, jobs, and refused requests."""

    def __init__(self, database_url: str, end: datetime) -> None:
        settings = Settings(
            database_url=database_url, node_name="shop-1", start_delay=timedelta(seconds=2),
            capacity=CAPACITY,
        )  # fmt: skip
        upgrade(settings.database)
        self._now = end - MINUTES * 3 * STEP
        self._client = create_app(settings, clock=lambda: self._now).test_client()

    def record(self) -> None:
        """Record the hour."""
        for minute in range(MINUTES):
            self._act(minute)
            for _ in range(3):
                self._client.get("/getPods")  # as the broker does: due statuses are computed
                self._now += STEP

    def _act(self, minute: int) -> None:
        """Do what the plan has for a minute."""
        for at, namespace, name, version, count, options in PLAN:
            if at == minute:
                for number in range(count):
                    pod = self._pod(namespace, f"{name}-{version}-{number}", f"{name}:{version}", **options)
                    self._send("POST", "/createPod", pod)
        if minute == 55:
            self._send("DELETE", "/deletePod", self._pod("shop", "web-41-0", "web:41"))
            self._send("DELETE", "/deletePod", self._pod("shop", "web-39-0", "web:39"))  # which is not there
        if minute == 60:
            for number in range(3):
                patched = self._pod("shop", f"cart-7-{number}", "cart:7", cpu="500m", memory="512Mi")
                patched["spec"]["containers"][0]["image"] = "registry.example/cart:7.1"
                patched["metadata"]["labels"]["track"] = "canary"
                self._send("PUT", "/updatePod", patched)
        if minute % 2 == 0:
            self._job(minute // 2)

    def _job(self, number: int) -> None:
        """Create a job, and delete one that has completed."""
        pod = self._pod("batch", f"import-{number:02}-0", "import:5", run_for=f"{60 + 7 * number % 60}s", cpu="1")
        pod["spec"]["restartPolicy"] = "Never"
        self._send("POST", "/createPod", pod)
        if number >= 5:
            old = self._pod("batch", f"import-{number - 5:02}-0", "import:5")
            old["metadata"]["deletionGracePeriodSeconds"] = 0
            self._send("DELETE", "/deletePod", old)

    def _pod(self, namespace: str, name: str, image: str, **options: str) -> dict[str, Any]:
        requests = {key: options[key] for key in ("cpu", "memory") if key in options}
        annotations = {
            f"{DOMAIN}/{key.replace('_', '-')}": options[key]
            for key in ("fail", "start_delay", "run_for")
            if key in options
        }
        if "cpu" in requests:
            annotations |= {
                f"{DOMAIN}/usage-cpu": f"sine(20m,{requests['cpu']},20m)",
                f"{DOMAIN}/usage-memory": f"sine(32Mi,{requests.get('memory', '64Mi')},30m)",
            }
        container: dict[str, Any] = {
            "name": "main",
            "image": f"registry.example/{image}",
            "resources": {"requests": requests},
        }
        if options.get("fail") == "ReadinessProbe":
            container["readinessProbe"] = {"httpGet": {"path": "/ready", "port": 8080}}
        container["env"] = [{"name": "TOKEN", "value": "never-shown"}]
        owner = {
            "apiVersion": "batch/v1" if namespace == "batch" else "apps/v1",
            "kind": "Job" if namespace == "batch" else "ReplicaSet",
            "name": name.rpartition("-")[0],
            "uid": uid_of(namespace, name.rpartition("-")[0]),
            "controller": True,
        }
        return {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": uid_of(namespace, name, image),
                "labels": {"app": image.partition(":")[0]},
                "annotations": annotations,
                "ownerReferences": [owner],
            },
            "spec": {"containers": [container], "restartPolicy": "Always"},
        }

    def _send(self, method: str, path: str, pod: dict[str, Any]) -> None:
        self._client.open(path, method=method, json=pod, headers=BROKER)


def uid_of(*names: str) -> str:
    """Return the UID of an object with these names."""
    return str(uuid5(NAMESPACE_URL, "/".join(names)))


@contextmanager
def serve(database_url: str) -> Iterator[str]:
    """Serve a record; yield the URL."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {
        **os.environ, "DATABASE_URL": database_url, "PORT": str(port), "NODE_NAME": "shop-1",
        "CAPACITY": json.dumps(CAPACITY), "START_DELAY": "2s", "WORKERS": "1",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "vkweb", "provider"], env=environment, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            time.sleep(0.2)
            try:
                for _ in range(10):  # each request computes some points of the charts
                    urllib.request.urlopen(f"{url}/ui/", timeout=5)  # noqa: S310
                break
            except OSError:
                continue
        yield url
    finally:
        server.terminate()
        server.wait(30)


def photograph(url: str, pages: Mapping[str, str], *, wanted: Set[str] | None, directory: Path) -> None:
    """Save screenshots of pages, each named by its page, size and theme.

    Args:
        wanted: the names of the screenshots to make; all where None.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for (suffix, (width, height)), theme in product(SIZES.items(), THEMES):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            for name, path in pages.items():
                picture = f"{name}{suffix}-{theme}"
                if wanted is None or picture in wanted:
                    page.goto(url + path)
                    page.wait_for_timeout(500)
                    page.screenshot(path=directory / f"{picture}.png")
            page.close()
        browser.close()


def main() -> None:
    """Record, serve, photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--all", type=Path, metavar="DIRECTORY", help="make a screenshot of each page in every size and theme")
    add("--serve", type=float, metavar="SECONDS", help="serve the record so long instead, and print the URL")
    options = parser.parse_args()
    pages = {
        "overview": "/ui/",
        "pods": "/ui/pods",
        "filtered": "/ui/pods?selector=app+in+(api,index,mail)&sort=-restarts",
        "pod": f"/ui/pod?uid={uid_of(*CRASHING)}",
        "audit": "/ui/audit",
    }
    with tempfile.TemporaryDirectory() as directory:
        database_url = f"sqlite:///{directory}/provider.db"
        Recorder(database_url, datetime.now(UTC)).record()
        with serve(database_url) as url:
            if options.serve:
                print(url, flush=True)  # noqa: T201
                time.sleep(options.serve)
            else:
                wanted = None if options.all else SHOWN
                photograph(url, pages, wanted=wanted, directory=options.all or IMAGES)


if __name__ == "__main__":
    main()
