"""Configuration of gunicorn for the provider; it derives from the settings, which `vkweb config` prints."""

import gc
import os
import socket
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from vkweb.metrics_directory import create_metrics_directory, memory_directory

create_metrics_directory()  # before prometheus-client is imported

from prometheus_client.multiprocess import mark_process_dead

from app import SERVING_SINCE
from app.core.errors import ConfigurationError
from app.core.settings import Settings
from app.web.connection import connection_limit
from app.web.gunicorn import Logger
from app.web.start import check_database, check_port, log_start
from app.web.worker import Worker
from vkweb.child import run_in_child

try:
    settings = Settings.from_environment()
except ConfigurationError as exc:
    raise SystemExit(str(exc)) from None

_addresses = [(settings.host, settings.port)]
if settings.health_port:
    # The kubelet sends probes from outside of the pod, over IPv6 in an IPv6 cluster.
    _everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    _addresses.append((_everywhere, settings.health_port))

wsgi_app = "wsgi:app"
bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in _addresses]

worker_class = Worker  # gunicorn's gthread
workers = settings.workers
threads = settings.threads
worker_connections = connection_limit()
# Each worker has its own socket, and the kernel distributes connections among them. With one shared socket, one
# worker could accept all keep-alive connections of a client.
reuse_port = True
# The command of an exec is in the request line. The head of a request is limited, see `app.web.request_buffer`.
limit_request_line = 0
keepalive = 75  # seconds; longer than a Go client keeps an idle connection, so that the client closes it
graceful_timeout = 25  # seconds; less than a pod's default terminationGracePeriodSeconds of 30
# Heartbeats are files, too. A disk can be slow, and gunicorn kills a worker whose heartbeat is late.
worker_tmp_dir = memory_directory()

logger_class = Logger
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Exit if a port, the database or the runtime is unusable. Connections are closed before the fork.

    The application is created here, and its memory is shared by the workers. That of a user's runtime is created
    in each worker: this process keeps what it has imported, and a reload is to import the runtime again.
    """
    for host, port in _addresses:
        check_port(host, port)
    check_database(settings)
    os.environ[SERVING_SINCE] = datetime.now(UTC).isoformat()
    if settings.has_default_runtime:
        server.app.wsgi()
    else:
        run_in_child(lambda: import_module("wsgi"))


def when_ready(_: object) -> None:
    """Exclude what the start has created from garbage collection, which writes to each object.

    A write by a worker copies the page that it shares.
    """
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Log the address when the first worker listens."""
    if worker.age == 1:
        log_start(settings)


def child_exit(_: object, worker: Any) -> None:
    """Remove the gauges of a worker that has exited."""
    mark_process_dead(worker.pid)
