"""A PostgreSQL server of the tests' own, from the binaries that are on the machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg


def find_binaries() -> Path | None:
    """Find the directory with `initdb` and `postgres`, the newest version where there are several."""
    found = [Path(command).resolve() for name in ("initdb",) if (command := shutil.which(name))]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version, reverse=True)
    return next((path.parent for path in found if (path.parent / "postgres").exists()), None)


class PostgresServer:
    """A server on a free loopback port, its data in a directory of its own.

    PostgreSQL refuses to run as root, so as root this runs it as the user `postgres`.
    """

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._binaries = binaries
        self._durable = durable
        self._user = "postgres" if os.getuid() == 0 else None
        # In memory, unless what is on the disk is what matters.
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
        """Give the URL of a database, as DATABASE_URL takes it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and return when it takes connections."""
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
        """Stop as an administrator does: connections are ended, nothing that was committed is lost."""
        if self._process:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
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


def free_port() -> int:
    """Find a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _version(path: Path) -> float:
    return float(path.parent.parent.name)
