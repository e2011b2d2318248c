"""How gunicorn serves the provider. Every choice that a user may make is a setting: see `flask config`."""

import atexit
import os
import shutil
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Heartbeats and metrics are files; on a real disk, one that hangs would get a healthy worker killed.
_memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def _count_in(directory: Path) -> None:
    """Give the workers a directory to count in: empty at the start, the same after a reload, gone at the end."""
    shutil.rmtree(directory, ignore_errors=True)  # of a process that was killed and had this number
    directory.mkdir(mode=0o700)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    master = os.getpid()

    def remove() -> None:
        if os.getpid() == master:
            shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)


if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # and before prometheus-client is imported, which looks for it
    _count_in(Path(_memory or tempfile.gettempdir()) / f"virtual-kubelet-web-{os.getpid()}")

from prometheus_client.multiprocess import mark_process_dead

from app import SERVING_SINCE
from app.core.errors import ConfigurationError
from app.core.settings import Settings
from app.web.gunicorn import Logger, Worker, check_database, check_port

try:
    settings = Settings.from_environment()
except ConfigurationError as exc:
    raise SystemExit(str(exc)) from None

_addresses = [(settings.host, settings.port)]
if settings.health_port:
    # Probes come from outside, of IPv6 where the cluster has it.
    _everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    _addresses.append((_everywhere, settings.health_port))

wsgi_app = "wsgi:app"
bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in _addresses]

worker_class = Worker  # gunicorn's gthread
workers = settings.workers
threads = settings.threads
# Each worker has a socket of its own, among which the kernel spreads connections. With one socket for all,
# the keep-alive connections of a client can all end up in one worker.
reuse_port = True
keepalive = 75  # longer than a Go client keeps an idle connection, so that the client is the one to close
graceful_timeout = 25  # less than the 30 seconds that Kubernetes gives
worker_tmp_dir = _memory

logger_class = Logger
control_socket_disable = True


def on_starting(_: object) -> None:
    """Refuse to start where no request could be served. What is opened here is closed before the fork."""
    for host, port in _addresses:
        check_port(host, port)
    check_database(settings)
    os.environ[SERVING_SINCE] = datetime.now(UTC).isoformat()


def child_exit(_: object, worker: Any) -> None:
    """Forget what a worker held open."""
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
