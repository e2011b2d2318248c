"""Sessions with the containers of a job: srun runs a relay to the pod's shim on the node of the job."""

import json
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM
from threading import Thread
from typing import Any

from app.core.errors import NotFound, Unavailable
from app.runtimes.process.shim.relay import REQUEST
from app.runtimes.process.streams import PodStreams
from app.runtimes.slurm.commands import environment
from app.runtimes.slurm.job_dir import RunningJob
from app.runtimes.slurm.users import User
from app.runtimes.streams import Session, StreamOptions, start_command

_CHUNK = 64 * 1024


class JobStreams(PodStreams):
    """Opens sessions with the shim of a job.

    Args:
        job: the job that runs the pod; None if none has begun to.
        shim: the directory that has the package `shim`.
        python: the interpreter on the node.
        user: the user that the job runs as; None for that of the provider.

    Raises:
        NotFound: the job does not run.
    """

    def __init__(self, job: RunningJob | None, *, shim: Path, python: str, user: User | None) -> None:
        if job is None:
            raise NotFound("the job of the pod does not run")
        self._job = job
        self._shim = shim
        self._python = python
        self._user = user

    def connect(self, port: int) -> socket.socket:
        """Return a connection to a port of the pod; it is closed at once if nothing listens there.

        Raises:
            Unavailable: srun cannot be started.
        """
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell
                self._srun(is_terminal=False),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment({"type": "portForward", "port": port}),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as exc:
            raise Unavailable(f"srun: {exc.strerror}") from exc
        ours, theirs = socket.socketpair()
        for target in (_copy_input, _copy_output):
            Thread(target=target, args=(theirs, process), daemon=True, name="port-forward").start()
        return ours

    def _open(self, request: dict[str, Any], streams: StreamOptions) -> Session:
        env = self._environment({**request, "streams": streams.names, "tty": streams.tty})
        return start_command(self._srun(is_terminal=streams.tty), streams, env=env, hang_up=SIGTERM)

    def _environment(self, request: dict[str, Any]) -> dict[str, str]:
        return {**environment(self._user), REQUEST: json.dumps(request)}

    def _srun(self, *, is_terminal: bool) -> list[str]:
        return [
            *(self._user.prefix if self._user else []),
            "srun",
            f"--jobid={self._job.id}",
            f"--nodelist={self._job.node}",
            "--nodes=1",
            "--ntasks=1",
            "--overlap",
            "--mem=0",
            "--quiet",
            f"--chdir={self._shim}",
            *(["--pty"] if is_terminal else ["--unbuffered"]),
            *(self._python, "-E", "-S", "-s", "-X", "utf8", "-m", "shim", self._job.sockets, "relay"),
        ]


def _copy_input(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Copy a connection to srun, which takes no socket as its standard input."""
    stdin = process.stdin
    if stdin is None:
        return
    with suppress(OSError), stdin:  # one end has gone
        while data := connection.recv(_CHUNK):
            while data:
                data = data[os.write(stdin.fileno(), data) :]


def _copy_output(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    stdout = process.stdout
    if stdout is None:
        return
    with connection, stdout:
        with suppress(OSError):
            while data := stdout.read(_CHUNK):
                connection.sendall(data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        process.terminate()
        process.wait()
