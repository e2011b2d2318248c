"""Start a shim: `python -m shim <directory> <file descriptor>`, with the plan on standard input.

The descriptor is the pod's lock, which the provider has taken and the shim holds until it exits. The plan contains
the environments of the containers, so it is neither in a file nor in arguments, which other users can read.

`python -m shim <directory> job` runs it in the foreground, as a job of Slurm; see :mod:`shim.job`.

The command exits with 0 when the shim runs in the background, else with 1 and the reason on standard error.
"""

import json
import os
import sys

from . import job, relay
from .record import Record
from .supervisor import Supervisor


def main(directory: str, lock: int) -> None:
    """Run a shim in the background."""
    os.umask(0o077)
    os.set_inheritable(lock, False)
    os.chdir("/")
    try:
        plan = json.load(sys.stdin.buffer)
        supervisor = Supervisor(plan, Record(directory))
    except ValueError:
        sys.exit("the plan is incomplete")  # the provider was killed while writing it
    except OSError as exc:
        sys.exit(exc.strerror or "cannot write")
    if os.fork():
        os._exit(0)
    os.setsid()
    # Standard error goes to a file: a failure of the shim is reported there.
    log = os.open(os.path.join(directory, "shim.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for fd, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, fd, inheritable=False)
    supervisor.run()


if __name__ == "__main__":
    if sys.argv[2] == "job":
        job.main(sys.argv[1])
    elif sys.argv[2] == "relay":
        relay.main(sys.argv[1])
    else:
        main(sys.argv[1], int(sys.argv[2]))
