"""Starts a shim: `python -m shim <directory> <file descriptor>`, its plan on standard input.

The descriptor is of the pod's lock, which the starter has taken and the shim keeps until it ends. The plan has the
environments of the containers; so it is in no file, and among no arguments, which everybody can read.

It exits with 0 once a shim is at work that nobody has to wait for, else with 1 and the reason on standard error.
"""

import json
import os
import sys

from .record import Record
from .supervisor import Supervisor


def main(directory: str, lock: int) -> None:
    """Become a shim."""
    os.umask(0o077)
    os.set_inheritable(lock, False)
    os.chdir("/")
    try:
        plan = json.load(sys.stdin.buffer)
        supervisor = Supervisor(plan, Record(directory))
    except ValueError:
        sys.exit("the plan is not whole")  # who started this was killed
    except OSError as exc:
        sys.exit(exc.strerror or "cannot write")
    if os.fork():
        os._exit(0)
    os.setsid()
    # Where a bug would be told; the reader of the plan is gone.
    log = os.open(os.path.join(directory, "shim.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for fd, source in ((0, null), (1, null), (2, log)):
        os.dup2(source, fd, inheritable=False)
    supervisor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
