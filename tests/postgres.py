"""A PostgreSQL server for the tests, from the installed binaries."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg


def find_binaries() -> Path | None:
    """Return the directory with `initdb` and `postgres` of the newest version; None if there is none."""
    found = [Path(command).resolve() for name in ("initdb",) if (command := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version, reverse=True)
    return next((path.parent for path in found if (path.parent / "postgres").exists()), None)


class PostgresServer:
    """A server on a free loopback port, with a data directory of its own.

    PostgreSQL refuses to run as root, so root runs it as the user `postgres`.
    """

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._binaries = binaries
        self._durable = durable
        self._user = "postgres" if os.getuid() == 0 else None
        # In memory, unless a test needs durability.
        parent = "/dev/shm" if not durable and Path("/dev/shm").is_dir() else None
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user:
            shutil.chown(self._directory, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, for DATABASE_URL."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        unsafe = [] if self._durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        self._process = subprocess.Popen(
            [
                str(self._binaries / "postgres"),
                *("-D", str(self._data), "-p", str(self.port), "-k", str(self._directory)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"),
                *unsafe,
            ],
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._directory,
        )
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1", attempts=200)

    def stop(self) -> None:
        """Stop the server (mode `fast`): connections are closed, committed data are kept."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def execute(self, statement: str) -> None:
        """Execute a statement outside of a transaction, such as CREATE DATABASE."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, command: str, *arguments: str, attempts: int = 1) -> None:
        for attempt in range(attempts):
            done = subprocess.run(
                [str(self._binaries / command), *arguments],
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                capture_output=True,
                cwd=self._directory,
                check=False,
            )
            if done.returncode == 0:
                return
            if attempt + 1 == attempts:
                raise RuntimeError(f"{command}: {done.stderr.decode()}")


_PORTS = range(10_000, 32_000)
"""Below the ports that Linux gives to outgoing connections, such as those of other tests."""
_number = count(secrets.randbelow(len(_PORTS)))


def free_port() -> int:
    """Return a port that nothing listens on; another one each time."""
    while True:
        port = _PORTS[next(_number) % len(_PORTS)]
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _version(path: Path) -> float:
    return float(path.parent.parent.name)
