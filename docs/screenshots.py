"""Make the screenshots of README and docs: `make screenshots`.

An hour of a node is recorded by the provider itself, with a clock that goes ahead in steps. Then the provider
serves this record, and Chromium opens its pages. So a screenshot shows what the dashboard shows.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from playwright.sync_api import sync_playwright

from app import create_app
from app.core.settings import Settings
from app.db.migrate import upgrade

IMAGES = Path(__file__).parent / "images"
BROKER = {"User-Agent": "virtual-kubelet-web-broker"}
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
PAGES = {"overview": "/ui/", "pods": "/ui/pods", "audit": "/ui/audit"}
SIZES = {"": (1280, 900), "-phone": (390, 844)}


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
            self._send("DELETE", "/deletePod", self._pod("shop", "web-40-0", "web:40"))
        if minute % 2 == 0:
            self._job(minute // 2)

    def _job(self, number: int) -> None:
        """Create a job, and delete one that has completed."""
        pod = self._pod("batch", f"import-{number:02}", "import:5", run_for=f"{60 + 7 * number % 60}s", cpu="1")
        pod["spec"]["restartPolicy"] = "Never"
        self._send("POST", "/createPod", pod)
        if number >= 5:
            old = self._pod("batch", f"import-{number - 5:02}", "import:5")
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
        return {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": str(uuid5(NAMESPACE_URL, f"{namespace}/{name}/{image}")),
                "labels": {"app": name.rpartition("-")[0]}, "annotations": annotations,
            },
            "spec": {"containers": [container], "restartPolicy": "Always"},
        }  # fmt: skip

    def _send(self, method: str, path: str, pod: dict[str, Any]) -> None:
        self._client.open(path, method=method, json=pod, headers=BROKER)


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
                urllib.request.urlopen(f"{url}/ui/", timeout=5)  # noqa: S310
                break
            except OSError:
                continue
        yield url
    finally:
        server.terminate()
        server.wait(30)


def photograph(url: str, pages: dict[str, str]) -> None:
    """Save a screenshot of each page in both sizes and themes."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for suffix, (width, height) in SIZES.items():
            for theme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                for name, path in pages.items():
                    page.goto(url + path)
                    page.wait_for_timeout(500)
                    page.screenshot(path=IMAGES / f"{name}{suffix}-{theme}.png")
                page.close()
        browser.close()


def main() -> None:
    """Record, serve, photograph."""
    with tempfile.TemporaryDirectory() as directory:
        database_url = f"sqlite:///{directory}/provider.db"
        Recorder(database_url, datetime.now(UTC)).record()
        with serve(database_url) as url:
            if len(sys.argv) > 1 and sys.argv[1] == "serve":
                print(url, flush=True)  # noqa: T201
                time.sleep(float(sys.argv[2]))
            else:
                photograph(url, PAGES)


if __name__ == "__main__":
    main()
