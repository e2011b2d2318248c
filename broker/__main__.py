"""The entry point: `vkweb broker`, or `python -m broker`.

Exit status: 0 after SIGTERM or SIGINT; 1 after a failure; 2 for an invalid setting.
"""

import asyncio
import os
import resource
import signal
import sys
from asyncio.sslproto import SSLProtocol

import structlog

from broker import logging_config
from broker.errors import ConfigurationError
from broker.kubernetes.config import ClusterConfig, load
from broker.node.lease import LeaseLost
from broker.runner import Broker
from broker.settings import Settings
from broker.signals import stop_on_signals

_OTHER_FILES = 8192
"""Files besides those of streams: connections, of which each watched ConfigMap or Secret has one."""
_TLS_BUFFER = 16 * 1024
"""Bytes, as the longest TLS record."""


def main() -> int:
    """Run the broker until SIGTERM or SIGINT; return the exit status."""
    try:
        settings = Settings.load(sys.argv[1:], os.environ)
        cluster = load(settings.kubeconfig, os.environ)
        logging_config.configure(settings)
        allow_open_files(settings.stream_sessions)
        limit_tls_buffers()
        structlog.get_logger().info("settings", **settings.changed())
        asyncio.run(_run(settings, cluster))
    except ConfigurationError as exc:
        print("\n".join(f"vkweb broker: {line}" for line in str(exc).splitlines()), file=sys.stderr)  # noqa: T201
        return 2
    except OSError as exc:
        print(f"vkweb broker: {exc.strerror or exc}", file=sys.stderr)  # noqa: T201
        return 1
    except LeaseLost as exc:
        structlog.get_logger().error("stopped: started again, it waits for the lease", reason=str(exc))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        structlog.get_logger().exception("the node has failed")
        return 1
    return 0


def allow_open_files(sessions: int) -> None:
    """Raise the soft limit of open files, which is often 1024, for this many sessions of two connections each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * sessions + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit_tls_buffers() -> None:
    """Reduce the read buffer that asyncio allocates for each TLS connection, 256 KiB by default.

    A fleet has 50 connections for its nodes and their leases, and each watched ConfigMap and Secret has one: 300
    of them take 25 MB instead of 100 MB.
    """
    SSLProtocol.max_size = _TLS_BUFFER


async def _run(settings: Settings, cluster: ClusterConfig) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await Broker(settings, cluster).run(stop)


if __name__ == "__main__":
    sys.exit(main())
