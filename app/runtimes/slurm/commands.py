"""Run the commands of Slurm: sacct, sbatch, squeue, scancel, scontrol, sinfo, srun.

They get a small environment, so that a job has no variables of the provider, such as its token. Variables that
configure Slurm are kept. Times are in seconds since 1970.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence

from app.core.errors import Unavailable
from app.runtimes.slurm.users import User

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CLUSTERS")
_KEPT_PREFIX = "SBATCH_"
"""The options of sbatch that a site sets for all of its jobs."""
_WITH_TIMES = ("sacct", "squeue")
_TIMEOUT_SECONDS = 15
"""Longer than the `MessageTimeout` of Slurm, 10 s by default."""


class SlurmError(Unavailable):
    """A command of Slurm has failed, or its controller does not answer; the message is the command's."""


def environment(user: User | None = None) -> Mapping[str, str]:
    """Return the environment of the commands of a user, which is that of jobs too."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIX)}
    return {"PATH": os.defpath, **kept, **(user.variables if user else {})}


def run(command: Sequence[str], *, script: str = "", keep: Sequence[int] = (), user: User | None = None) -> str:
    """Run a command and return its output.

    Args:
        command: its words.
        script: its standard input.
        keep: descriptors that it holds open until it ends.
        user: the user that it runs as; None for that of the provider.

    Raises:
        SlurmError: it fails, is not installed or takes too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell; the words are checked by the callers
            [*(user.prefix if user else []), *command],
            input=script,
            env={**environment(user), **({"SLURM_TIME_FORMAT": "%s"} if command[0] in _WITH_TIMES else {})},
            cwd="/",
            pass_fds=keep,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise SlurmError(f"{command[0]}: no answer within {_TIMEOUT_SECONDS} s") from exc
    except OSError as exc:
        raise SlurmError(f"{command[0]}: {exc.strerror}") from exc
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SlurmError(lines[-1] if lines else f"{command[0]}: exit code {done.returncode}")
    return done.stdout


def is_unreachable(error: SlurmError) -> bool:
    """Return whether an error says that the controller does not answer, rather than that it refuses."""
    text = str(error).lower()
    return any(sign in text for sign in _UNREACHABLE)


_UNREACHABLE = (
    "no answer",
    "unable to contact",
    "connection refused",
    "connect failure",
    "timed out",
    "timeout",
    "zero bytes",  # of a controller that ends before it has answered
)
